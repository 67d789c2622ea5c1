"""What lazy pixels have in common, whatever file they lie in."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LazyPixels"]


class LazyPixels(ABC):
    """Array whose parts are read when they are asked for; napari and numpy take it as one."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a part."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self[(slice(None),) * self.ndim]
        return array if dtype is None else array.astype(dtype)
