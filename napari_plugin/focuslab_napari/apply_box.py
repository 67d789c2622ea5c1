"""Apply what the slider says, to this plane or to all, and save the result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_info, show_warning
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHBoxLayout, QMessageBox, QPushButton, QSpinBox, QWidget

from focuslab.errors import FocusLabError
from focuslab.files import file_name, place_of
from focuslab_napari.applying import (
    ALL,
    PLANE,
    STACK,
    Application,
    apply_steps,
    layer_stack,
    result_path,
    write_steps,
)
from focuslab_napari.jobs import JobBar
from focuslab_napari.results import places_of, put_result
from focuslab_napari.session import Session

__all__ = ["EACH_TIME", "FROM_STEP", "SHARPEST", "SHIFT", "ApplyBox"]

SHIFT, SHARPEST = "by the slider's shift", "each to the sharpest"
ESTIMATED, EACH_TIME, FROM_STEP = "estimated", "estimated at each time", "from z, focus is plane"


class ApplyBox(QWidget):
    """Scope, apply, progress, cancel, save.

    Parameters
    ----------
    viewer
        Where results go.
    session
        Model and levels.
    wish
        Gives the layer and what is to be applied in a scope, to the sharpest or by the slider; None if nothing can be.
    """

    applied = Signal(object)

    def __init__(self, viewer: Any, session: Session, wish: Callable[[], tuple[Any, Application] | None]) -> None:
        super().__init__()
        self.viewer, self.session, self._wish = viewer, session, wish
        self.scope, self.how, self.levels, self.focus = QComboBox(), QComboBox(), QComboBox(), QSpinBox()
        self.scope.addItems([PLANE, STACK, ALL])
        self.how.addItems([SHIFT, SHARPEST])
        self.levels.addItems([ESTIMATED, EACH_TIME, FROM_STEP])
        self.apply, self.save, self.job = QPushButton("Apply"), QPushButton("Save result ..."), JobBar()
        self.save.setEnabled(False)
        self.result: Any = None
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Apply to", self.scope)
        form.addRow("Move", self.how)
        row = QHBoxLayout()
        row.addWidget(self.levels)
        row.addWidget(self.focus)
        form.addRow("Levels", row)
        buttons = QHBoxLayout()
        buttons.addWidget(self.apply)
        buttons.addWidget(self.save)
        form.addRow(buttons)
        form.addRow(self.job)
        self.apply.clicked.connect(self.start)
        self.save.clicked.connect(self._ask_where)
        self.job.finished.connect(self._ready)
        viewer.layers.events.removed.connect(self._removed)

    def start(self) -> None:
        """Apply in the background."""
        wished = self._wish()
        if wished is None:
            show_warning("There is no image to refocus: choose one under Image.")
            return
        layer, asked = wished
        if asked.scope == PLANE and asked.image.colours:
            show_warning(f"A colour picture is refocused in all of its colours: apply it to {STACK!r}.")
            return
        if self.job.running:
            show_warning("One job is running already: wait for it, or cancel it.")
            return
        self._busy()
        self.job.run(
            f"Refocusing {layer.name}",
            lambda: apply_steps(self.session, asked),
            lambda made: self._put(layer, asked, *made),
        )

    def close_events(self) -> None:
        """Stop, and let go of the viewer."""
        self.job.cancel()
        self.viewer.layers.events.removed.disconnect(self._removed)

    def _busy(self) -> None:
        self.apply.setEnabled(False)
        self.save.setEnabled(False)

    def _ready(self) -> None:
        self.apply.setEnabled(True)
        self.save.setEnabled(self.result is not None)

    def _put(self, layer: Any, asked: Application, pixels: NDArray[Any], provenance: dict[str, Any]) -> None:
        if layer not in self.viewer.layers:
            show_info("The image was closed while it was refocused: the result is dropped.")
            return
        if layer.ndim != len(asked.image.axes):
            show_warning("The image was replaced by one of other axes while it was refocused: the result is dropped.")
            return
        said = asked.image.stack.calibration.model_dump()
        image = asked.image
        if asked.scope == PLANE:
            of_plane, kept = image.stack.at(asked.index).calibration.model_dump(), (layer.ndim - 2, layer.ndim - 1)
            kind = "refocused plane" if asked.pair is None else "between planes"
            result = put_result(self.viewer, layer, kind, pixels, provenance, calibration=of_plane, kept=kept)
        else:
            look: dict[str, Any] = {"rgb": True} if layer.rgb else {}
            look["axis_labels"] = tuple(image.axes.lower())  # as they were taken to be, whatever the layer calls them
            pixels = image.to_layer(pixels, layer.rgb)
            result = put_result(self.viewer, layer, "refocused", pixels, provenance, calibration=said, **look)
        self.result = result
        for note in provenance["notes"]:
            show_info(note)
        self.applied.emit((layer, asked, result, provenance))

    def _removed(self, event: Any) -> None:
        if event.value is self.result:
            self.result = None
            self.save.setEnabled(False)

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save as OME-TIFF", f"{file_name(self.result.name)}.ome.tif", "OME-TIFF (*.ome.tif)"
        )
        if not path:
            return
        final = result_path(Path(path), self.result.data.dtype)
        if final != Path(path) and final.exists():  # the dialog has asked about another name
            answer = QMessageBox.question(self, "Save as OME-TIFF", f"{final.name} exists already. Replace it?")
            if answer != QMessageBox.StandardButton.Yes:
                return
        self.save_to(final)

    def save_to(self, path: Path) -> None:
        """Write the result in the background; never over a file that a layer is drawn from."""
        final = result_path(path, self.result.data.dtype).resolve()
        if any(place_of(final) == place for layer in self.viewer.layers for place in places_of(layer)):
            show_warning(f"{final.name} is open in this viewer: save the result under another name.")
            return
        try:
            stack = layer_stack(self.result)
        except FocusLabError as error:
            show_warning(str(error))
            return
        self._busy()
        self.job.run(
            f"Saving {final.name}",
            lambda: write_steps([(final, stack)]),
            lambda _: show_info(f"Saved {final.name}."),
        )
