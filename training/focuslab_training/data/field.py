"""A field: one focal stack, one channel, with the blur level of each of its planes.

Whatever the stack comes from, a folder of files or the simulator, training and evaluation see it as this. Pixels are
read window by window, when they are asked for: a data set may be larger than memory.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.models.light import Window
from focuslab.optics import Optics
from focuslab.pixels import LazyPixels, Region
from focuslab.quality.focus import sharpness
from focuslab.refocusing.intensity import IntensityMap, measure_map
from focuslab.refocusing.sampling import sample_plane
from focuslab.refocusing.tiling import Tile, read_region
from focuslab.stack import FocalStack

__all__ = ["Field", "selected", "sharpness_of"]

BLOCK = 32  # px, of the map of structure
_LOOKED_AT = 4 << 20  # pixels of a plane up to which it is made


@dataclass(frozen=True)
class Field:
    """One focal stack of one channel.

    Attributes
    ----------
    name
        Unique in its data set.
    unit, well
        What must stay on one side of a split: its image or file, and its well, None where that is not known.
    stack
        Axes ZYX.
    focus
        Index of the plane in focus.
    levels_px
        Blur level of every plane.
    optics
        The microscope.
    """

    name: str
    unit: str
    well: str | None
    stack: FocalStack
    focus: int
    levels_px: tuple[float, ...]
    optics: Optics

    @cached_property
    def intensity(self) -> IntensityMap:
        """The one map between counts and normalised intensity."""
        return measure_map(self.stack, list(self.stack.planes()))

    @cached_property
    def structure(self) -> NDArray[np.float32] | None:
        """Contrast (Y / 32, X / 32) of the plane in focus, to draw crops by; None for planes too large to look at."""
        if math.prod(self.stack.plane_shape) > _LOOKED_AT:
            return None
        plane = self.plane(self.focus)
        y, x = (n // BLOCK * BLOCK for n in plane.shape)
        return plane[:y, :x].reshape(y // BLOCK, BLOCK, x // BLOCK, BLOCK).std((1, 3))

    @property
    def sides(self) -> tuple[range, ...]:
        """Planes on each side of focus, which belongs to both; lines never cross it."""
        planes = len(self.levels_px)
        return tuple(side for side in (range(self.focus + 1), range(self.focus, planes)) if len(side) > 1)

    def plane(self, plane: int) -> NDArray[np.float32]:
        """A whole plane (Y, X), normalised."""
        return self.intensity.normalise(self.stack.plane((plane,)))

    def window(self, plane: int, y: int, x: int, size: int, margin: int = 0) -> tuple[NDArray[np.float32], Window]:
        """A square window of a plane with a margin on every side, normalised; mirrored outside the image.

        Its second part are the rows and columns that lie in the image.
        """
        region = read_region(self.stack, (plane,), Tile(y, y + size, x, x + size), margin, keep_nan=True)
        return self.intensity.normalise(region.counts), region.recorded


def selected(
    stack: FocalStack,
    *,
    channel: int = 0,
    planes: Sequence[int] | None = None,
    columns: tuple[float, float] = (0.0, 1.0),
) -> FocalStack:
    """Some planes of one channel, of one time point, as a lazy ZYX stack; `columns` are shares of the width."""
    width = stack.shape[-1]
    x0, x1 = round(columns[0] * width), round(columns[1] * width)
    one = stack.take(C=channel)
    return replace(one, array=_View(one, range(one.size("Z")) if planes is None else planes, x0, x1), axes="ZYX")


class _View(LazyPixels):
    """Pixels of some planes of a focal stack, and of a range of columns."""

    def __init__(self, stack: FocalStack, planes: Sequence[int], x0: int, x1: int) -> None:
        self._stack, self._planes, self._x0 = stack, planes, x0
        self.shape = (len(planes), stack.shape[-2], x1 - x0)
        self.dtype = stack.dtype

    def _read(self, region: Region) -> NDArray[Any]:
        numbers, rows, columns = region
        columns = slice(columns.start + self._x0, columns.stop + self._x0, columns.step)
        chosen = [self._planes[k] for k in range(self.shape[0])[numbers]]
        lead = [(z,) if "Z" in self._stack.axes else () for z in chosen]
        return np.stack([np.asarray(self._stack.array[(*at, rows, columns)]) for at in lead])


def sharpness_of(stack: FocalStack) -> list[float]:
    """Sharpness of every plane of a ZYX stack (of a large one: its sharpest window); NaN where a pixel is no number."""
    found = []
    for index in stack.planes():
        windows = sample_plane(stack, index)
        known = all(np.isfinite(window).all() for window in windows)
        found.append(max(sharpness(window) for window in windows) if known else math.nan)
    return found
