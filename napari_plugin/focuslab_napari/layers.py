"""A napari layer as a focal stack, and what it says of its microscope, each number with its source.

Of every number the first of these that knows it is believed: what the user typed, what FocusLab wrote into the layer's
metadata, the layer's scale and units, the TIFF file that the layer came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError, FocusLabError, ImageError
from focuslab.pixels import Reordered
from focuslab.stack import FocalStack

__all__ = ["NUMBERS", "LayerImage", "axes_of", "image_layers", "read_layer"]

NUMBERS = ("pixel_size_um", "z_step_um", "na", "wavelength_um", "index", "thickness_um")
_LETTERS = {
    "t": "T", "time": "T", "frame": "T",
    "c": "C", "ch": "C", "channel": "C",
    "z": "Z", "focus": "Z", "plane": "Z", "slice": "Z", "depth": "Z",
    "y": "Y", "row": "Y", "x": "X", "column": "X",
}  # fmt: skip
_GUESS = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TCZYX"}
_FEW = 5  # positions along an axis that may be channels
_SQUARE = 0.01  # relative difference of pixel height and width


@dataclass(frozen=True, slots=True)
class LayerImage:
    """What FocusLab sees of a layer.

    Attributes
    ----------
    stack
        The pixels, lazy where the layer is, axes sorted to TCZYX.
    axes
        Letters of the layer's own axes, in its order.
    guessed
        Whether the axes were guessed from the shape.
    sources
        Where each known number of `NUMBERS` is from: ``typed``, ``FocusLab``, ``layer`` or ``file``.
    """

    stack: FocalStack
    axes: str
    guessed: bool
    sources: dict[str, str]

    @property
    def colours(self) -> bool:
        """Whether the channels are the colours of a picture, which are no axis of its layer."""
        return "C" in self.stack.axes and "C" not in self.axes

    def to_layer(self, array: NDArray[Any], rgb: bool = False) -> NDArray[Any]:
        """Pixels with the axes of the stack, as the layer has its own."""
        own = self.axes + "C" if rgb else self.axes
        return array.transpose([self.stack.axes.index(a) for a in own])

    def index_at(self, step: tuple[int, ...]) -> tuple[int, ...]:
        """Index of a plane of the stack from positions along the layer's own axes."""
        return tuple(step[self.axes.index(a)] if a in self.axes else 0 for a in self.stack.axes[:-2])


def image_layers(layers: Any) -> list[Any]:
    """Layers of a viewer that hold images, FocusLab's own preview left out."""
    return [
        layer
        for layer in layers
        if type(layer).__name__ == "Image" and "preview" not in layer.metadata.get("focuslab", {})
    ]


def axes_of(layer: Any, focus_axis: int | None = None) -> tuple[str, bool]:
    """Letters of a layer's axes, and whether they were guessed.

    Parameters
    ----------
    layer
        Image layer.
    focus_axis
        Index of the axis that the user says is focus; -1 for none; None to take the layer's word.

    Raises
    ------
    ImageError
        If there are more than five axes.
    """
    ndim = layer.ndim
    if ndim > len("TCZYX"):
        raise ImageError(f"An image has at most five axes (T, C, Z, Y, X), this layer has {ndim}: split it first.")
    labels = [_LETTERS.get(str(label).strip().lower()) for label in layer.axis_labels]
    if None not in labels and len(set(labels)) == ndim and labels[-2:] == ["Y", "X"]:
        axes, guessed = "".join(labels), False  # type: ignore[arg-type]
    elif stored := _stored_axes(layer):
        axes, guessed = stored, False
    else:
        axes, guessed = _guess(_shape(layer)), True
    if focus_axis is None:
        return axes, guessed
    rest = [a for a in axes[:-2] if a != "Z"] + [a for a in "TC" if a not in axes]
    if len(rest) < ndim - 2 - (focus_axis >= 0):
        raise ImageError("Of three axes beside Y and X one must be focus: choose it as the focus axis.")
    lead = ["Z" if i == focus_axis else rest.pop(0) for i in range(ndim - 2)]
    return "".join(lead) + "YX", False


def read_layer(
    layer: Any,
    *,
    typed: Mapping[str, Any] | None = None,
    focus_axis: int | None = None,
    per_channel: bool = False,
) -> LayerImage:
    """See a layer as a focal stack.

    Parameters
    ----------
    layer
        Image layer: numpy or dask, multiscale (its full resolution is taken), RGB only `per_channel`.
    typed
        Numbers of `NUMBERS` that the user typed; of the wavelength a list, where channels differ.
    focus_axis
        See `axes_of`.
    per_channel
        Take the colours of an RGB layer as channels.

    Raises
    ------
    FocusLabError
        If the layer cannot be refocused; the sentence says why and what to do.
    """
    if layer.rgb and not per_channel:
        raise ImageError("This is a colour picture, whose intensities are mixed: tick 'RGB per channel', or split it.")
    axes, guessed = axes_of(layer, focus_axis)
    data = layer.data[0] if layer.multiscale else layer.data
    own = axes + "C" if layer.rgb else axes
    if layer.rgb and "C" in axes:
        raise ImageError("A colour picture with a channel axis cannot be told apart: split its colours first.")
    target = "".join(a for a in "TCZYX" if a in own)
    if np.dtype(data.dtype) == bool:
        raise ImageError("This layer holds a mask, not intensities: choose the image it was made from.")
    calibration, sources = _calibration(layer, axes, typed or {})
    plain = own == target and isinstance(data, np.ndarray)
    pixels = data if plain else Reordered(data, [own.index(a) for a in target])
    stack = FocalStack(pixels, target, calibration)
    return LayerImage(stack, axes, guessed, sources)


def _shape(layer: Any) -> tuple[int, ...]:
    shape = (layer.data[0] if layer.multiscale else layer.data).shape
    return tuple(shape[:-1] if layer.rgb else shape)


def _stored_axes(layer: Any) -> str | None:
    """Axes of the file that a layer shows whole, as another program opened it; None where they are not known."""
    if (path := _tiff_of(layer)) is None or layer.rgb:
        return None
    axes, shape = _as_stored(path, *_state(path))
    known = set(axes) <= set("TCZYX") and axes.endswith("YX")
    return axes if known and shape == _shape(layer) else None


@lru_cache(maxsize=64)
def _as_stored(path: Path, modified_ns: int, size: int) -> tuple[str, tuple[int, ...]]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return str(tiff.series[0].axes), tuple(tiff.series[0].shape)
    except Exception:  # tifffile raises errors of many kinds; whoever reads the pixels tells them
        return "", ()


def _guess(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[0] < _FEW <= shape[1]:
        return "CZYX"
    return _GUESS[len(shape)]


def _calibration(layer: Any, axes: str, typed: Mapping[str, Any]) -> tuple[Calibration, dict[str, str]]:
    """Everything known of the microscope, and whence."""
    known: dict[str, Any] = {}
    sources: dict[str, str] = {}
    channels: dict[str, Any] = {}
    for source, found in (
        ("file", _of_file(layer)),
        ("layer", _of_scale(layer, axes)),
        ("FocusLab", _of_metadata(layer)),
    ):
        for name, value in found.items():
            if name in ("channel_names", "channel_colours", "wavelengths_um", "time_step_s"):
                channels[name] = value
            elif value is not None:
                known[name], sources[name] = value, source
    wavelengths = channels.get("wavelengths_um") or ()
    if "C" not in axes and not layer.rgb and len(set(wavelengths)) > 1:
        wavelengths = ()  # one channel of several, and nobody says which
    if any(wavelengths):
        sources["wavelength_um"] = "file" if "FocusLab" not in sources.values() else "FocusLab"
    for name, value in typed.items():
        if name == "wavelength_um" and isinstance(value, list | tuple) and "C" not in axes and not layer.rgb:
            wavelengths = ()  # typed for all channels, and this is one of them
            continue
        known[name], sources[name] = value, "typed"
    if "wavelength_um" in known:
        said = known.pop("wavelength_um")
        wavelengths = tuple(said) if isinstance(said, list | tuple) else (said,)
    shown = {name: tuple(channels.get(name) or ()) for name in ("channel_names", "channel_colours")}
    return (
        Calibration(**known, wavelengths_um=wavelengths, time_step_s=channels.get("time_step_s"), **shown),
        sources,
    )


def _of_scale(layer: Any, axes: str) -> dict[str, float]:
    """Pixel size and z step, um, from scale and units; a scale of 1 px says nothing."""
    um = [_in_um(scale, unit) for scale, unit in zip(layer.scale, layer.units, strict=True)]
    y, x = um[-2:]
    if y is None or x is None:
        return {}
    y, x = abs(y), abs(x)  # a flipped layer has the same pixels
    if abs(y - x) > _SQUARE * max(y, x):
        raise CalibrationError(
            f"Pixels must be square within 1 %, these are {y:g} x {x:g} um: resample the image first."
        )
    found = {"pixel_size_um": x}
    step = um[axes.index("Z")] if "Z" in axes else None
    return {**found, "z_step_um": abs(step)} if step else found


def _in_um(scale: float, unit: Any) -> float | None:
    if str(unit) in ("pixel", "dimensionless", ""):
        return None if scale == 1 else float(scale)  # many readers set a scale in um and leave the unit
    try:
        return float((scale * unit).to("micrometer").magnitude)
    except Exception:  # a unit of another kind, in whatever way the unit library says so
        return None


def _of_metadata(layer: Any) -> dict[str, Any]:
    said = layer.metadata.get("focuslab", {}) if isinstance(layer.metadata.get("focuslab"), dict) else {}
    return dict(said.get("calibration", {}))


def _of_file(layer: Any) -> dict[str, Any]:
    """What the TIFF says that a layer was opened from; nothing if it cannot be asked."""
    path = _tiff_of(layer)
    return {} if path is None else _said_by(path, *_state(path))


def _tiff_of(layer: Any) -> Path | None:
    """TIFF that napari opened a layer from, if it did."""
    from focuslab.io.folders import TIFF_ENDINGS

    path = Path(getattr(layer.source, "path", None) or "")
    return path if path.suffix.lower() in TIFF_ENDINGS and path.is_file() else None


def _state(path: Path) -> tuple[int, int]:
    """What tells a file from another one of its name."""
    said = path.stat()
    return said.st_mtime_ns, said.st_size


@lru_cache(maxsize=64)
def _said_by(path: Path, modified_ns: int, size: int) -> dict[str, Any]:
    """Calibration in a TIFF, which is asked at every number that is typed."""
    from focuslab.io import read

    try:
        return read(path, rgb="per-channel").calibration.model_dump()
    except (FocusLabError, OSError):
        return {}
