"""From a plane to what the network takes: one way for engine, export, evaluation and training.

told = measured(plane, optics, level)                     unless its noise and floor are known
copied(beyond_border(plane, ...), told, maker, rungs)     -> plane, copies, condition
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from focuslab.models.explain import explain_each
from focuslab.models.frontend import FrontEnd, PhysicsCopies, noise_sigma
from focuslab.models.networks import conditions
from focuslab.optics import Optics, crop

__all__ = ["CopiedPlane", "Told", "copied", "measured"]


@dataclass(frozen=True, slots=True)
class Told:
    """What a model is told of planes (B, 1, Y, X) of one microscope at one level.

    Attributes
    ----------
    optics
        The microscope.
    level_px
        Blur level, px.
    noise
        Standard deviation of the noise and of all else that the level does not explain, a number or (B,).
    floor
        How far the dark lies below 0, a number or (B, 1, 1, 1).
    doubt
        Relative error to be expected of the level, and of the optics with it.
    """

    optics: Optics
    level_px: float
    noise: Tensor | float
    floor: Tensor | float = 0.0
    doubt: float = 0.0


@dataclass(frozen=True, slots=True)
class CopiedPlane:
    """A plane (B, 1, Y, X) without the front end's margin, the copies made of it, and its condition (B, 5)."""

    plane: Tensor
    copies: PhysicsCopies
    condition: Tensor

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        copies = replace(
            self.copies,
            deconvolved=tuple(copy.to(device) for copy in self.copies.deconvolved),
            ladder=self.copies.ladder.to(device),
            source=self.copies.source.to(device),
        )
        return replace(self, plane=self.plane.to(device), copies=copies, condition=self.condition.to(device))


def measured(plane: Tensor, optics: Optics, level_px: float, doubt: float = 0.0) -> Told:
    """Noise and floor of normalised planes (B, 1, Y, X), recorded pixels only, at a level, see `explain`."""
    noise = noise_sigma(plane)
    said = explain_each(plane[:, 0], optics, level_px, noise.tolist())
    surplus, floor = torch.tensor([(e.surplus, e.floor) for e in said], device=plane.device).unbind(1)
    return Told(optics, level_px, noise * surplus, floor.view(-1, 1, 1, 1), doubt)


def copied(plane: Tensor, told: Told, maker: FrontEnd, rungs: tuple[float, ...], margin: int) -> CopiedPlane:
    """Copies of planes that have a margin for the front end, px, and come without; float64 planes stay so."""
    copies = maker.copies(plane.float(), told.level_px, told.noise, rungs, margin=margin, floor=told.floor)
    condition = conditions(told.optics, told.level_px, told.noise, told.doubt, plane.device)
    return CopiedPlane(crop(plane, margin), copies, condition)
