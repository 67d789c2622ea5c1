"""From a plane to what the network takes: one way for engine, export, evaluation and training.

Noise and floor of a plane are `measured`, unless they are known of the whole image; then the plane is continued beyond
its border, and its copies are made.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from focuslab.models.border import beyond_border
from focuslab.models.explain import explain_each
from focuslab.models.frontend import FrontEnd, PhysicsCopies
from focuslab.models.light import Window, continued
from focuslab.models.networks import conditions
from focuslab.models.noise import noise_at
from focuslab.optics import Optics, crop

__all__ = ["CopiedPlane", "PlaneConditions", "copied", "measured"]


@dataclass(frozen=True, slots=True)
class PlaneConditions:
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


def measured(plane: Tensor, optics: Optics, level_px: float, doubt: float = 0.0) -> PlaneConditions:
    """Noise and floor of normalised planes (B, 1, Y, X), recorded pixels only, at a level, see `explain`."""
    noise = noise_at(plane, optics, level_px)
    said = explain_each(plane[:, 0], optics, level_px, noise.tolist())
    surplus, floor = torch.tensor([(e.surplus, e.floor) for e in said], device=plane.device).unbind(1)
    return PlaneConditions(optics, level_px, noise * surplus, floor.view(-1, 1, 1, 1), doubt)


def copied(
    plane: Tensor,
    recorded: Window,
    known: PlaneConditions,
    maker: FrontEnd,
    rungs: tuple[float, ...],
    margin: int,
    halo: int = 0,
) -> CopiedPlane:
    """What the network takes of planes.

    Parameters
    ----------
    plane
        (B, 1, Y, X), normalised, mirrored outside the image; float64 planes stay so.
    recorded
        Rows and columns of the image in it.
    known
        What is known of it.
    maker, rungs
        Front end, and blur levels of its ladder, px.
    margin
        Border, px, for the front end, that copies come without.
    halo
        Further pixels, a multiple of 8, that only the network looks at.
    """
    optics, level, shape = known.optics, known.level_px, (plane.shape[-2], plane.shape[-1])
    # Iterations reach far for a tile to be what the whole is; beyond a border there is nothing to agree with.
    worth = _grown(recorded, halo + maker.reach(level, rungs), shape)
    inside = (_within(recorded[0], worth[0], shape[0]), _within(recorded[1], worth[1], shape[1]))
    plane = continued(beyond_border(plane[..., *worth], inside, optics, level, known.floor), worth, shape)
    copies = maker.copies(plane.float(), level, known.noise, rungs, margin=margin, floor=known.floor, worth=worth)
    return CopiedPlane(crop(plane, margin), copies, conditions(optics, level, known.noise, known.doubt, plane.device))


def _grown(window: Window, by: int, shape: tuple[int, int]) -> Window:
    """A window grown to all sides, from and to multiples of 8 within the shape."""
    ends = [part.indices(n)[:2] for part, n in zip(window, shape, strict=True)]
    rows, columns = (
        slice(max((start - by) // 8 * 8, 0), min(-(-(stop + by) // 8) * 8, n))
        for (start, stop), n in zip(ends, shape, strict=True)
    )
    return rows, columns


def _within(part: slice, window: slice, length: int) -> slice:
    """A part of an axis, counted from the start of a window that holds it."""
    start, stop, _ = part.indices(length)
    return slice(start - window.start, stop - window.start)
