"""The one affine map between counts and normalised intensity, and what is sampled to find it.

The map is measured once per stack and channel, never per tile or plane, on at most 4 Mpx taken on a fixed grid, and
undone at the end: a lazy stack stays lazy and intensities stay quantitative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from focuslab.errors import ImageError
from focuslab.stack import FocalStack

__all__ = ["IntensityMap", "finite", "measure_map", "sample_plane"]

_BUDGET = 4 << 20  # pixels of a stack that its intensity map is measured on
_OF_PLANE = 1 << 20  # pixels of a plane that its level and light are read from
_WINDOW = 512
_PLANES = 8


@dataclass(frozen=True, slots=True)
class IntensityMap:
    """Normalised intensity = (counts - dark) / scale.

    Attributes
    ----------
    dark, bright
        0.5th and 99.9th percentile of the sampled counts.
    """

    dark: float
    bright: float

    @property
    def scale(self) -> float:
        """Counts per unit of normalised intensity."""
        return self.bright - self.dark

    @property
    def blank(self) -> bool:
        """Whether the sampled pixels are all but constant."""
        return not self.scale > 0

    def normalise(self, counts: NDArray[Any], dtype: type = np.float32) -> NDArray[Any]:
        """Counts to normalised intensity."""
        return ((counts.astype(np.float64) - self.dark) / self.scale).astype(dtype)

    def counts(self, normalised: NDArray[Any]) -> NDArray[Any]:
        """Normalised intensity back to counts, float64."""
        return normalised.astype(np.float64) * self.scale + self.dark


def measure_map(stack: FocalStack, planes: Sequence[tuple[int, ...]]) -> IntensityMap:
    """Map of the given planes (those of one channel).

    Raises
    ------
    ImageError
        If none of the sampled pixels is a finite number.
    """
    chosen = [planes[i] for i in sorted({round(k) for k in np.linspace(0, len(planes) - 1, _PLANES)})]
    sample = np.concatenate([w.ravel() for p in chosen for w in sample_plane(stack, p, _BUDGET // len(chosen))])
    sample = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    if sample.size == 0:
        raise ImageError("The image holds no finite pixel in the sampled area.")
    dark, bright = (float(v) for v in np.percentile(sample, (0.5, 99.9)))
    if bright <= dark:  # a few bright pixels on a constant ground
        dark, bright = float(sample.min()), float(sample.max())
    return IntensityMap(dark, bright)


def sample_plane(stack: FocalStack, index: tuple[int, ...], budget: int = _OF_PLANE) -> list[NDArray[Any]]:
    """Windows of one plane on a fixed grid, at most `budget` pixels; the whole plane if it fits."""
    height, width = stack.plane_shape
    if height * width <= budget:
        return [stack.plane(index)]
    count = max(budget // _WINDOW**2, 1)
    down = max(round(np.sqrt(count * height / width)), 1)
    across = max(count // down, 1)
    starts = [
        sorted({int(s) for s in np.linspace(0, max(n - _WINDOW, 0), k)}) for n, k in ((height, down), (width, across))
    ]
    return [
        np.asarray(stack.array[(*index, slice(y, y + _WINDOW), slice(x, x + _WINDOW))])
        for y in starts[0]
        for x in starts[1]
    ]


def finite(counts: NDArray[Any], keep_nan: bool) -> NDArray[Any]:
    """Pixels that are not finite, filled from their nearest neighbour, or refused.

    Raises
    ------
    ImageError
        If there are any and they are not to be kept.
    """
    if counts.dtype.kind != "f":
        return counts
    lost = ~np.isfinite(counts)
    if not lost.any():
        return counts
    if not keep_nan:
        raise ImageError(
            f"The image holds {int(lost.sum())} or more pixels that are NaN or infinite. With --nan keep (in "
            "Python keep_nan=True) they stay as they are and the rest is refocused."
        )
    if lost.all():
        return np.zeros_like(counts)
    nearest = ndimage.distance_transform_edt(lost, return_distances=False, return_indices=True)
    return np.asarray(counts[tuple(nearest)])
