"""Batches with the copies that the front end makes of their planes, in float32 as the engine makes them."""

from typing import Protocol

import torch

from focuslab.models.border import beyond_border
from focuslab.models.explain import explain_each
from focuslab.models.frontend import NoFrontEnd, noise_sigma
from focuslab.models.networks import conditions
from focuslab.optics import crop
from focuslab_training.data.batches import MARGIN, CopiedPlane, CopyBatch, PlaneBatch

__all__ = ["CopySource", "PlaneSource", "copied"]


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
        return tuple(copied(one, self.physics, self.device) for one in self.source.batch(step, rank, world))


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
