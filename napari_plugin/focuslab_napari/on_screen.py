"""What of a layer is on screen: the plane, the rectangle; and how to show another plane."""

from typing import Any

import numpy as np

from focuslab_napari.layers import LayerImage

__all__ = ["plane_on_screen", "show_plane", "visible_rectangle"]


def plane_on_screen(viewer: Any, layer: Any) -> tuple[int, ...]:
    """Position of the displayed plane along all axes of a layer, px."""
    point = layer.world_to_data(viewer.dims.point[-layer.ndim :])
    shape = (layer.data[0] if layer.multiscale else layer.data).shape[: layer.ndim]
    return tuple(int(np.clip(round(float(p)), 0, n - 1)) for p, n in zip(point, shape, strict=True))


def visible_rectangle(viewer: Any, layer: Any) -> tuple[int, int, int, int] | None:
    """Rows and columns y0, y1, x0, x1 of a layer that are on screen; None if it is not shown as planes (Y, X)."""
    last = tuple(range(viewer.dims.ndim))[-2:]
    if viewer.dims.ndisplay != 2 or tuple(viewer.dims.displayed) != last:
        return None
    factors = layer.downsample_factors[layer.data_level][-2:] if layer.multiscale else (1, 1)
    shape = (layer.data[0] if layer.multiscale else layer.data).shape[layer.ndim - 2 : layer.ndim]
    (y0, x0), (y1, x1) = (np.asarray(corner)[-2:] * factors for corner in layer.corner_pixels)
    rows = int(max(y0, 0)), int(min(y1 + factors[0], shape[0]))
    columns = int(max(x0, 0)), int(min(x1 + factors[1], shape[1]))
    return (*rows, *columns) if rows[0] < rows[1] and columns[0] < columns[1] else None


def show_plane(viewer: Any, layer: Any, image: LayerImage, index: tuple[int, ...]) -> None:
    """Move the viewer's sliders to a plane of a layer, by its index in the stack."""
    here = list(plane_on_screen(viewer, layer))
    for axis, at in zip(image.stack.axes[:-2], index, strict=True):
        if axis in image.axes:  # the channels of a colour picture are no axis of its layer
            here[image.axes.index(axis)] = at
    world = layer.data_to_world(here)
    for axis in range(layer.ndim - 2):
        viewer.dims.set_point(viewer.dims.ndim - layer.ndim + axis, world[axis])
