"""A torch data set that augments on the fly, the same way whatever number of workers reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from focuslab.augment.transform import RandomTransform
from focuslab.errors import ImageError, RequestError
from focuslab.io import read

__all__ = ["FocalDataset"]


class FocalDataset(Dataset[Any]):
    """Images, each changed anew in every epoch.

    What happens to image i in epoch e follows from (seed, e, i) alone: not from the order of reading, nor from the
    number of workers.

    Parameters
    ----------
    images
        Arrays (Y, X) or (C, Y, X), or paths of files that `focuslab.read` opens.
    transform
        What is done to them.
    targets
        What belongs to each image, returned unchanged beside it.
    seed
        Of the whole run.

    Raises
    ------
    RequestError
        If there are not as many targets as images.
    """

    def __init__(
        self,
        images: Sequence[NDArray[Any] | str | Path],
        transform: RandomTransform[Any],
        targets: Sequence[Any] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        if targets is not None and len(targets) != len(images):
            raise RequestError(f"There are {len(images)} images and {len(targets)} targets: give one for each.")
        self.images, self.transform, self.targets, self.seed = images, transform, targets, seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers that live on are to hear of it

    @property
    def epoch(self) -> int:
        """The epoch that it is turned to."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Turn to another epoch, in all workers; before it begins, as with torch's distributed sampler."""
        self._epoch.fill_(epoch)

    def parameters(self, index: int) -> Any:
        """What is done to an image in this epoch."""
        return self.transform.sample(np.random.default_rng((self.seed, self.epoch, range(len(self))[index])))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = self.images[index]
        if isinstance(image, str | Path):
            stack = read(image, rgb="per-channel")
            if stack.axes not in ("YX", "CYX"):
                raise ImageError(
                    f"{Path(image).name} has axes {stack.axes}; an image of a data set is YX or CYX: give its planes "
                    "as arrays, for instance of read(...).take(Z=0)."
                )
            image = np.asarray(stack.array[(slice(None),) * len(stack.shape)])
            if self.transform.channels_last and stack.axes == "CYX":
                image = np.moveaxis(image, 0, -1)
        made = self.transform.apply(image, self.parameters(index))
        return made if self.targets is None else (made, self.targets[index])
