"""The refocus panel: slide, see, apply, trust.

The panel holds no mathematics: it turns what is on screen and what its boxes say into requests for the session, and
pictures into layers.
"""

from dataclasses import replace
from typing import Any

from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QTabWidget, QWidget

from focuslab.optics.optics import Optics
from focuslab_napari.apply_box import EACH_TIME, FROM_STEP, SHARPEST, ApplyBox
from focuslab_napari.applying import PLANE, Application, Pair, planes_in
from focuslab_napari.compare_box import CompareBox, sheet_moves
from focuslab_napari.image_box import ImageBox
from focuslab_napari.model_box import ModelBox
from focuslab_napari.more_box import MoreBox
from focuslab_napari.on_screen import plane_on_screen, visible_rectangle
from focuslab_napari.panel import Panel, sentence_label
from focuslab_napari.preferences import first_run
from focuslab_napari.preview import LivePreview
from focuslab_napari.session import LevelFound, Move, Session, ViewRequest
from focuslab_napari.shift_box import ShiftBox
from focuslab_napari.trust_box import TrustBox
from focuslab_napari.two_planes_box import TwoPlanesBox

__all__ = ["RefocusPanel"]

_HINT = "FocusLab: move the slider, or press Sharpest; Apply makes a layer you can save."
_PAN = 120  # ms that the camera must rest before the view is drawn anew
_KEYS = {"Alt-Left": -1, "Alt-Right": 1}


class RefocusPanel(Panel):
    """Slider, live preview, comparison, apply, trust."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.session = Session()
        self._dragging_camera = QTimer(self)
        self._dragging_camera.setSingleShot(True)
        self.images, self.model, self.shift, self.pair = ImageBox(napari_viewer), ModelBox(), ShiftBox(), TwoPlanesBox()
        self.preview = LivePreview(napari_viewer, self.session, self.request)
        self.compare = CompareBox(napari_viewer, self.session, self.preview, self._sheet)
        self.applying = ApplyBox(napari_viewer, self.session, self.application)
        self.trust = TrustBox(napari_viewer, self.session, self._to_check, lambda: self.shift.level_px)
        self.state = sentence_label()
        self.tabs = QTabWidget()
        self.tabs.addTab(self.shift, "One plane")
        self.tabs.addTab(self.pair, "Two planes")
        self._lay_out()
        self._content: tuple[Any, ...] = ()
        self._connect()
        self._image_changed()
        if first_run():
            show_info(_HINT)

    def request(self) -> tuple[Any, ViewRequest] | None:
        """The request for what is on screen now; None if there is nothing to draw."""
        layer, image = self.images.layer, self.images.image
        if layer is None or image is None:
            return None
        if not self.compare.live.isChecked():
            self.state.setText("Live is off: nothing is read or drawn until it is switched on under Compare.")
            return None
        shown = visible_rectangle(self.viewer, layer)
        if shown is None:
            self.state.setText("The preview is drawn in the plane (Y, X) of the image: switch to 2D.")
            return None
        planes, levels = self._planes()
        if not planes:
            return None
        return layer, ViewRequest(
            content=self.images.content,
            image=image,
            rectangle=shown,
            planes=planes,
            levels_px=levels,
            move=self.pair.move if self._two else self.shift.move,
            model=self.model.model,
            device=self.model.device,
            doubt=self.shift.said_doubt,
        )

    def application(self) -> tuple[Any, Application] | None:
        """What Apply is to do now."""
        layer, image = self.images.layer, self.images.image
        if layer is None or image is None:
            return None
        by_step = self.applying.levels.currentText() == FROM_STEP
        scope = self.applying.scope.currentText()
        # A plane alone is applied at the level that it was seen at; without structure it was seen at none.
        alone = planes_in(image, self._index(), scope) == [self._index()]
        seen = alone and not by_step and self.shift.sure
        move = self.pair.move if self._two else self.shift.move
        return layer, Application(
            image=image,
            index=self._index(),
            scope=scope,
            move=None if self.applying.how.currentText() == SHARPEST else move,
            level_px=self.shift.level_px if seen else None,
            focus_plane=self.applying.focus.value() if by_step else None,
            model=self.model.model,
            device=self.model.device,
            doubt=self.shift.said_doubt,
            estimate=self.shift.estimate if seen else None,
            pair=self._pair() if self._two else None,
            per_frame=self.applying.levels.currentText() == EACH_TIME,
        )

    def _pair(self) -> Pair:
        """Planes A and B, and the levels that were typed for them."""
        _, typed = self._planes()
        first, second = typed or (None, None)
        return Pair(self.pair.a.value(), self.pair.b.value(), (first, second))

    @property
    def _two(self) -> bool:
        return self.tabs.currentWidget() is self.pair

    def _lay_out(self) -> None:
        parts: dict[str, QWidget] = {
            "Image and microscope": self.images,
            "Model": self.model,
            "Move": self.tabs,
            "Compare": self.compare,
            "Apply": self.applying,
            "Trust": self.trust,
            "More": MoreBox(self.viewer),
        }
        self.lay_out(parts, self.state)

    def _connect(self) -> None:
        self.images.changed.connect(self._image_changed)
        self.model.changed.connect(self._image_changed)
        self.shift.read_again.connect(lambda: self.session.look_again())
        self.shift.changed.connect(self.preview.refresh)
        self.pair.changed.connect(self.preview.refresh)
        self.tabs.currentChanged.connect(lambda _: self.preview.refresh())
        self.compare.live.toggled.connect(lambda _: self.preview.refresh())
        self.preview.level_found.connect(self._level_found)
        self.preview.said.connect(self.state.setText)
        self.preview.drawn.connect(self._drawn)
        self._dragging_camera.timeout.connect(self.preview.refresh)
        for event, action in self._events():
            event.connect(action)
            self.when_closed(lambda event=event, action=action: event.disconnect(action))
        self._bound: dict[str, Any] = {}
        self._keys(bind=True)
        self.when_closed(
            self.applying.close_events,
            self.images.close_events,
            self.compare.job.cancel,
            self.trust.job.cancel,
            self._dragging_camera.stop,
            self.preview.close,
            lambda: self._keys(bind=False),
        )

    def _events(self) -> list[tuple[Any, Any]]:
        camera, dims = self.viewer.scene.camera.events, self.viewer.dims.events
        changed = self._plane_changed
        return [(camera, self._camera_moved), (dims.current_step, changed), (dims.ndisplay, changed)]

    def _keys(self, *, bind: bool) -> None:
        """Take the keys of this panel, or give them back to whom they belonged."""
        actions: dict[str, Any] = {key: lambda _, n=n: self.shift.slider.step(n) for key, n in _KEYS.items()}
        actions["B"] = lambda _: self.compare.toggle()
        for key, action in actions.items():
            if bind:
                before = self.viewer.bind_key(key, None)
                action.before = getattr(before, "before", before)  # not that of another panel
                self._bound[key] = action
                self.viewer.bind_key(key, action)
            else:
                present, own = self.viewer.bind_key(key, None), self._bound[key]
                self.viewer.bind_key(key, own.before if present is own else present)  # another panel may have taken it

    def _index(self) -> tuple[int, ...]:
        """Index of the plane on screen in the stack."""
        image = self.images.image
        return image.index_at(plane_on_screen(self.viewer, self.images.layer)) if image is not None else ()

    def _planes(self) -> tuple[tuple[tuple[int, ...], ...], tuple[float | None, ...]]:
        """Planes to draw from, and their typed levels."""
        here = self._index()
        if not self._two:
            return (here,), (self.shift.typed_level(here),)
        image = self.images.image
        if image is None or not self.pair.ready or "Z" not in image.stack.axes:
            return (), ()
        at = image.stack.axes.index("Z")
        both = tuple((*here[:at], box.value(), *here[at + 1 :]) for box in (self.pair.a, self.pair.b))
        return both, tuple(self.shift.typed_level(i) for i in both)

    def _optics(self) -> Optics | None:
        image = self.images.image
        if image is None:
            return None
        try:
            return image.stack.optics(image.stack.position(self._index(), "C"))
        except ValueError as error:
            self.state.setText(str(error))
            return None

    def _image_changed(self) -> None:
        """Another layer, other pixels, other optics, another model."""
        if self.images.image is None:
            self.preview.clear()
            return
        if self.images.content != self._content:
            self._content = self.images.content
            self.shift.forget()
        stack = self.images.image.stack
        planes = stack.size("Z")
        self.pair.show_stack(planes)
        self.applying.focus.setRange(0, planes - 1)
        self._plane_changed()

    def _plane_changed(self, event: Any = None) -> None:
        if self.images.image is None or self.images.layer is None:
            return
        self.preview.hide_other_plane()
        index, optics = self._index(), self._optics()
        self.trust.show_plane((self.images.content, index, optics, self.model.model))
        self.shift.show_plane(index, optics, self.model.card.levels_px)
        self.preview.refresh()

    def _camera_moved(self, event: Any = None) -> None:
        if self.images.image is not None and self.compare.live.isChecked():
            self._dragging_camera.start(_PAN)

    def _level_found(self, found: LevelFound) -> None:
        image = self.images.image
        if image is not None and "Z" in image.stack.axes:
            field = [image.stack.position(found.index, axis) for axis in "TC"], found.optics
            self.pair.tell(image.stack.position(found.index, "Z"), field, found)
        self.shift.tell(found)

    def _drawn(self, made: Any) -> None:
        request, picture = made
        if picture.exact:
            if device := self.session.device_of(request.model, request.device):
                self.model.tell_device(device)
            bins = request.bins(picture.counts)
            coarse = f"Preview of {bins} x {bins} px as one; zoom in for the exact picture."
            self.state.setText(coarse if bins > 1 else "")
        if self.preview.layer is not None and self.compare.before.isChecked():
            self.preview.layer.visible = False

    def _sheet(self) -> tuple[Any, ViewRequest, list[Move]] | None:
        wished = self.request()
        level = self.shift.level_px
        if wished is None or level is None or self._two:
            return None
        return *wished, sheet_moves(level, self._optics(), self.shift.slider.number.singleStep())

    def _to_check(self) -> tuple[Any, Application] | None:
        wished = self.application()
        if wished is None:
            return None
        level, read = (self.shift.level_px, self.shift.estimate) if self.shift.sure else (None, None)
        one = {"scope": PLANE, "move": None, "focus_plane": None, "pair": None}
        return wished[0], replace(wished[1], level_px=level, estimate=read, **one)
