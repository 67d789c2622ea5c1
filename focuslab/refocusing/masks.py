"""Areas that hold no light: the black of a mask or a frame, a scale bar that was drawn in, a box that was erased.

Deblurred, their edges would ring through the field. They are known by three signs together: their pixels are exactly
alike, which the noise of a camera leaves nowhere; their edges are straight along rows and columns; and what lies beside
them jumps to them, as no blur does. Saturated structures and a background that was cut off at 0 are alike as well, but
their edges are those of a specimen.

Such pixels are read as NaN: like all that is not known, they are filled while the rest is worked on, and stay as they
are.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from focuslab.pixels import LazyPixels, Region
from focuslab.stack import FocalStack

__all__ = ["masked", "unmasked"]

_SMALLEST = 64  # px of an area
_STRAIGHT, _RUN = 0.8, 5  # share of an edge that runs straight for so many px
_JUMP = 4.0  # times the changes over two px beside an area
_AROUND = 6  # px that an area is judged by
_WIDE = 4  # bytes of whole numbers that a float32 cannot hold
_SQUARE = np.ones((3, 3), bool)


def unmasked(stack: FocalStack) -> FocalStack:
    """The same stack as real numbers, NaN in areas that hold no light, found as they are read."""
    return replace(stack, array=_Unmasked(stack))


def masked(plane: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Pixels of a plane (Y, X) that hold no light; None where there are none."""
    if min(plane.shape) < 3:
        return None
    line = (plane[:, 1:-1] == plane[:, :-2]) & (plane[:, 1:-1] == plane[:, 2:])
    alike = line[1:-1] & line[:-2] & line[2:]
    alike &= (plane[1:-1, 1:-1] == plane[:-2, 1:-1]) & (plane[1:-1, 1:-1] == plane[2:, 1:-1])
    if np.count_nonzero(alike) < _SMALLEST // 4:
        return None
    hearts, count = ndimage.label(np.pad(alike, 1), _SQUARE)  # of areas; those of two values do not touch
    even = ndimage.binary_dilation(hearts > 0, _SQUARE)
    lost = np.zeros(plane.shape, bool)
    for number, box in enumerate(ndimage.find_objects(hearts), 1):
        near = tuple(slice(max(side.start - _AROUND, 0), side.stop + _AROUND) for side in box)
        area = ndimage.binary_dilation(hearts[near] == number, _SQUARE)
        if area.sum() >= _SMALLEST and _straight(area) and _jumps(plane[near], area, even[near]):
            lost[near] |= area
    return lost if count and lost.any() else None


def _straight(area: NDArray[np.bool_]) -> bool:
    """Whether the edges of an area run along rows and columns."""
    straight, total = 0, 0
    for turned in (area, area[::-1], area.T, area.T[::-1]):
        edge = turned[1:] & ~turned[:-1]
        total += int(np.count_nonzero(edge))
        straight += int(np.count_nonzero(ndimage.binary_opening(edge, np.ones((1, _RUN), bool))))
    return total > 0 and straight >= _STRAIGHT * total


def _jumps(plane: NDArray[Any], area: NDArray[np.bool_], even: NDArray[np.bool_]) -> bool:
    """Whether a plane that is not even itself jumps to an area in it."""
    values = plane.astype(np.float64)
    free = ~even
    beside = ndimage.binary_dilation(area, _SQUARE, iterations=2) & free
    if np.count_nonzero(beside) < _RUN:
        return False
    changes = [
        np.abs(values[2:] - values[:-2])[free[2:] & free[1:-1] & free[:-2]],
        np.abs(values[:, 2:] - values[:, :-2])[free[:, 2:] & free[:, 1:-1] & free[:, :-2]],
    ]
    change = float(np.median(np.concatenate(changes))) if sum(map(len, changes)) else 0.0
    least = 1.0 if plane.dtype.kind in "ui" else 0.0
    jump = float(np.median(np.abs(values[beside] - values[area][0])))
    return max(change, least) > 0 and jump > _JUMP * max(change, least)


class _Unmasked(LazyPixels):
    """Pixels of a stack, NaN where they are masked."""

    def __init__(self, stack: FocalStack) -> None:
        self._array, self.shape = stack.array, stack.shape
        wide = stack.dtype.itemsize > (_WIDE if stack.dtype.kind == "f" else _WIDE // 2)
        self.dtype = np.dtype(np.float64 if wide else np.float32)

    def _read(self, region: Region) -> NDArray[Any]:
        *lead, rows, columns = region
        around = [slice(max(part.start - _AROUND, 0), part.stop + _AROUND) for part in (rows, columns)]
        block = np.asarray(self._array[(*lead, *around)])
        pixels = block.astype(self.dtype)
        for index in np.ndindex(block.shape[:-2]):
            if (lost := masked(block[index])) is not None:
                pixels[index][lost] = np.nan
        y, x = (part.start - wide.start for part, wide in zip((rows, columns), around, strict=True))
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return pixels[..., y : y + height : rows.step, x : x + width : columns.step]
