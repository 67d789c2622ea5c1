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
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from focuslab.errors import ImageError
from focuslab.models.bundle import Model
from focuslab.models.zoo import load_model
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.intensity import finite
from focuslab.refocusing.progress import Progress, finish, told
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.steps import DEFAULT_TILE, refocus_steps
from focuslab.stack import FocalStack

__all__ = ["AllInFocus", "all_in_focus", "all_in_focus_steps"]

_FINE = 1.5  # px: scale of the detail that tells sharp from blurred
_NEAR = 6.0  # px: how far around a pixel its detail is judged
_POWER = 8  # of the weights: 1 is a mean of the planes, infinity the choice of one


@dataclass(frozen=True, slots=True)
class AllInFocus:
    """Picture and relief of a thick specimen.

    Attributes
    ----------
    picture
        (Y, X), dtype of the stack.
    plane
        (Y, X), float32: focal plane, by index, that each pixel is from; between two where they share it.
    provenance
        How it was made.
    """

    picture: NDArray[Any]
    plane: NDArray[np.float32]
    provenance: dict[str, Any]


def all_in_focus_steps(
    stack: FocalStack, planes: Sequence[tuple[int, ...]], engine: Engine, *, tile: int = DEFAULT_TILE
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
    shape = stack.plane_shape
    highest = np.zeros(shape)  # largest detail so far; sums are kept relative to it
    weights, light, where, nowhere = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.ones(shape, bool)
    for i, index in enumerate(planes):
        yield Progress(i, 2 * len(planes))
        taken = stack.plane(index)
        lost = ~np.isfinite(taken)
        nowhere &= lost
        plane = finite(taken, keep_nan=True).astype(np.float64)
        detail = np.maximum(np.where(lost, 0.0, _detail(plane)), np.finfo(np.float64).tiny)
        rise = np.maximum(highest, detail)
        faded, weight = (highest / rise) ** _POWER, (detail / rise) ** _POWER
        highest = rise
        for total, value in ((weights, 1.0), (light, plane), (where, float(i))):
            total *= faded
            total += weight * value
    fused = _as(np.where(nowhere, np.nan, light / weights) if nowhere.any() else light / weights, stack.dtype)
    channel = stack.position(planes[0], "C")
    said = stack.calibration
    known = said.replace(wavelengths_um=(said.wavelength_um(channel),), channel_names=())
    one = FocalStack(fused, "YX", known, {}, stack.family)
    picture = np.empty(shape, stack.dtype)
    steps = refocus_steps(one, RefocusRequest(sharpest=True), engine, picture, keep_nan=True, tile=tile)
    made = yield from told(steps, lambda step: Progress(step.total + step.done, 2 * step.total))
    provenance = made | {"operation": "all in focus", "fused": [list(index) for index in planes], **stack.history}
    return AllInFocus(picture, (where / weights).astype(np.float32), provenance)


def all_in_focus(stack: FocalStack, *, model: str | Model = "default", device: str = "auto") -> AllInFocus:
    """One picture of a focal stack (Z, Y, X), sharp all over.

    Parameters
    ----------
    stack
        Focal stack of one channel and time point.
    model, device
        As in `focuslab.refocus`.

    Raises
    ------
    ImageError
        If it is not one focal stack.
    """
    if stack.axes != "ZYX":
        raise ImageError(f"All in focus needs one focal stack (ZYX), got axes {stack.axes}: take one channel and time.")
    engine = Engine(model if isinstance(model, Model) else load_model(model), device)
    return finish(all_in_focus_steps(stack, list(stack.planes()), engine))


def _detail(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local power of fine detail: the squared Laplacian of Gaussian, smoothed."""
    return np.asarray(ndimage.gaussian_filter(ndimage.gaussian_laplace(plane, _FINE) ** 2, _NEAR))


def _as(picture: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind in "ui":  # a weighted mean of planes never leaves their range
        picture = np.rint(picture)
    return picture.astype(dtype)
