"""Batches with the copies that the front end makes of their planes.

Copies cost more than a step of the network and do not depend on what it has learnt. So they are made before it, in
float32 as the engine makes them, and each batch is used for several steps (data echoing [1]_): turned and mirrored as a
whole, which no PSF minds, and among the uses of a few other batches, so that no two steps in a row are alike.

References
----------
.. [1] D. Choi et al., "Faster Neural Network Training with Data Echoing", 2019, arXiv:1907.05550.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from focuslab.models.border import beyond_border
from focuslab.models.explain import explain_each
from focuslab.models.frontend import NoFrontEnd, noise_sigma
from focuslab.models.networks import conditions
from focuslab.optics import crop
from focuslab_training.data.batches import MARGIN, CopiedPlane, CopyBatch, PlaneBatch

__all__ = ["CopySource", "PlaneSource", "copied", "turned"]

_TOGETHER = 8  # batches whose uses are shuffled


class PlaneSource(Protocol):
    """Makes planes for a step, see `Simulator` and `PlanePairSource`."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[PlaneBatch, ...]:
        """Batches of a step, or the share of one of `world` processes."""
        ...


class CopySource:
    """Endless batches with copies; those of a step are a function of the seed and the step alone.

    Parameters
    ----------
    source
        Makes the planes.
    physics
        Whether the network has a front end.
    echo
        Steps that each batch is used for; with one, batches come as they are.
    seed
        The same seed gives the same order.
    device
        Where copies are made; where the planes are if none is given.
    """

    def __init__(
        self,
        source: PlaneSource,
        *,
        physics: bool = True,
        echo: int = 1,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.source, self.physics, self.echo, self.seed, self.device = source, physics, echo, seed, device
        self._kept: dict[int, tuple[CopyBatch, ...]] = {}

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[CopyBatch, ...]:
        """Batches of a step, or the share of one of `world` processes."""
        if self.echo == 1:
            return self._made(step, rank, world)
        round_, place = divmod(step, _TOGETHER * self.echo)
        first = round_ * _TOGETHER
        order = np.random.default_rng([self.seed, round_, 3]).permutation(_TOGETHER * self.echo)
        number = first + int(order[place]) % _TOGETHER
        self._kept = {n: kept for n, kept in self._kept.items() if n >= first}
        if number not in self._kept:
            self._kept[number] = self._made(number, rank, world)
        rng = np.random.default_rng([self.seed, step, 4])
        turn, flip = int(rng.integers(4)), bool(rng.integers(2))
        return tuple(turned(one, turn, flip) for one in self._kept[number])

    def _made(self, number: int, rank: int, world: int) -> tuple[CopyBatch, ...]:
        return tuple(copied(one, self.physics, self.device) for one in self.source.batch(number, rank, world))


@torch.no_grad()
def copied(batch: PlaneBatch, physics: bool = True, device: torch.device | None = None) -> CopyBatch:
    """Copies of the planes of a batch; without physics, of the front end that makes none."""
    device = device or batch.sharp.device
    planes = tuple(_copied(batch, which, physics, device) for which in range(len(batch.planes)))
    return CopyBatch(batch.situation, planes, batch.sharp.to(device), batch.target.to(device))


def _copied(batch: PlaneBatch, which: int, physics: bool, device: torch.device) -> CopiedPlane:
    here, plane = batch.situation, batch.planes[which].to(device)
    level, optics = here.given[which], here.front_end.optics
    inner = crop(plane, MARGIN)  # what lies beyond a border has no noise
    noises = noise_sigma(inner)
    said = explain_each(inner[:, 0], optics, level, noises.tolist())
    floor = torch.tensor([e.floor for e in said], device=device).view(-1, 1, 1, 1)
    noise = noises * torch.tensor([e.surplus for e in said], device=device)
    maker = here.front_end if physics else NoFrontEnd()
    margin = min(maker.radius(level, here.rungs), MARGIN)
    seen = crop(beyond_border(plane, batch.recorded, optics, level, floor), MARGIN - margin)
    copies = maker.copies(seen, level, noise, here.rungs, margin=margin, floor=floor)
    condition = torch.cat([conditions(optics, level, one, here.doubt, device) for one in noise.tolist()])
    return CopiedPlane(inner, copies, condition)


def turned(batch: CopyBatch, turn: int, flip: bool) -> CopyBatch:
    """A batch by quarters of a turn, and mirrored."""

    def image(x: Tensor) -> Tensor:
        x = torch.rot90(x, turn, (-2, -1))
        return (x.flip(-1) if flip else x).contiguous()

    return batch.changed(image)
