"""Which layer, which of its axes is focus, and what is known of its microscope."""

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QLabel, QLineEdit, QWidget

from focuslab.errors import FocusLabError
from focuslab_napari.layers import NUMBERS, LayerImage, axes_of, image_layers, read_layer
from focuslab_napari.number_fields import numbers_in, positive_field, text_of
from focuslab_napari.preferences import choose_focus_axis, chosen_focus_axis, type_numbers, typed_numbers

__all__ = ["TITLES", "ImageBox"]

TITLES = {
    "pixel_size_um": ("Pixel size", "um"),
    "z_step_um": ("Focus step", "um"),
    "na": ("NA", ""),
    "wavelength_um": ("Emission", "um"),
    "index": ("Immersion index", ""),
    "thickness_um": ("Specimen thickness", "um"),
}
_NO_LAYER = "Open an image: drop a TIFF on the window, or use File > Open Sample > FocusLab."


class ImageBox(QWidget):
    """Choice of a layer, and the numbers that make its slider one of micrometres.

    Signals
    -------
    changed
        The image that would be refocused is another one.
    """

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.image: LayerImage | None = None
        self._version: dict[str, int] = {}
        self._heard: dict[Any, list[tuple[Any, Any]]] = {}
        self.layers = QComboBox()
        self.layers.setToolTip("Image layer to refocus")
        self.focus_axis = QComboBox()
        self.focus_axis.setToolTip("Axis along which the focus changes")
        self.per_channel = QCheckBox("RGB per channel")
        self.per_channel.setToolTip("Take the colours of this picture as channels")
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.fields: dict[str, QLineEdit] = {}
        self.origins: dict[str, QLabel] = {}
        self._lay_out()
        self.layers.currentIndexChanged.connect(self._chosen)
        self.focus_axis.activated.connect(self._axis_chosen)
        self.per_channel.toggled.connect(lambda _: self.read())
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._list)
        self._list()
        self.read()

    @property
    def layer(self) -> Any:
        """Chosen layer, or None."""
        wanted = self.layers.currentData()
        return next((layer for layer in self.viewer.layers if layer.unique_id == wanted), None)

    @property
    def content(self) -> tuple[Any, ...]:
        """Name of the chosen layer's pixels as they are now; nothing if there is no layer."""
        if (layer := self.layer) is None:
            return ()
        return (layer.unique_id, self._version.get(layer.unique_id, 0), self.image.axes if self.image else "")

    def choose(self, layer: Any) -> None:
        """Choose a layer."""
        at = self.layers.findData(layer.unique_id)
        if at >= 0:
            self.layers.setCurrentIndex(at)

    def read(self) -> None:
        """Look at the chosen layer again."""
        layer, self.image = self.layer, None
        self.per_channel.setVisible(layer is not None and layer.rgb)
        if layer is None:
            self.state.setText(_NO_LAYER)
        else:
            try:
                self.image = read_layer(
                    layer,
                    typed=typed_numbers(layer),
                    focus_axis=chosen_focus_axis(layer),
                    per_channel=self.per_channel.isChecked(),
                )
                self.state.setText(self._sentence(self.image))
            except (FocusLabError, ValueError) as error:
                self.state.setText(str(error))
        self._show_numbers()
        self.changed.emit()

    def close_events(self) -> None:
        """Let go of the viewer."""
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.disconnect(self._list)
        for layer in list(self._heard):
            self._forget(layer)

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Image", self.layers)
        form.addRow("Focus axis", self.focus_axis)
        form.addRow("", self.per_channel)
        for name in NUMBERS:
            title, unit = TITLES[name]
            several = name == "wavelength_um"
            field = positive_field("thin" if name == "thickness_um" else "not known", several=several)
            origin = QLabel()
            if several:
                field.setToolTip("One number for all channels, or one for each: 0.461, 0.52")
            elif name == "thickness_um":
                field.setToolTip("Every plane holds the light of all slices of the specimen, each with its own blur")
            origin.setMinimumWidth(origin.fontMetrics().horizontalAdvance("FocusLab") + 6)  # the widest source
            field.editingFinished.connect(lambda name=name: self._typed(name))
            row = QHBoxLayout()
            row.addWidget(field, 1)
            row.addWidget(QLabel(unit))
            row.addWidget(origin)
            form.addRow(title, row)
            self.fields[name], self.origins[name] = field, origin
        form.addRow(self.state)

    def _list(self, event: Any = None) -> None:
        """List the image layers anew; the chosen one stays."""
        before = self.layers.currentData()
        self.layers.blockSignals(True)
        self.layers.clear()
        found = image_layers(self.viewer.layers)
        for layer in found:
            self.layers.addItem(layer.name, layer.unique_id)
            if layer.unique_id not in self._heard:
                self._listen(layer)
        for gone in self._heard.keys() - {layer.unique_id for layer in found}:
            self._forget(gone)
        at = self.layers.findData(before)
        self.layers.setCurrentIndex(at if at >= 0 else len(found) - 1)
        self.layers.blockSignals(False)
        if self.layers.currentData() != before:
            self._chosen()

    def _listen(self, layer: Any) -> None:
        """Hear of new names, pixels, scales of a layer, until the panel is closed."""
        events = layer.events
        looks = (events.scale, events.units, events.axis_labels, events.metadata)
        looks += (events.translate, events.rotate, events.shear, events.affine)
        heard = [
            (events.name, self._list),
            (events.data, lambda _: self._replaced(layer)),
            *((look, lambda _: self.read() if layer is self.layer else None) for look in looks),
        ]
        for event, deed in heard:
            event.connect(deed)
        self._heard[layer.unique_id] = heard

    def _forget(self, layer: Any) -> None:
        """Let go of a layer, by its id."""
        for event, deed in self._heard.pop(layer):
            event.disconnect(deed)

    def _chosen(self, _: int = 0) -> None:
        layer = self.layer
        self.focus_axis.clear()
        self.focus_axis.addItem("as labelled", None)
        if layer is not None and layer.ndim <= 5:
            axes, guessed = axes_of(layer)
            for i, letter in enumerate(axes[:-2]):
                self.focus_axis.addItem(f"axis {i} ({letter.lower()}{', guessed' if guessed else ''})", i)
            self.focus_axis.addItem("none", -1)
            self.focus_axis.setCurrentIndex(max(self.focus_axis.findData(chosen_focus_axis(layer)), 0))
        self.read()

    def _axis_chosen(self, _: int) -> None:
        if (layer := self.layer) is not None:
            choose_focus_axis(layer, self.focus_axis.currentData())

    def _replaced(self, layer: Any) -> None:
        self._version[layer.unique_id] = self._version.get(layer.unique_id, 0) + 1
        if layer is self.layer:
            self.read()

    def _typed(self, name: str) -> None:
        said = [v for v in numbers_in(self.fields[name].text()) if v > 0]
        if self.fields[name].text() == text_of(self._value(name)) or (layer := self.layer) is None:
            return
        typed = {k: v for k, v in typed_numbers(layer).items() if k != name}
        type_numbers(layer, {**typed, name: said if len(said) > 1 else said[0]} if said else typed)

    def _value(self, name: str) -> Any:
        """A number as it is known, of the wavelength one per channel; None if it is not."""
        if self.image is None:
            return None if self.layer is None else typed_numbers(self.layer).get(name)
        said = self.image.stack.calibration
        return said.wavelengths_um if name == "wavelength_um" else getattr(said, name)

    def _show_numbers(self) -> None:
        for name, field in self.fields.items():
            value = self._value(name)
            field.setText(text_of(value))
            source = self.image.sources.get(name, "") if self.image else ""
            self.origins[name].setText(source if text_of(value) else "")

    def _sentence(self, image: LayerImage) -> str:
        guessed = " (guessed)" if image.guessed else ""
        shape = " x ".join(str(n) for n in image.stack.shape)
        missing = image.stack.calibration.missing()
        unit = f"Not calibrated, in px of blur: {', '.join(missing)} unknown." if missing else "Calibrated: in um."
        return f"Axes {' '.join(image.stack.axes)}{guessed}, {shape}, {image.stack.dtype}. {unit}"
