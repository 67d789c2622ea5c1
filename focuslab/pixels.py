"""Pixels that need not be in memory: what FocusLab asks of an array, and what lazy ones have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import EllipsisType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["PERCENTILES", "LazyPixels", "Pixels", "Region", "Reordered"]

Region = tuple[slice, ...]
PERCENTILES = (0.5, 99.9)  # of the counts of an image: its dark and its bright, 0 and 1 in normalised intensity


class Pixels(Protocol):
    """What FocusLab needs of an array: shape, dtype, and slicing to numpy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        ...

    def __getitem__(self, index: Any) -> Any:
        """Return a part as a numpy array."""
        ...


class LazyPixels(ABC):
    """Array whose parts are read when they are asked for; napari and numpy take it as one.

    Parts are asked for as of an array of numpy, by whole numbers, slices and an ellipsis.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def _read(self, region: Region) -> NDArray[Any]:
        """Read a region: one ascending slice for each axis, none of which is dropped."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self[...]
        return array if dtype is None else array.astype(dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        region: list[slice] = []
        then: list[int | slice] = []
        for i, n in zip(_whole(index, self.ndim), self.shape, strict=True):
            if isinstance(i, int | np.integer):
                at = range(n)[i]
                region.append(slice(at, at + 1))
                then.append(0)
            elif isinstance(i, slice):
                picked = range(n)[i]
                backwards = picked.step < 0
                picked = picked[::-1] if backwards else picked
                region.append(slice(picked.start, max(picked.stop, picked.start), picked.step))
                then.append(slice(None, None, -1 if backwards else 1))
            else:
                raise IndexError(f"Pixels of a file are taken by whole numbers and slices, got {i!r}: load them first.")
        return np.asarray(self._read(tuple(region))[tuple(then)], order="C")


class Reordered(LazyPixels):
    """View of the pixels of any array that is sliced as numpy's are, with its axes in another order.

    Parameters
    ----------
    pixels
        The array.
    order
        Which of its axes each axis of the view is.
    """

    def __init__(self, pixels: Pixels, order: Sequence[int]) -> None:
        self._pixels, self._order = pixels, tuple(order)
        self.shape = tuple(pixels.shape[i] for i in order)
        self.dtype = np.dtype(pixels.dtype)

    def _read(self, region: Region) -> NDArray[Any]:
        inner = [slice(None)] * self.ndim
        for at, part in zip(self._order, region, strict=True):
            inner[at] = part
        return np.asarray(self._pixels[tuple(inner)]).transpose(self._order)


def _whole(index: Any, ndim: int) -> tuple[Any, ...]:
    """Index with an entry for every axis."""
    index = index if isinstance(index, tuple) else (index,)
    at = next((k for k, i in enumerate(index) if isinstance(i, EllipsisType)), None)
    before, after = (index, ()) if at is None else (index[:at], index[at + 1 :])
    if len(before) + len(after) > ndim:
        raise IndexError(f"The pixels have {ndim} axes, got {len(before) + len(after)} indices.")
    return (*before, *(slice(None),) * (ndim - len(before) - len(after)), *after)
