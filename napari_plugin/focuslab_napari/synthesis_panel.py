"""The synthesis panel: a focal stack of the plane on screen, by the model or by optics, or of a simulated specimen."""

from typing import Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QComboBox, QPushButton, QTabWidget, QVBoxLayout, QWidget

from focuslab.optics.optics import Optics
from focuslab.stack import FocalStack
from focuslab_napari.image_box import ImageBox
from focuslab_napari.jobs import JobBar
from focuslab_napari.layers import LayerImage
from focuslab_napari.model_box import ModelBox
from focuslab_napari.number_fields import Number, NumberFields
from focuslab_napari.on_screen import plane_on_screen
from focuslab_napari.opening import layer_of
from focuslab_napari.panel import Panel, sentence_label
from focuslab_napari.results import put_result, same_place, stacked_place
from focuslab_napari.session import Session

__all__ = ["SynthesisPanel"]

MODEL, OPTICS = "the model", "optics alone"
SHARP, READ = "in focus", "read from it"
_SPECIMENS = ("nuclei", "filaments", "membranes", "puncta", "mixed")
_RANGE = {
    "first": Number("From", 0.0, -1000, 1000, 2, "um"),
    "last": Number("To", 10.0, -1000, 1000, 2, "um"),
    "planes": Number("Planes", 11, 1, 500, 0),
}
_PHANTOM = {
    "size": Number("Size", 512, 64, 2048, 0, "px"),
    "planes": Number("Planes", 9, 1, 200, 0),
    "z_step_um": Number("Step", 2.0, 0.01, 100, 2, "um"),
    "na": Number("NA", 0.5, 0.05, 1.7, 2),
    "index": Number("Immersion index", 1.0, 1.0, 1.7, 3),
    "wavelength_um": Number("Emission", 0.52, 0.3, 1.2, 3, "um"),
    "pixel_size_um": Number("Pixel size", 0.65, 0.02, 10, 3, "um"),
    "photons": Number("Photons", 1500, 1, 1_000_000, 0),
    "read_noise": Number("Read noise", 2.0, 0.0, 100, 1, "e-"),
    "seed": Number("Seed", 0, 0, 2**31 - 1, 0),
}


class SynthesisPanel(Panel):
    """Focal stacks that were never recorded."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.session = Session()
        self.images, self.model, self.job, self.about = ImageBox(napari_viewer), ModelBox(), JobBar(), sentence_label()
        self.range, self.way, self.level = NumberFields(_RANGE), QComboBox(), QComboBox()
        self.way.addItems([MODEL, OPTICS])
        self.level.addItems([SHARP, READ])
        self.range.form.addRow("By", self.way)
        self.range.form.addRow("The plane is", self.level)
        self.make = QPushButton("Make focal stack")
        self.make.setToolTip("Focal planes of what is on screen, at distances from focus, as a new layer")
        self.phantom, self.kind = NumberFields(_PHANTOM), QComboBox()
        self.kind.addItems(list(_SPECIMENS))
        self.phantom.form.insertRow(0, "Specimen", self.kind)
        self.simulate = QPushButton("Simulate")
        self.simulate.setToolTip("A synthetic specimen, imaged by the pupil model and a noisy camera, with its truth")
        tabs = QTabWidget()
        tabs.addTab(_column(self.images, self.model, self.range, self.make), "From this plane")
        tabs.addTab(_column(self.phantom, self.simulate), "Phantom")
        self.tabs = tabs
        self.lay_out({"Synthesis": tabs}, self.about, self.job)
        self.make.clicked.connect(self.start)
        self.simulate.clicked.connect(self.start_phantom)
        self.images.changed.connect(self._show_unit)
        self._show_unit()
        self.when_closed(self.images.close_events, self.job.cancel)

    @property
    def unit(self) -> str:
        """Unit of the range: um where the image is calibrated."""
        image = self.images.image
        return "um" if image is not None and not image.stack.calibration.missing() else "px"

    def start(self) -> None:
        """Make a focal stack of the plane on screen."""
        layer, image = self.images.layer, self.images.image
        if layer is None or image is None:
            show_warning(self.images.state.text())
            return
        index = image.index_at(plane_on_screen(self.viewer, layer))
        fields, way = self.range, "model" if self.way.currentText() == MODEL else "optics"
        asked = {
            "first": fields["first"],
            "last": fields["last"],
            "planes": fields.whole("planes"),
            "unit": self.unit,
            "level_px": 0.0 if self.level.currentText() == SHARP else None,
            "way": way,
        }
        model, device = self.model.model, self.model.device

        def steps() -> Any:
            from focuslab.refocusing import SynthesisRequest, focal_stack_steps

            engine = self.session.engine(model, device)
            return focal_stack_steps(image.stack, index, SynthesisRequest(**asked), engine, keep_nan=True)

        self.about.setText("")
        self.job.run(f"Focal stack of {layer.name}", steps, lambda made: self._put(layer, image, made))

    def start_phantom(self) -> None:
        """Simulate a specimen and its focal stack."""
        fields, kind = {name: self.phantom[name] for name in _PHANTOM}, self.kind.currentText()
        seed, size, planes = (int(fields[name]) for name in ("seed", "size", "planes"))

        def steps() -> Any:
            from focuslab.refocusing import Progress
            from focuslab.simulation import simulate_stack, specimen_of

            yield Progress(0, 2)
            optics = Optics(**{name: fields[name] for name in ("na", "index", "wavelength_um", "pixel_size_um")})
            light = specimen_of(kind, size=size, seed=seed)
            yield Progress(1, 2)
            return simulate_stack(
                light,
                optics,
                distances_um=[k * fields["z_step_um"] for k in range(planes)],
                photons=fields["photons"],
                read_noise=fields["read_noise"],
                seed=seed,
            )

        self.about.setText("")
        self.job.run(f"Simulating {kind}", steps, lambda made: self._put_phantom(f"{kind} {seed}", *made))

    def _put(self, layer: Any, image: LayerImage, made: FocalStack) -> None:
        if layer not in self.viewer.layers:
            show_info("The image was closed meanwhile: the focal stack is dropped.")
            return
        kept = (layer.ndim - 2, layer.ndim - 1)
        place, distances = same_place(layer, kept), made.provenance["distances"]
        um = made.provenance["unit"] == "um"
        step = distances[1] - distances[0] if len(distances) > 1 else 1.0
        put_result(
            self.viewer,
            layer,
            "synthetic stack",
            np.asarray(made.array),
            made.provenance,
            calibration=made.calibration.model_dump(),
            **stacked_place(place, "um", step or 1.0, distances[0]) if um else stacked_place(place, "pixel", 1.0, 0.0),
            axis_labels=("z", "y", "x"),
        )
        self.about.setText(" ".join([f"{len(distances)} planes made.", *made.provenance["notes"]]))

    def _put_phantom(self, name: str, noisy: FocalStack, clean: FocalStack) -> None:
        for stack, title in ((clean, f"{name} truth"), (noisy, name)):
            pixels, keywords = layer_of(stack, title)
            self.viewer.add_image(pixels, visible=stack is noisy, **keywords)
        self.about.setText(f"{name}: {noisy.size('Z')} focal planes, the first in focus, and the same without noise.")

    def _show_unit(self) -> None:
        for name in ("first", "last"):
            self.range.boxes[name].setSuffix(f" {self.unit}")


def _column(*widgets: QWidget) -> QWidget:
    inner = QWidget()
    rows = QVBoxLayout(inner)
    rows.setContentsMargins(4, 4, 4, 4)
    for widget in widgets:
        rows.addWidget(widget)
    rows.addStretch(1)
    return inner
