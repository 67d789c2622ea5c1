"""Files as layers with axes, scale and units set, and the panel docked: what `focuslab gui` starts with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.pixels import PERCENTILES
from focuslab.stack import FocalStack
from focuslab_napari.channel_looks import show_channels

__all__ = ["layer_of", "open_file", "open_panel", "start"]

_SIDE = 1024  # px of the square that contrast limits are taken from


def start(stacks: Sequence[tuple[Path, FocalStack]]) -> None:
    """Open napari with files and the panel; returns when the window is closed."""
    import napari

    viewer = napari.Viewer(title="FocusLab")
    for path, stack in stacks:
        open_file(viewer, path, stack)
    open_panel(viewer)
    napari.run()


def open_panel(viewer: Any) -> Any:
    """Dock the refocus panel; returns it."""
    _, panel = viewer.window.add_plugin_dock_widget("focuslab", "Refocus")
    return panel


def open_file(viewer: Any, path: Path, stack: FocalStack) -> Any:
    """Add a file that was read as a layer; returns it."""
    pixels, keywords = layer_of(stack, path.name)
    layer = viewer.add_image(pixels, **keywords)
    layer.metadata["focuslab"]["path"] = str(path)
    if stack.size("C") > 1:
        limits = [_contrast(stack, c) for c in range(stack.size("C"))]
        show_channels(viewer, layer, stack.axes.index("C"), limits, stack.calibration.channel_colours)
    if "Z" in stack.axes:
        at = stack.axes.index("Z")
        middle = layer.data_to_world([n // 2 for n in stack.shape])[at]
        viewer.dims.set_point(viewer.dims.ndim - layer.ndim + at, middle)  # other layers may have more axes
    return layer


def layer_of(stack: FocalStack, name: str) -> tuple[Any, dict[str, Any]]:
    """Pixels, lazy where the stack is, and the keywords of their layer."""
    known = stack.calibration
    pixel, step = known.pixel_size_um, known.z_step_um
    sizes = {"Y": pixel, "X": pixel, "Z": step if pixel else None, "T": known.time_step_s, "C": None}
    space = "um" if pixel else "pixel"
    keywords: dict[str, Any] = {
        "name": name,
        "axis_labels": tuple(stack.axes.lower()),
        "scale": tuple(sizes[a] or 1.0 for a in stack.axes),
        "units": tuple(space if a in "YX" or (a == "Z" and sizes["Z"]) else "pixel" for a in stack.axes),
        "contrast_limits": _contrast(stack),
        "metadata": {"focuslab": {"calibration": known.model_dump(), "provenance": stack.provenance}},
    }
    return _Sliceable(stack) if not isinstance(stack.array, np.ndarray) else stack.array, keywords


def _contrast(stack: FocalStack, channel: int = 0) -> tuple[float, float]:
    """Limits that show the middle plane of a channel well."""
    middle = tuple(channel if axis == "C" else n // 2 for axis, n in zip(stack.axes, stack.shape[:-2], strict=False))
    y, x = (max((n - _SIDE) // 2, 0) for n in stack.plane_shape)
    values = np.asarray(stack.array[(*middle, slice(y, y + _SIDE), slice(x, x + _SIDE))])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, PERCENTILES) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


class _Sliceable:
    """Pixels of a lazy stack as napari wants them: shape, dtype, ndim, any index."""

    def __init__(self, stack: FocalStack) -> None:
        self._array = stack.array
        self.shape, self.dtype, self.ndim = stack.shape, stack.dtype, len(stack.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        index = index if isinstance(index, tuple) else (index,)
        index = tuple(int(i) if isinstance(i, np.integer) else i for i in index)
        return np.asarray(self._array[(*index, *(slice(None),) * (self.ndim - len(index)))])

    def __deepcopy__(self, memo: Any) -> "_Sliceable":
        return self  # an open file, which nobody writes to: a duplicate of a layer reads the same

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return np.asarray(self[()], dtype)
