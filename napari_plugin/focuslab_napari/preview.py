"""The live preview: the visible part of a layer, redrawn wherever the slider goes.

One request runs at a time, in a worker thread, and only the newest of those that wait. A picture is shown only if it is
of the plane and the pixels that are on screen: one that comes late, for another plane or layer, is dropped.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.utils.notifications import show_warning
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal
from superqt.utils import create_worker

from focuslab_napari.jobs import Refused, raise_it, refusals_yielded
from focuslab_napari.on_screen import plane_on_screen
from focuslab_napari.results import corner_place, put_above
from focuslab_napari.session import Encoding, LevelFound, Session, ViewRequest

__all__ = ["LivePreview"]

NAME = "FocusLab preview"
_LOOKS = ("contrast_limits", "colormap", "gamma")  # of a layer that its preview shares
_SETTLE = 15  # ms without a new wish before work starts


class LivePreview(QObject):
    """Preview layer of one viewer.

    Parameters
    ----------
    viewer
        Where the layer lives.
    session
        Model and views.
    wish
        Gives the request for what is on screen now, or None if there is nothing to draw.
    """

    level_found = Signal(object)
    said = Signal(str)
    drawn = Signal(object)

    def __init__(self, viewer: Any, session: Session, wish: Callable[[], tuple[Any, ViewRequest] | None]) -> None:
        super().__init__()
        self.viewer, self.session, self._wish = viewer, session, wish
        self.layer: Any = None
        self.wipe = 0.0  # share of the view, from the left, that shows the plane as it is
        self._source: Any = None
        self._newest: ViewRequest | None = None
        self._worker: Any = None
        self._waiting = False
        self.shown: tuple[ViewRequest, NDArray[np.float32]] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._ask)
        viewer.layers.events.removed.connect(self._removed)

    @property
    def busy(self) -> bool:
        """Whether a picture is on its way."""
        return self._worker is not None or self._timer.isActive()

    def refresh(self, delay_ms: int = _SETTLE) -> None:
        """Draw what is wished for, as soon as no new wish has come for a while."""
        if not (self._timer.isActive() and delay_ms == _SETTLE):
            self._timer.start(delay_ms)

    def clear(self) -> None:
        """Take the preview away and forget what is under way."""
        self._timer.stop()
        self._stop()
        self._newest = self.shown = None
        self._take_away()

    def _take_away(self) -> None:
        layer, self.layer = self.layer, None
        if layer is not None and layer in self.viewer.layers:
            self.viewer.layers.remove(layer)

    def close(self) -> None:
        """Take the preview away for good."""
        self.viewer.layers.events.removed.disconnect(self._removed)
        self._follow(None)
        self.clear()

    def hide_other_plane(self) -> None:
        """Hide the preview if it is of another plane than the one on screen."""
        if self.layer is not None and self.shown is not None and self._source is not None:
            request = self.shown[0]
            here = request.image.index_at(plane_on_screen(self.viewer, self._source))
            self.layer.visible = here in request.planes or len(request.planes) == 2

    def _ask(self) -> None:
        wished = self._wish()
        if wished is None:
            self.clear()
            return
        if self.shown is not None and self.shown[0].content != wished[1].content:
            self.shown = None  # pixels of another layer
        if wished[0] is not self._source:
            self._take_away()  # it looks like the layer that it was drawn for
            self._follow(wished[0])
        self._newest = wished[1]
        if self._worker is None:
            self._start()
        else:
            self._waiting = True
            self._worker.quit()

    def _start(self) -> None:
        self._waiting, request = False, self._newest
        worker = create_worker(
            refusals_yielded, lambda: self.session.pictures(request), _start_thread=False, _ignore_errors=True
        )
        worker.yielded.connect(lambda made: self._made(request, made))
        worker.errored.connect(raise_it)
        worker.finished.connect(self._finished)
        self._worker = worker
        worker.start()

    def _stop(self) -> None:
        self._waiting = False
        if self._worker is not None:
            self._worker.quit()

    def _finished(self) -> None:
        self._worker = None
        if self._waiting and self._newest is not None:
            self._start()

    def _made(self, request: ViewRequest, made: Any) -> None:
        newest = self._newest
        if newest is None or request.view != newest.view:
            return
        if isinstance(made, Refused):
            self.said.emit(made.sentence)
            show_warning(made.sentence)
        elif isinstance(made, LevelFound):
            self.level_found.emit(made)
        elif isinstance(made, Encoding):
            binned = f", {made.bins} x {made.bins} px as one: zoom in for the exact picture" if made.bins > 1 else ""
            self.said.emit(f"Encoding {made.pixels / 1e6:.1f} Mpx{binned} ...")
        else:
            self._show(request, made.counts)
            self.drawn.emit((request, made))

    def _show(self, request: ViewRequest, counts: NDArray[np.float32]) -> None:
        """Put a picture over the pixels that it was made from; right of the wipe only."""
        self.shown = (request, counts)
        source = self._source
        cut = min(round(self.wipe * counts.shape[1]), counts.shape[1] - 1)
        part = counts[:, cut:]
        bins = request.bins(counts)
        where = corner_place(source, request.corner(counts) + np.array([0, bins * cut]), bins)
        if self.layer is None or self.layer not in self.viewer.layers:
            selection = self.viewer.layers.selection
            active, chosen = selection.active or source, set(selection) or {source}
            self.layer = self.viewer.add_image(
                part,
                name=NAME,
                contrast_limits=source.contrast_limits,
                colormap=source.colormap,
                gamma=source.gamma,
                blending="opaque",
                metadata={"focuslab": {"preview": source.unique_id}},
                **where,
            )
            put_above(self.viewer, self.layer, source)
            selection.intersection_update(chosen)
            selection.update(chosen)
            selection.active = active  # whatever the user is at, a label being painted for instance
        else:
            self.layer.visible = True
            self.layer.data = part
            for name in ("scale", "translate", "rotate", "shear", "affine"):
                if name in where and not _alike(getattr(self.layer, name), where[name]):
                    setattr(self.layer, name, where[name])

    def move_wipe(self, share: float) -> None:
        """Show the plane as it is left of a share of the view, the preview right of it."""
        self.wipe = share
        if self.shown is not None and self._source is not None and self._source in self.viewer.layers:
            self._show(*self.shown)

    def _removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.layer = self.shown = None
        elif event.value is self._source:
            self._follow(None)
            self._newest = None
            QTimer.singleShot(0, self._source_gone)

    def _source_gone(self) -> None:
        """Take its preview away; another layer may have been chosen since."""
        self._take_away()
        self.refresh()

    def _follow(self, source: Any) -> None:
        """Draw for a layer, and look as it does: a change of its contrast is one of the preview."""
        for layer, connect in ((self._source, False), (source, True)):
            for name in _LOOKS if layer is not None else ():
                event = getattr(layer.events, name)
                (event.connect if connect else event.disconnect)(self._look_alike)
        self._source = source

    def _look_alike(self, event: Any = None) -> None:
        if self.layer is not None and self._source is not None:
            for name in _LOOKS:
                setattr(self.layer, name, getattr(self._source, name))


def _alike(a: Any, b: Any) -> bool:
    """Whether two parts of a place are the same, matrices of napari among them."""
    return bool(np.allclose(*(np.asarray(getattr(part, "affine_matrix", part)) for part in (a, b))))
