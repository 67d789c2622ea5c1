"""Batches that are used more than once: to simulate planes and copy them takes longer than to learn from them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from focuslab.models.copying import CopiedPlane
from focuslab_training.data.batches import CopyBatch

__all__ = ["CopyBatches", "Echo", "turned"]

_APART = 8  # steps between two uses of a batch; workers keep their own, if their number divides it


class CopyBatches(Protocol):
    """Makes the batches of a step, see `CopySource`."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[CopyBatch, ...]:
        """Batches of a step, or the share of one of `world` processes."""
        ...


class Echo:
    """Batches of a source, each in so many steps, every time turned or mirrored otherwise.

    Data echoing [1]_: eight batches in a row, then the same eight again, turned, and so on, then the next eight. Any
    step can be the first, for a run that goes on.

    Parameters
    ----------
    source
        Makes batches.
    times
        How often each is used, 1 to 8: there are no more ways to turn a square.

    References
    ----------
    .. [1] D. Choi, A. Passos, C. J. Shallue, G. E. Dahl, "Faster neural network training with data echoing", 2019,
           arXiv 1907.05550.
    """

    def __init__(self, source: CopyBatches, times: int) -> None:
        self.source, self.times = source, times
        self._kept: dict[int, tuple[CopyBatch, ...]] = {}

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[CopyBatch, ...]:
        """Batches of a step, or the share of one of `world` processes."""
        block, place = divmod(step, _APART * self.times)
        turn, which = divmod(place, _APART)
        fresh = block * _APART + which
        self._kept = {of: kept for of, kept in self._kept.items() if of >= block * _APART}
        if fresh not in self._kept:
            self._kept[fresh] = self.source.batch(fresh, rank, world)
        return tuple(turned(one, turn) for one in self._kept[fresh])


def turned(batch: CopyBatch, turn: int) -> CopyBatch:
    """Batch turned and mirrored in one of eight ways, all different; way 0 leaves it as it is."""
    if turn == 0:
        return batch
    mirrored = (turn + turn // 4) % 2 == 1

    def one(image: Tensor) -> Tensor:
        image = torch.rot90(image, turn, (-2, -1))
        return image.flip(-2) if mirrored else image.contiguous()

    planes = tuple(_turned(plane, one) for plane in batch.planes)
    return CopyBatch(batch.situation, planes, one(batch.sharp), one(batch.target))


def _turned(plane: CopiedPlane, turn: Callable[[Tensor], Tensor]) -> CopiedPlane:
    copies = replace(
        plane.copies,
        deconvolved=tuple(turn(copy) for copy in plane.copies.deconvolved),
        ladder=turn(plane.copies.ladder),
        source=turn(plane.copies.source),
    )
    return replace(plane, plane=turn(plane.plane), copies=copies)
