"""The focus panel: how blurred the planes of a stack are, where the field is out of focus, and all of it in focus."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QComboBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from focuslab_napari.curve_plot import CurvePlot
from focuslab_napari.focus_results import put_all_in_focus, put_blur_map
from focuslab_napari.image_box import ImageBox
from focuslab_napari.jobs import JobBar
from focuslab_napari.layers import LayerImage
from focuslab_napari.model_box import ModelBox
from focuslab_napari.on_screen import plane_on_screen, show_plane
from focuslab_napari.panel import Panel, sentence_label
from focuslab_napari.preferences import preference
from focuslab_napari.session import Session

if TYPE_CHECKING:
    from focuslab.refocusing import Engine, PlaneFocus

__all__ = ["FocusPanel"]

_ALONG = {"focus (Z)": "Z", "time (T)": "T"}


class FocusPanel(Panel):
    """Plot of blur level and sharpness, blur map, best plane, all in focus."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.session = Session()
        self.images, self.model, self.job = ImageBox(napari_viewer), ModelBox(), JobBar()
        self.along, self.plot, self.about = QComboBox(), CurvePlot(napari_viewer, "plane"), sentence_label()
        self.along.addItems(list(_ALONG))
        self.measure, self.best = QPushButton("Measure"), QPushButton("Best plane")
        self.map, self.all = QPushButton("Blur map"), QPushButton("All in focus")
        self.measure.setToolTip("Read blur level and sharpness of every plane")
        self.best.setToolTip("Go to the sharpest of the planes that were measured")
        self.map.setToolTip("Read the blur level over the field of the plane on screen, as a layer")
        self.all.setToolTip("One picture of the focal stack, every part from the plane that shows it sharpest")
        self.found: list[PlaneFocus] = []
        self._measured: tuple[Any, ...] = ()
        self._by: tuple[Any, ...] = ()
        self.lay_out(
            {"Image and microscope": self.images, "Model": self.model, "Focus": self._curves()}, self.about, self.job
        )
        for button, deed in (
            (self.measure, self.start),
            (self.best, self.go_to_best),
            (self.map, self.start_map),
            (self.all, self.start_all),
        ):
            button.clicked.connect(deed)
        self.plot.picked.connect(self._go_to)
        self.images.changed.connect(self._image_changed)
        self.model.changed.connect(self._image_changed)
        napari_viewer.dims.events.current_step.connect(self._plane_changed)
        self.when_closed(
            self.images.close_events,
            self.job.cancel,
            lambda: napari_viewer.dims.events.current_step.disconnect(self._plane_changed),
        )

    def start(self) -> None:
        """Measure all planes along the chosen axis."""
        from focuslab.refocusing import focus_curve_steps

        if (here := self._here()) is None:
            return
        layer, image, index = here
        if self.job.running:
            show_warning("One job is running already: wait for it, or cancel it.")
            return
        if self.axis not in image.stack.axes and len(image.stack.axes) > 2:
            show_warning(f"This image has no axis for {self.along.currentText()}: choose another one.")
            return
        planes = image.stack.line(index, self.axis)
        self.found, self._measured, self._by = [], (self.images.content, self.axis), self._told_by()
        self.about.setText("")
        engine = self._engine()
        self.job.run(
            f"Focus of {layer.name}",
            lambda: focus_curve_steps(image.stack, planes, engine().model),
            lambda _: self._say_best(),
            self._add,
            len(planes),
        )

    def start_map(self) -> None:
        """Map the blur of the plane on screen."""
        from focuslab.refocusing import blur_map_steps

        if (here := self._here()) is None:
            return
        layer, image, index = here
        self.about.setText("")
        engine = self._engine()
        self.job.run(
            f"Blur map of {layer.name}",
            lambda: blur_map_steps(image.stack, index, engine().model),
            lambda found: self.about.setText(put_blur_map(self.viewer, layer, index, found)),
        )

    def start_all(self) -> None:
        """Fuse the focal stack on screen."""
        from focuslab.refocusing import all_in_focus_steps

        if (here := self._here()) is None:
            return
        layer, image, index = here
        planes, tile = image.stack.line(index, "Z"), int(preference("tile"))
        self.about.setText("")
        engine = self._engine()
        self.job.run(
            f"All in focus of {layer.name}",
            lambda: all_in_focus_steps(image.stack, planes, engine(), tile=tile),
            lambda made: self.about.setText(put_all_in_focus(self.viewer, layer, image, index, made)),
        )

    def go_to_best(self) -> None:
        """Show the sharpest plane."""
        if not self.found:
            show_warning("Nothing is measured yet: press Measure first.")
        elif self.images.image is not None:
            show_plane(self.viewer, self.images.layer, self.images.image, self._sharpest().index)

    @property
    def axis(self) -> str:
        """Letter of the axis along which planes are measured."""
        return _ALONG[self.along.currentText()]

    def _curves(self) -> QWidget:
        inner = QWidget()
        rows, grid = QVBoxLayout(inner), QGridLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.plot)
        for i, widget in enumerate((self.along, self.measure, self.best, self.map, self.all)):
            grid.addWidget(widget, (i + 1) // 2, (i + 1) % 2 if i else 0, 1, 1 if i else 2)
        rows.addLayout(grid)
        return inner

    def _told_by(self) -> tuple[Any, ...]:
        """What levels are read with: the microscope and the model."""
        image = self.images.image
        return (image and image.stack.calibration, self.model.model)

    def _engine(self) -> "Callable[[], Engine]":
        """What makes the engine that is chosen now, in whichever thread."""
        return partial(self.session.engine, self.model.model, self.model.device)

    def _here(self) -> tuple[Any, LayerImage, tuple[int, ...]] | None:
        """Layer, image and plane on screen; None, with a sentence, if there is no image."""
        layer, image = self.images.layer, self.images.image
        if layer is None or image is None:
            show_warning(self.images.state.text())
            return None
        return layer, image, image.index_at(plane_on_screen(self.viewer, layer))

    def _sharpest(self) -> "PlaneFocus":
        return max(self.found, key=lambda plane: plane.sharpness)

    def _position(self, plane: "PlaneFocus") -> int:
        image = self.images.image
        return image.stack.position(plane.index, self._measured[1]) if image is not None else 0

    def _add(self, plane: "PlaneFocus") -> None:
        """One plane more on the plot; one without structure has no level."""
        self.found.append(plane)
        um = any(p.level_um is not None for p in self.found)
        top = max(p.sharpness for p in self.found) or 1.0
        levels = [(p.level_um if um else p.estimate.level_px) if p.estimate.found else np.nan for p in self.found]
        x = [self._position(p) for p in self.found]
        self.plot.show_curves(
            {"level": (x, levels)},
            {"sharpness": (x, [p.sharpness / top for p in self.found])},
            left_label=f"blur level, {'um' if um else 'px'}",
            right_label="sharpness",
            whole=True,
        )
        self._plane_changed()

    def _say_best(self) -> None:
        best, empty = self._sharpest(), [p for p in self.found if not p.estimate.found]
        level = f"{best.estimate.level_px:.1f} px" if best.level_um is None else f"{best.level_um:.1f} um"
        said = [f"The sharpest plane is {self._position(best)}: blur level {level}. Click the plot to go to a plane."]
        if not best.estimate.found:
            said = ["No plane has structure whose blur could be read."]
        elif empty:
            said.append(f"{len(empty)} planes have no structure, and so no level.")
        self.about.setText(" ".join(said))

    def _go_to(self, x: float) -> None:
        image = self.images.image
        if image is None or not self.found:
            return
        nearest = min(self.found, key=lambda plane: abs(self._position(plane) - x))
        show_plane(self.viewer, self.images.layer, image, nearest.index)

    def _image_changed(self) -> None:
        if self._measured and (self.images.content != self._measured[0] or self._told_by() != self._by):
            self.job.cancel()
            self.found, self._measured = [], ()
            self.plot.mark(None)
            self.plot.show_curves({})
            self.about.setText("")
        self._plane_changed()

    def _plane_changed(self, event: Any = None) -> None:
        layer, image = self.images.layer, self.images.image
        if layer is not None and image is not None and self._measured:
            index = image.index_at(plane_on_screen(self.viewer, layer))
            self.plot.mark(image.stack.position(index, self._measured[1]))
