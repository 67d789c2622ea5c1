"""What a model learns from: planes at known levels, and how their field looks elsewhere."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from focuslab.models.frontend import PhysicsCopies, PhysicsFrontEnd

__all__ = ["MARGIN", "CopiedPlane", "CopyBatch", "PlaneBatch", "Situation"]

MARGIN = 96  # px around a crop that the front end may look at


@dataclass(frozen=True, slots=True)
class Situation:
    """One microscope at fixed levels.

    Attributes
    ----------
    front_end
        Filters of the microscope.
    given
        Levels of the planes, px, as the model is told: one, or two for a pair.
    target
        Blur level of a second picture to ask for, px, on the given scale; the first is the sharpest.
    rungs
        Ladder of the codes.
    focus
        Blur level of `PlaneBatch.sharp`, px: 0, or that of a recorded plane that is not quite in focus.
    doubt
        Relative error to be expected of the given levels, as the model is told.
    """

    front_end: PhysicsFrontEnd
    given: tuple[float, ...]
    target: float
    rungs: tuple[float, ...]
    focus: float = 0.0
    doubt: float = 0.0


@dataclass(frozen=True, slots=True)
class PlaneBatch:
    """Planes of one situation and pictures of them, all (B, 1, Y, X), normalised alike.

    `planes` carry the margin, `sharp` and `target` do not. `recorded` are the rows and columns of the planes that lie
    in their image.
    """

    situation: Situation
    planes: tuple[Tensor, ...]
    sharp: Tensor
    target: Tensor
    recorded: tuple[slice, slice] = (slice(None), slice(None))


@dataclass(frozen=True, slots=True)
class CopiedPlane:
    """A plane (B, 1, Y, X) without its margin, what the front end makes of it, and its condition (B, 5)."""

    plane: Tensor
    copies: PhysicsCopies
    condition: Tensor

    def to(self, device: torch.device) -> "CopiedPlane":
        """The same on a device."""
        copies = replace(
            self.copies,
            deconvolved=tuple(copy.to(device) for copy in self.copies.deconvolved),
            ladder=self.copies.ladder.to(device),
            source=self.copies.source.to(device),
        )
        return CopiedPlane(self.plane.to(device), copies, self.condition.to(device))


@dataclass(frozen=True, slots=True)
class CopyBatch:
    """A `PlaneBatch` as the network takes it."""

    situation: Situation
    planes: tuple[CopiedPlane, ...]
    sharp: Tensor
    target: Tensor

    def to(self, device: torch.device) -> "CopyBatch":
        """The same on a device."""
        planes = tuple(plane.to(device) for plane in self.planes)
        return CopyBatch(self.situation, planes, self.sharp.to(device), self.target.to(device))
