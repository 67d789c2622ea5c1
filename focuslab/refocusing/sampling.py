"""Which pixels of a large plane are looked at: a lazy stack stays lazy, and what lies anywhere in it is found.

Windows lie in the middles of the cells of a grid over the whole plane. What says most of a plane, its blur, noise and
light, is read from those of many windows that have most contrast.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.stack import FocalStack

__all__ = ["contrast", "read_window", "sample_plane", "saturated", "spread_windows", "structured_windows"]

Window = tuple[slice, slice]

_SAMPLED = 1 << 20  # pixels of a plane that are sampled, and of what is read of it
_SEEN = 4 << 20  # pixels of a plane among which the most structured are chosen
_CELL, _LEAST = 16, 48  # px, of the rectangles that a hole leaves, and of their least side
_PILED = 3.0  # times as many pixels of the highest value as of the values of the tenth below it, for one of them
_SMALL, _LARGE = 256, 512  # px, sides of windows; blur is read from the large


def spread_windows(shape: tuple[int, int], budget: int = _SAMPLED, side: int = _SMALL) -> list[Window]:
    """Windows of `side` px on a regular grid over a plane (Y, X), of at most `budget` pixels.

    A plane of up to 1 Mpx that fits the budget is one window.
    """
    height, width = shape
    if height * width <= min(budget, _SAMPLED):
        return [(slice(0, height), slice(0, width))]
    count = max(budget // side**2, 1)
    down = min(max(round(math.sqrt(count * height / width)), 1), count, math.ceil(height / side))
    across = min(count // down, math.ceil(width / side))
    rows, columns = _centred(height, down, side), _centred(width, across, side)
    return [(y, x) for y in rows for x in columns]


def _centred(length: int, cells: int, side: int) -> list[slice]:
    """Parts of `side` px in the middles of equal cells, within the length."""
    last = max(length - side, 0)
    starts = [min(max(round((i + 0.5) * length / cells - side / 2), 0), last) for i in range(cells)]
    return [slice(start, min(start + side, length)) for start in starts]


def read_window(stack: FocalStack, index: tuple[int, ...], window: Window) -> NDArray[Any]:
    """Pixels (Y, X) of one plane in a window."""
    return np.asarray(stack.array[(*index, *window)])


def sample_plane(
    stack: FocalStack, index: tuple[int, ...], budget: int = _SAMPLED, side: int = _SMALL
) -> list[NDArray[Any]]:
    """Windows (Y, X) of one plane, the same for every plane of a stack: see `spread_windows`."""
    return [read_window(stack, index, window) for window in spread_windows(stack.plane_shape, budget, side)]


def structured_windows(stack: FocalStack, index: tuple[int, ...]) -> list[NDArray[Any]]:
    """The windows (Y, X) of one plane with most contrast, 1 Mpx of at most 4 Mpx; a plane of up to 1 Mpx whole.

    Of a window that is not finite everywhere it is the largest part that is, if there is one of some size: what fills a
    hole is no image.
    """
    windows = [_finite_part(window) for window in sample_plane(stack, index, _SEEN, _LARGE)]
    return sorted(windows, key=contrast, reverse=True)[: _SAMPLED // _LARGE**2]


def _finite_part(window: NDArray[Any]) -> NDArray[Any]:
    """Largest rectangle of whole cells of a window without a pixel that is not finite."""
    if window.dtype.kind != "f" or np.isfinite(window).all():
        return window
    down, across = (n // _CELL for n in window.shape)
    cells = window[: down * _CELL, : across * _CELL].reshape(down, _CELL, across, _CELL)
    free = np.isfinite(cells).all((1, 3))
    best, found = 0, window
    for top in range(down):
        run = np.ones(across, bool)
        for bottom in range(top, down):
            run &= free[bottom]
            steps = np.diff(np.concatenate([[0], run.astype(int), [0]]))
            starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
            for left, right in zip(starts.tolist(), ends.tolist(), strict=True):
                high, wide = bottom + 1 - top, right - left
                if min(high, wide) * _CELL >= _LEAST and high * wide > best:
                    best = high * wide
                    found = window[top * _CELL : (bottom + 1) * _CELL, left * _CELL : right * _CELL]
    return found


def contrast(window: NDArray[Any]) -> float:
    """Standard deviation of the finite pixels; what it is made of does not matter to compare parts of a plane."""
    values = window[np.isfinite(window)] if window.dtype.kind == "f" else window
    return float(values.std(dtype=np.float64)) if values.size else 0.0


def saturated(windows: Sequence[NDArray[Any]]) -> float:
    """Share of pixels that a camera, or whoever has processed them, has cut off at the highest value.

    They pile up: far more pixels have it than any value below. Noise leaves no two bright pixels alike.
    """
    values = np.concatenate([window[np.isfinite(window)].ravel() for window in windows])
    if values.size == 0 or not (top := values.max()) > values.min():
        return 0.0
    highest = int(np.count_nonzero(values == top))
    near, counts = np.unique(values[(values < top) & (values > top - 0.1 * (top - values.min()))], return_counts=True)
    return highest / values.size if highest > _PILED * max(counts, default=0) and len(near) else 0.0
