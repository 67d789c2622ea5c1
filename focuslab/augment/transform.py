"""What all augmentations have in common: drawing of parameters apart from applying them, on arrays and tensors.

A transform is a callable on one image or a batch. What it does is decided by parameters that are drawn first and can
be kept: ``transform.apply(image, transform.sample(random))`` is ``transform(image)``, and the same parameters give the
same picture again.
"""

import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from focuslab.errors import ImageError, RequestError
from focuslab.refocusing.intensity import finite, stored

__all__ = ["RandomTransform"]

Parameters = TypeVar("Parameters")
Image = TypeVar("Image", NDArray[Any], torch.Tensor)


class RandomTransform(ABC, Generic[Parameters]):
    """Random change of an image (Y, X), (C, Y, X) or a batch (B, C, Y, X), of any real dtype, which it keeps.

    Parameters
    ----------
    p
        Probability that an image is changed at all.
    seed
        Makes a run reproducible; every worker process of a data loader draws differently.
    channels_last
        Images are (Y, X, C) and batches (B, Y, X, C), as albumentations has them.
    """

    def __init__(self, *, p: float = 1.0, seed: int | None = None, channels_last: bool = False) -> None:
        if not 0 <= p <= 1:
            raise RequestError(f"A probability lies between 0 and 1, got {p}.")
        if seed is not None and seed < 0:
            raise RequestError(f"A seed is a whole number from 0 on, got {seed}.")
        self.p, self.seed, self.channels_last = p, seed, channels_last
        self._random: np.random.Generator | None = None
        self._process = 0

    @abstractmethod
    def draw(self, random: np.random.Generator) -> Parameters:
        """Draw parameters."""

    @abstractmethod
    def render(self, image: NDArray[Any], parameters: Parameters) -> NDArray[Any]:
        """Apply parameters to one image (C, Y, X); the result is rounded to its dtype by the caller."""

    def sample(self, random: np.random.Generator | None = None) -> Parameters | None:
        """Draw parameters, or None where the image is to stay as it is (see `p`).

        Parameters
        ----------
        random
            Source of randomness; the transform's own if not given.
        """
        random = random or self._own_random()
        return self.draw(random) if random.random() < self.p else None

    def apply(self, image: Image, parameters: Parameters | None) -> Image:
        """Apply parameters to one image; the same layout, dtype, device come back.

        Raises
        ------
        ImageError
            If it is not an image of real numbers.
        """
        if parameters is None:
            return image
        if isinstance(image, torch.Tensor):
            pixels = image.detach().cpu()
            array = (pixels.float() if pixels.dtype == torch.bfloat16 else pixels).numpy()  # NumPy has no bfloat16
        else:
            array = np.asarray(image)
        if array.ndim not in (2, 3) or array.dtype.kind not in "uif" or array.size == 0:
            raise ImageError(f"An image is (Y, X) or (C, Y, X) of real numbers, got {array.shape} {array.dtype}.")
        flat = array.ndim == 2
        channels = array[None] if flat else np.moveaxis(array, -1, 0) if self.channels_last else array
        filled = np.stack([finite(channel, keep_nan=True) for channel in channels])
        made = stored(self.render(filled, parameters), array.dtype)
        if array.dtype.kind == "f":  # what is not known is not known afterwards
            made = np.where(np.isfinite(channels), made, channels)
        made = made[0] if flat else np.moveaxis(made, 0, -1) if self.channels_last else made
        if isinstance(image, torch.Tensor):
            return torch.from_numpy(np.ascontiguousarray(made)).to(image.device, image.dtype)
        return np.ascontiguousarray(made)

    def __call__(self, image: Image) -> Image:
        """Change an image, or every image of a batch in its own way."""
        if image.ndim != 4:
            return self.apply(image, self.sample())
        made: Sequence[Any] = [self.apply(one, self.sample()) for one in image]
        return torch.stack(list(made)) if isinstance(image, torch.Tensor) else np.stack(made)

    def _own_random(self) -> np.random.Generator:
        """Generator of this process: a copy of a transform in a worker must not repeat its brothers.

        Workers of a `DataLoader` follow torch's seed (`torch.manual_seed`), others their number, or rank.
        """
        if self._random is None or self._process != os.getpid():
            worker = torch.utils.data.get_worker_info()
            numbers = [*getattr(multiprocessing.current_process(), "_identity", ()), int(os.environ.get("RANK", 0))]
            drawn = [worker.seed % 2**63] if worker is not None else [n for n in numbers if n]
            entropy = drawn if self.seed is None else [self.seed, *drawn]
            self._random, self._process = np.random.default_rng(entropy or None), os.getpid()
        return self._random
