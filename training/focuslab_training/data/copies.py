"""Batches with the copies that the front end makes of their planes, in float32 as the engine makes them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from focuslab.models.copying import CopiedPlane, copied, measured
from focuslab.models.frontend import NoFrontEnd
from focuslab.models.light import Window
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
    """Copies of one plane of every crop; crops that have the same of it recorded share their making."""
    here, plane = batch.situation, batch.planes[which].to(device)
    level, optics, side = here.given[which], here.front_end.optics, plane.shape[-1]
    maker = here.front_end if physics else NoFrontEnd()
    margin = min(maker.radius(level, here.rungs), MARGIN)
    windows = [tuple(_without(part, side, MARGIN - margin) for part in window) for window in batch.recorded]
    alike = [[i for i, other in enumerate(windows) if other == window] for window in dict.fromkeys(windows)]
    found = []
    for crops in alike:
        planes, recorded = crop(plane[crops], MARGIN - margin), _slices(windows[crops[0]])
        inner = _slices(_without(part, planes.shape[-1], margin) for part in recorded)
        known = measured(crop(planes, margin)[..., *inner], optics, level, here.doubt)
        found.append(copied(planes, recorded, known, maker, here.rungs, margin))
    return _in_order(found, [i for crops in alike for i in crops])


def _without(part: slice, side: int, margin: int) -> tuple[int, int]:
    """First and last of the pixels of an axis that a part of it leaves when a margin is taken off both ends."""
    start, stop, _ = part.indices(side)
    return max(start - margin, 0), min(stop, side - margin) - margin


def _slices(ends: Iterable[tuple[int, int]]) -> Window:
    rows, columns = (slice(*pair) for pair in ends)
    return rows, columns


def _in_order(parts: list[CopiedPlane], order: list[int]) -> CopiedPlane:
    """Copies of several groups of crops as one, each crop at its place."""
    if len(parts) == 1:
        return parts[0]
    places = torch.argsort(torch.tensor(order))

    def together(images: Iterable[Tensor]) -> Tensor:
        return torch.cat(list(images))[places]

    copies = replace(
        parts[0].copies,
        deconvolved=tuple(map(together, zip(*(part.copies.deconvolved for part in parts), strict=True))),
        ladder=together(part.copies.ladder for part in parts),
        source=together(part.copies.source for part in parts),
    )
    return CopiedPlane(together(p.plane for p in parts), copies, together(p.condition for p in parts))
