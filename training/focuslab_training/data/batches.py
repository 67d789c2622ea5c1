"""What a model learns from: planes at known levels, and how their field looks elsewhere."""

from dataclasses import dataclass

import torch
from torch import Tensor

from focuslab.models.copying import CopiedPlane
from focuslab.models.frontend import PhysicsFrontEnd
from focuslab.models.light import Window

__all__ = ["MARGIN", "CopyBatch", "PlaneBatch", "Situation"]

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

    `planes` carry the margin, `sharp` and `target` do not. `recorded` are the rows and columns of each crop's planes
    that lie in its image.
    """

    situation: Situation
    planes: tuple[Tensor, ...]
    sharp: Tensor
    target: Tensor
    recorded: tuple[Window, ...]


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
