"""Batches with the copies that the front end makes of their planes, in float32 as the engine makes them."""

from typing import Protocol

import torch

from focuslab.models.copying import CopiedPlane, copied, measured
from focuslab.models.frontend import NoFrontEnd
from focuslab.optics import crop
from focuslab_training.data.batches import MARGIN, CopyBatch, PlaneBatch

__all__ = ["CopySource", "PlaneSource", "copies_of"]


class PlaneSource(Protocol):
    """Makes planes for a step, see `Simulator` and `PlanePairSource`."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[PlaneBatch, ...]:
        """Batches of a step, or the share of one of `world` processes."""
        ...


class CopySource:
    """Batches as a network of ours takes them.

    Parameters
    ----------
    source
        Makes the planes.
    physics
        Whether the network has a front end.
    device
        Where copies are made; where the planes are if none is given.
    """

    def __init__(self, source: PlaneSource, *, physics: bool = True, device: torch.device | None = None) -> None:
        self.source, self.physics, self.device = source, physics, device

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[CopyBatch, ...]:
        """Batches of a step, or the share of one of `world` processes."""
        return tuple(copies_of(one, self.physics, self.device) for one in self.source.batch(step, rank, world))


@torch.no_grad()
def copies_of(batch: PlaneBatch, physics: bool = True, device: torch.device | None = None) -> CopyBatch:
    """Copies of the planes of a batch; without physics, of the front end that makes none."""
    device = device or batch.sharp.device
    planes = tuple(_copied(batch, which, physics, device) for which in range(len(batch.planes)))
    return CopyBatch(batch.situation, planes, batch.sharp.to(device), batch.target.to(device))


def _copied(batch: PlaneBatch, which: int, physics: bool, device: torch.device) -> CopiedPlane:
    here, plane = batch.situation, batch.planes[which].to(device)
    level, optics = here.given[which], here.front_end.optics
    told = measured(crop(plane, MARGIN), optics, level, here.doubt)  # what lies beyond a border has no noise
    maker = here.front_end if physics else NoFrontEnd()
    margin = min(maker.radius(level, here.rungs), MARGIN)
    cut = MARGIN - margin
    recorded = tuple(part.indices(n)[:2] for part, n in zip(batch.recorded, plane.shape[-2:], strict=True))
    rows, columns = (slice(max(start - cut, 0), stop - cut) for start, stop in recorded)
    return copied(crop(plane, cut), (rows, columns), told, maker, here.rungs, margin)
