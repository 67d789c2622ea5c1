"""Where a stack is in focus: blur level and sharpness of its planes, and the level over the field of one plane."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.errors import ImageError
from focuslab.models.bundle import Model
from focuslab.models.zoo import load_model
from focuslab.optics import Optics
from focuslab.quality.focus import sharpness
from focuslab.refocusing.devices import choose_device
from focuslab.refocusing.intensity import finite
from focuslab.refocusing.levels import LevelEstimate, estimate_level
from focuslab.refocusing.masks import unmasked
from focuslab.refocusing.progress import Progress, finish
from focuslab.refocusing.sampling import sample_plane, structured_windows
from focuslab.stack import FocalStack, as_stack

__all__ = ["BlurMap", "PlaneFocus", "blur_map", "blur_map_steps", "focus_curve", "focus_curve_steps"]

_WINDOW = (128, 512)  # px: smallest and largest window of a blur map
_REACH = 8  # blur radii that a window must be wide


@dataclass(frozen=True, slots=True)
class PlaneFocus:
    """How far out of focus a plane is.

    Attributes
    ----------
    index
        Of the plane in its stack.
    estimate
        Blur level, px, with the odds that there is structure to judge by.
    sharpness
        Variance of the Laplacian, squared counts: compares planes of one field.
    level_um
        Distance from focus; None if the stack is not calibrated or the plane empty.
    """

    index: tuple[int, ...]
    estimate: LevelEstimate
    sharpness: float
    level_um: float | None

    @property
    def level_px(self) -> float | None:
        """Blur level, px; None if the plane is empty."""
        return self.estimate.level_px if self.estimate.found else None


@dataclass(frozen=True, slots=True)
class BlurMap:
    """Blur level over the field of a plane.

    Attributes
    ----------
    levels_px
        (Ny, Nx), NaN where there is no structure.
    levels_um
        The same as distances from focus; None if the stack is not calibrated.
    rows, columns
        Centres of the windows, px.
    window
        Their side, px.
    """

    levels_px: NDArray[np.float32]
    levels_um: NDArray[np.float32] | None
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    window: int

    def tilt(self) -> tuple[float, float] | None:
        """Change of the level from the top of the field to its bottom and from left to right, um or px.

        The levels' own plane by least squares; None if there are fewer than six windows with structure.
        """
        levels = self.levels_px if self.levels_um is None else self.levels_um
        known = np.isfinite(levels)
        if known.sum() < 6 or min(levels.shape) < 2:
            return None
        places = [
            centres / (centres[0] + centres[-1] + 1) for centres in (self.rows, self.columns)
        ]  # shares of the field
        y, x = np.meshgrid(*places, indexing="ij")
        terms = np.stack([np.ones(known.sum()), y[known], x[known]], 1)
        _, down, across = np.linalg.lstsq(terms, levels[known].astype(np.float64), rcond=None)[0]
        return float(down), float(across)


def focus_curve_steps(
    stack: FocalStack, planes: Sequence[tuple[int, ...]], model: Model, optics: Optics | None = None
) -> Generator[PlaneFocus, None, list[PlaneFocus]]:
    """Look at planes one by one; yields what is found of each, and returns all of it."""
    found, stack = [], unmasked(stack)
    for index in planes:
        known = optics or stack.optics(stack.position(index, "C"))
        windows = sample_plane(stack, index)  # the same of all planes, to compare them
        estimate = estimate_level(structured_windows(stack, index), model, known or Optics.nominal())
        sharp = float(np.mean([sharpness(finite(w, keep_nan=True)) for w in windows]))
        level = known.defocus_um(estimate.level_px) if known is not None and estimate.found else None
        found.append(PlaneFocus(index, estimate, sharp, level))
        yield found[-1]
    return found


def focus_curve(
    image: FocalStack | NDArray[Any],
    *,
    optics: Optics | None = None,
    model: str | Path | Model = "default",
    device: str = "auto",
) -> list[PlaneFocus]:
    """Blur level and sharpness of every plane of a stack.

    Parameters
    ----------
    image
        Any planes.
    optics
        The microscope, unless the stack knows it.
    model, device
        As in `focuslab.refocus`.

    Returns
    -------
    list of PlaneFocus
        In the order of the planes.
    """
    loaded = load_model(model).to(choose_device(device))
    stack = as_stack(image)
    return finish(focus_curve_steps(stack, list(stack.planes()), loaded, optics))


def blur_map_steps(
    stack: FocalStack, index: tuple[int, ...], model: Model, optics: Optics | None = None
) -> Generator[Progress, None, BlurMap]:
    """Read the blur level in windows over a plane: half a window apart, each as wide as its blur needs.

    Raises
    ------
    ImageError
        If the plane as a whole has no structure.
    """
    stack = unmasked(stack)
    known = optics or stack.optics(stack.position(index, "C"))
    microscope = known or Optics.nominal()
    whole = estimate_level(structured_windows(stack, index), model, microscope)
    if not whole.found:
        raise ImageError("This plane has no structure whose blur could be read: choose another one.")
    side = int(np.clip(_REACH * whole.level_px, *_WINDOW))
    starts = [_starts(n, min(side, n)) for n in stack.plane_shape]
    levels = np.full([len(s) for s in starts], np.nan, np.float32)
    for i, y in enumerate(starts[0]):
        for j, x in enumerate(starts[1]):
            yield Progress(i * levels.shape[1] + j, levels.size)
            window = np.asarray(stack.array[(*index, slice(y, y + side), slice(x, x + side))])
            estimate = estimate_level([window], model, microscope)
            if estimate.found:
                levels[i, j] = estimate.level_px
    um = None
    if known is not None:
        um = np.array([[known.defocus_um(float(v)) if np.isfinite(v) else np.nan for v in row] for row in levels])
        um = um.astype(np.float32)
    rows, columns = ((s + (min(side, n) - 1) / 2).astype(float) for s, n in zip(starts, stack.plane_shape, strict=True))
    return BlurMap(levels, um, rows, columns, side)


def blur_map(
    image: FocalStack | NDArray[Any],
    index: tuple[int, ...] | int = (),
    *,
    optics: Optics | None = None,
    model: str | Path | Model = "default",
    device: str = "auto",
) -> BlurMap:
    """Blur level over the field of one plane: a tilted or curved specimen, or a field that is half in focus.

    Parameters
    ----------
    image
        Any planes.
    index
        Of the plane; nothing where there is one plane alone.
    optics, model, device
        As in `focus_curve`.

    Raises
    ------
    ImageError
        If the plane has no structure.
    """
    loaded = load_model(model).to(choose_device(device))
    stack = as_stack(image)
    return finish(blur_map_steps(stack, stack.one_plane(index), loaded, optics))


def _starts(size: int, side: int) -> NDArray[np.int64]:
    """First pixels of windows half a side apart, evenly over the whole size."""
    count = 1 + -(-2 * (size - side) // side)
    return np.linspace(0, size - side, count).round().astype(np.int64)
