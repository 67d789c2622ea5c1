"""Tiles with halos that make the whole.

A tile is computed from a region that is larger by the halo: as many pixels as the front end's kernels and the
network's receptive field reach. Outside the image the region is mirrored, until the engine knows better (see
`models.border`). Tiles start at multiples of eight, the
stride of the network, so that a tile sees the same grid as the whole image; results are cut to the tile and laid
side by side, without blending.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.refocusing.intensity import finite
from focuslab.stack import FocalStack

__all__ = ["GRID", "Region", "Tile", "read_region", "tiles"]

GRID = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows y0..y1 and columns x0..x1 of an image."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the tile in its image."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return (self.y1 - self.y0) * (self.x1 - self.x0)


@dataclass(frozen=True, slots=True)
class Region:
    """A tile with its halo.

    Attributes
    ----------
    counts
        (Y, X), sides multiples of `GRID`.
    recorded
        Rows and columns of the image in it; what lies outside is mirrored.
    """

    counts: NDArray[Any]
    recorded: tuple[slice, slice]


def tiles(shape: tuple[int, int], size: int) -> Iterator[Tile]:
    """Cut an image of (Y, X) pixels into tiles of `size` rows, a multiple of `GRID`; the last ones are smaller.

    Tiles are twice as wide as high: less halo than two squares, and rows are what files are read by.
    """
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], 2 * size):
            yield Tile(y, min(y + size, shape[0]), x, min(x + 2 * size, shape[1]))


def read_region(stack: FocalStack, index: tuple[int, ...], tile: Tile, halo: int, *, keep_nan: bool = False) -> Region:
    """Read a tile with `halo` px on every side, and more to the right and below up to multiples of `GRID`.

    Raises
    ------
    ImageError
        If pixels are not finite, unless they are kept: then they are filled from their nearest neighbour.
    """
    height, width = stack.plane_shape
    rows, recorded_rows = _mirrored(tile.y0 - halo, tile.y1 + halo, height)
    columns, recorded_columns = _mirrored(tile.x0 - halo, tile.x1 + halo, width)
    y0, x0 = int(rows.min()), int(columns.min())
    inside = (slice(y0, int(rows.max()) + 1), slice(x0, int(columns.max()) + 1))
    block = np.asarray(stack.array[(*index, *inside)])
    return Region(finite(block[np.ix_(rows - y0, columns - x0)], keep_nan), (recorded_rows, recorded_columns))


def _mirrored(start: int, stop: int, n: int) -> tuple[NDArray[np.int64], slice]:
    """Indices from start to stop, mirrored at 0 and n - 1, and which of them needed no mirror."""
    stop = start + -(-(stop - start) // GRID) * GRID
    recorded = slice(max(-start, 0), min(n, stop) - start)
    index = np.arange(start, stop)
    if n == 1:
        return np.zeros_like(index), recorded
    index = np.abs(index) % (2 * (n - 1))
    return np.asarray(np.minimum(index, 2 * (n - 1) - index)), recorded
