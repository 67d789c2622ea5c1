"""All in focus: one picture of a thick or tilted specimen, every part from the plane that shows it sharpest.

The planes are fused as they were recorded, weighted by the local power of their fine detail, and what blur is left in
the fused picture is undone. The other order, each plane taken to the sharpest and then fused, is far worse: a plane of
a thick specimen has no one level, and where it was sharp already, undoing its mean blur draws detail that wins the
choice (docs/method.md).

References
----------
.. [1] B. Forster et al., "Complex wavelets for extended depth-of-field", Microsc. Res. Tech. 65, 33 (2004),
       doi 10.1002/jemt.20092: the problem and its usual solutions.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from focuslab.errors import ImageError
from focuslab.models.bundle import Model
from focuslab.models.zoo import load_model
from focuslab.optics import Optics
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.filling import DEFAULT_TILE
from focuslab.refocusing.intensity import finite
from focuslab.refocusing.progress import Progress, finish, retold
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.steps import refocus_steps
from focuslab.refocusing.tiling import Tile, tiles
from focuslab.stack import FocalStack, as_stack

__all__ = ["AllInFocus", "all_in_focus", "all_in_focus_steps"]

_FINE = 1.5  # px: scale of the detail that tells sharp from blurred
_NEAR = 6.0  # px: how far around a pixel its detail is judged
_HALO = 32  # px that the filters of both scales reach
_POWER = 8  # of the weights: 1 is a mean of the planes, infinity the choice of one


@dataclass(frozen=True, slots=True)
class AllInFocus:
    """Picture and relief of a thick specimen.

    Attributes
    ----------
    picture
        (Y, X), dtype of the stack, with its calibration; its provenance says how it was made.
    plane
        (Y, X), float32: focal plane, by index, that each pixel is from; between two where they share it.
    """

    picture: FocalStack
    plane: NDArray[np.float32]


def all_in_focus_steps(
    stack: FocalStack,
    planes: Sequence[tuple[int, ...]],
    engine: Engine,
    *,
    optics: Optics | None = None,
    tile: int = DEFAULT_TILE,
) -> Generator[Progress, None, AllInFocus]:
    """Fuse planes of one field and undo what blur is left.

    Parameters
    ----------
    stack
        Holds the planes.
    planes
        Their indices, along Z.
    engine
        Model and device.
    optics
        Overrides what the stack says of its microscope.
    tile
        Height of a tile, px.

    Notes
    -----
    Pixels that are not finite are taken from the other planes; those that are finite nowhere stay as they are.

    Raises
    ------
    ImageError
        If there are fewer than two planes.
    """
    if len(planes) < 2:
        raise ImageError(f"All in focus needs a focal stack of at least two planes, got {len(planes)}.")
    fused, where = np.empty(stack.plane_shape, stack.dtype), np.empty(stack.plane_shape, np.float32)
    parts = list(tiles(stack.plane_shape, tile))
    for i, part in enumerate(parts):
        here = Progress(i, 2 * len(parts))
        light, plane = yield from retold(_fused(stack, planes, part), lambda _, here=here: here)  # type: ignore[misc]
        fused[part.slices] = np.rint(light) if stack.dtype.kind in "ui" else light
        where[part.slices] = plane
    line = {axis: stack.position(planes[0], axis) for axis in stack.axes[:-2] if axis != "Z"}
    one = replace(stack.take(**line), array=fused, axes="YX", provenance=stack.provenance)
    picture = np.empty(fused.shape, stack.dtype)
    steps = refocus_steps(one, RefocusRequest(sharpest=True), engine, picture, optics=optics, keep_nan=True, tile=tile)
    made = yield from retold(steps, lambda step: Progress(step.total + step.done, 2 * step.total))
    made |= {"operation": "all in focus", "fused": [list(index) for index in planes]}
    return AllInFocus(one.with_array(picture, **made), where)


def all_in_focus(
    image: FocalStack | NDArray[Any],
    *,
    optics: Optics | None = None,
    model: str | Path | Model = "default",
    device: str = "auto",
) -> AllInFocus:
    """One picture of a focal stack (Z, Y, X), sharp all over.

    Parameters
    ----------
    image
        Focal stack of one channel and time point, see `FocalStack.take`.
    optics, model, device
        As in `focuslab.refocus`.

    Raises
    ------
    ImageError
        If it is not one focal stack.
    """
    stack = as_stack(image)
    if stack.axes != "ZYX":
        raise ImageError(
            f"All in focus needs one focal stack (ZYX), got axes {stack.axes}: take one channel and time point, for "
            "instance stack.take(C=0, T=0)."
        )
    engine = Engine(load_model(model), device)
    return finish(all_in_focus_steps(stack, list(stack.planes()), engine, optics=optics))


def _fused(
    stack: FocalStack, planes: Sequence[tuple[int, ...]], part: Tile
) -> Generator[None, None, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Picture and focal plane of a tile; stops at every plane."""
    rows, columns = (slice(max(side.start - _HALO, 0), side.stop + _HALO) for side in part.slices)
    inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(part.slices, (rows, columns), strict=True))
    shape = (part.y1 - part.y0, part.x1 - part.x0)
    highest = np.zeros(shape)  # largest detail so far; sums are kept relative to it
    weights, light, where, nowhere = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.ones(shape, bool)
    for i, index in enumerate(planes):
        taken = np.asarray(stack.array[(*index, rows, columns)])
        plane = finite(taken, keep_nan=True).astype(np.float64)
        lost = ~np.isfinite(taken[inner])
        nowhere &= lost
        detail = np.maximum(np.where(lost, 0.0, _detail(plane)[inner]), np.finfo(np.float64).tiny)
        rise = np.maximum(highest, detail)
        faded, weight = (highest / rise) ** _POWER, (detail / rise) ** _POWER
        highest = rise
        for total, value in ((weights, 1.0), (light, plane[inner]), (where, float(i))):
            total *= faded
            total += weight * value
        yield
    return np.where(nowhere, np.nan, light / weights), where / weights


def _detail(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local power of fine detail: the squared Laplacian of Gaussian, smoothed."""
    return np.asarray(ndimage.gaussian_filter(ndimage.gaussian_laplace(plane, _FINE) ** 2, _NEAR))
