"""The one affine map between counts and normalised intensity, and what is sampled to find it.

The map is measured once per stack and channel, never per tile or plane, on at most 4 Mpx taken on a fixed grid, and
undone at the end: a lazy stack stays lazy and intensities stay quantitative.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from focuslab.errors import ImageError
from focuslab.pixels import PERCENTILES
from focuslab.refocusing.sampling import sample_plane
from focuslab.stack import FocalStack

__all__ = ["IntensityMap", "finite", "intensity_of", "measure_map", "stored"]

_BUDGET = 4 << 20  # pixels of a stack that its intensity map is measured on
_SEARCHED = 64 << 20  # pixels of a plane that are searched for light where those are all alike
_WINDOW, _BLOCK = 128, 256  # px
_PLANES = 8
_ABOVE = 2.0  # normalised intensity that the brightest block has at most


@dataclass(frozen=True, slots=True)
class IntensityMap:
    """Normalised intensity = (counts - dark) / scale.

    Attributes
    ----------
    dark, bright
        About the 0.5th and the 99.9th percentile of the sampled counts: see `intensity_of`.
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


def stored(picture: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A picture as a type of pixels holds it: rounded where that is of whole numbers, clipped to what it can say."""
    if picture.dtype == dtype:
        return picture
    limits = np.iinfo(dtype) if dtype.kind in "ui" else np.finfo(dtype)
    low, high = float(limits.min), float(limits.max)
    picture = np.rint(picture) if dtype.kind in "ui" else picture
    top = np.nextafter(high, 0) if high > limits.max else high  # 2**64 - 1 is no float
    return np.where(picture >= limits.max, limits.max, picture.clip(low, top).astype(dtype)).astype(dtype)


def measure_map(stack: FocalStack, planes: Sequence[tuple[int, ...]]) -> IntensityMap:
    """Map of the given planes (those of one channel), blank where no sampled pixel is a finite number."""
    chosen = [planes[i] for i in sorted({round(k) for k in np.linspace(0, len(planes) - 1, _PLANES)})]
    windows = [w for p in chosen for w in sample_plane(stack, p, _BUDGET // len(chosen), _WINDOW)]
    found = intensity_of(windows) if any(np.isfinite(w).any() for w in windows) else IntensityMap(0.0, 0.0)
    if found.blank:  # a small specimen may lie between the windows
        whole = (w for p in chosen for w in sample_plane(stack, p, _SEARCHED, 2 * _BLOCK))
        lit = list(islice((w for w in whole if _differ(w)), _BUDGET // (2 * _BLOCK) ** 2))
        found = intensity_of(lit) if lit else found
    return found


def intensity_of(windows: Sequence[NDArray[Any]]) -> IntensityMap:
    """Map of sampled counts: the 0.5th percentile is dark, the 99.9th bright.

    Few bright structures in a large dark field are less than a thousandth of it; they count where they lie: a block of
    256 px may be up to twice as bright as the whole.

    Raises
    ------
    ImageError
        If no pixel is a finite number.
    """
    parts = [_finite_values(w) for w in windows]
    sample = np.concatenate(parts) if parts else np.empty(0)
    if sample.size == 0:
        raise ImageError("The image holds no finite pixel in the sampled area.")
    dark, bright = (float(v) for v in np.percentile(sample, PERCENTILES))
    if bright <= dark:  # a few bright pixels on a constant ground
        return IntensityMap(float(sample.min()), float(sample.max()))
    blocks = [values for w in windows for block in _blocks(w) if (values := _finite_values(block)).size]
    peak = max(float(np.percentile(values, PERCENTILES[1])) for values in blocks)
    return IntensityMap(dark, max(bright, dark + (peak - dark) / _ABOVE))


def _blocks(window: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """A window in parts of about 256 x 256 px."""
    for row in np.array_split(window, max(window.shape[0] // _BLOCK, 1), axis=0):
        yield from np.array_split(row, max(window.shape[1] // _BLOCK, 1), axis=1)


def _differ(window: NDArray[Any]) -> bool:
    values = _finite_values(window)
    return bool(values.size) and bool(values.max() > values.min())


def _finite_values(window: NDArray[Any]) -> NDArray[Any]:
    return window[np.isfinite(window)] if window.dtype.kind == "f" else window.ravel()


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
            f"The image holds pixels that are NaN or infinite, {int(lost.sum())} where it was first looked at. With "
            "--nan keep (in Python keep_nan=True) they stay as they are and the rest is refocused."
        )
    if lost.all():
        return np.zeros_like(counts)
    nearest = ndimage.distance_transform_edt(lost, return_distances=False, return_indices=True)
    return np.asarray(counts[tuple(nearest)])
