"""Physics front end: copies of a plane by its optics, before any network.

From a plane at its blur level, by the pupil PSF of the microscope (never a Gaussian or a disc):

- three Wiener copies, to the sharpest image, regularised strongly, as it should be, and weakly (see `wiener`);
- five copies that know that light is not negative (see `light`);
- a ladder of copies at other blur levels, sharper or blurrier than the plane. From 2 px of blur on it is one specimen
  imaged at every level: what Richardson-Lucy finds, blurred again, is far nearer to the truth than a filter from level
  to level, because what noise left open falls to the blur. Below, there is little to find, and the plane is filtered.

A plane needs a halo of the kernels' radius, and of some blur radii more for the memory of the iterations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from focuslab.models.light import EVERYTHING, Window, fast_sized, light_copies
from focuslab.models.wiener import LEAST_NOISE, kernel_radius, wiener_transfers
from focuslab.optics.imaging import crop
from focuslab.optics.optics import Optics

__all__ = [
    "COPIES",
    "EDITION",
    "LADDER",
    "REGULARISATIONS",
    "FrontEnd",
    "NoFrontEnd",
    "PhysicsCopies",
    "PhysicsFrontEnd",
    "bracket",
    "exact_rungs",
    "front_end",
]

REGULARISATIONS = (30000.0, 7000.0, 1500.0)
COPIES = len(REGULARISATIONS) + 5
EDITION = 3  # of what the copies are: weights that were trained on others are of no use
LADDER = (0.0, 2.0, 3.2, 4.8, 7.0, 10.0, 14.0, 19.0, 26.0, 35.0, 45.0)
_LADDER_REGULARISATION = REGULARISATIONS[1]
_REACH = 12.0  # px for each px of blur after which a pixel no longer matters to the iterations,
_FARTHER_FROM = 12.0  # and twice as many for each px more


@dataclass(frozen=True, slots=True)
class PhysicsCopies:
    """What the front end makes of a batch of planes.

    Attributes
    ----------
    deconvolved
        Eight copies (B, 1, Y, X), to the sharpest image: three by Wiener, from strong to weak regularisation, five
        that are not negative, one that starts from a filtered plane and four from the plane itself.
    ladder
        (B, K, Y, X), at the blur levels `rungs`.
    rungs
        Blur levels in px, ascending.
    source
        (B, 1, Y + 2 h, X + 2 h), what the rungs above 0 are made of, see `PhysicsFrontEnd.rung_copies`, with the halo h
        that they need.
    """

    deconvolved: tuple[Tensor, ...]
    ladder: Tensor
    rungs: tuple[float, ...]
    source: Tensor


def bracket(levels: Sequence[float]) -> tuple[float, ...]:
    """Rungs of the ladder needed to interpolate at each of `levels`, px."""
    needed: set[float] = set()
    for level in levels:
        above = next((i for i, rung in enumerate(LADDER) if rung >= level), len(LADDER) - 1)
        needed |= {LADDER[above]} if LADDER[above] == level else {LADDER[max(above - 1, 0)], LADDER[above]}
    return tuple(sorted(needed))


def exact_rungs(levels: Sequence[float]) -> tuple[float, ...]:
    """Ladder made for `levels`, px: its rungs are these levels and the sharpest.

    Below the first rung, where the sharp end of the ladder may be sharper than the in-focus image, pictures are always
    interpolated between the sharpest and that rung.
    """
    inside = {min(round(level, 3), LADDER[-1]) for level in levels}
    return tuple(sorted({0.0, *(max(level, LADDER[1]) for level in inside if level > 0)}))


class FrontEnd(Protocol):
    """What makes copies of planes."""

    def radius(self, level_px: float, rungs: Sequence[float] = LADDER) -> int:
        """Halo in px that a tile needs."""
        ...

    def reach(self, level_px: float, rungs: Sequence[float]) -> int:
        """Halo in px that filters need, a part of it."""
        ...

    def copies(
        self,
        plane: Tensor,
        level_px: float,
        noise: Tensor | float,
        rungs: tuple[float, ...] = LADDER,
        *,
        margin: int = 0,
        floor: Tensor | float = 0.0,
        worth: Window = EVERYTHING,
    ) -> PhysicsCopies:
        """Copies of a batch of planes of one blur level."""
        ...


def front_end(optics: Optics, copies: int) -> FrontEnd:
    """Front end of a model with so many deconvolved copies: the physics, or nothing."""
    return PhysicsFrontEnd(optics) if copies else NoFrontEnd()


class NoFrontEnd:
    """No physics: the plane alone, to find out what the learned part does by itself."""

    def radius(self, level_px: float, rungs: Sequence[float] = LADDER) -> int:
        """No halo."""
        return 0

    def reach(self, level_px: float, rungs: Sequence[float]) -> int:
        """None either."""
        return 0

    def copies(
        self,
        plane: Tensor,
        level_px: float,
        noise: Tensor | float,
        rungs: tuple[float, ...] = LADDER,
        *,
        margin: int = 0,
        floor: Tensor | float = 0.0,
        worth: Window = EVERYTHING,
    ) -> PhysicsCopies:
        """The plane at every level."""
        return PhysicsCopies((), crop(plane, margin), (0.0,), crop(plane, margin))


class PhysicsFrontEnd:
    """Copies of the planes of one microscope.

    Parameters
    ----------
    optics
        The microscope; the filters follow from its PSF.
    """

    def __init__(self, optics: Optics) -> None:
        self.optics = optics

    def radius(self, level_px: float, rungs: Sequence[float] = LADDER) -> int:
        """Halo in px that the front end needs around a tile, a multiple of 8."""
        widest = self.optics.widest_px(level_px)
        iterated = _REACH * (widest + max(widest - _FARTHER_FROM, 0.0)) + (
            kernel_radius(max(rungs), self.optics) if _by_light(level_px) else 0
        )
        return _eights(max(kernel_radius(max(level_px, *rungs), self.optics), iterated))

    def copies(
        self,
        plane: Tensor,
        level_px: float,
        noise: Tensor | float,
        rungs: tuple[float, ...] = LADDER,
        *,
        margin: int = 0,
        floor: Tensor | float = 0.0,
        worth: Window = EVERYTHING,
    ) -> PhysicsCopies:
        """Filter a batch of planes of one blur level.

        Parameters
        ----------
        plane
            (B, 1, Y, X), normalised to 0 where it is darkest, Y and X multiples of 8.
        level_px
            Blur level of the planes.
        noise
            Standard deviation of their noise, see `noise_at`, a number or (B,); Wiener filters are made for all of
            them together, by its geometric mean.
        rungs
            Blur levels of the ladder, px, ascending.
        margin
            Border, px, that the copies come without; `radius` px of every plane are not to be relied on.
        floor
            How far below 0 the dark lies, a number or (B, 1, 1, 1), see `explain`.
        worth
            Rows and columns, from and to multiples of 8, that are worth iterating on; those beyond are in the margin.
        """
        by_light, noises = _by_light(level_px), torch.as_tensor(noise, device=plane.device).view(-1, 1, 1, 1)
        light = light_copies(self.optics, plane[..., *worth], level_px, noises, floor)
        light = light.continued(worth, (plane.shape[-2], plane.shape[-1]))
        noise = float(noises.clamp(min=LEAST_NOISE).log().mean().exp())
        halo = min(self.reach(level_px, rungs), margin)
        source = crop(light.white if by_light else plane, margin - halo)
        known = self._filtered(plane, level_px, noise, tuple((0.0, kappa) for kappa in REGULARISATIONS), margin)
        ladder = []
        if rungs[0] == 0:
            filtered = known[REGULARISATIONS.index(_LADDER_REGULARISATION)]
            ladder = [crop(light.white, margin) if by_light else filtered]
        if above := [rung for rung in rungs if rung > 0]:
            ladder.append(self.rung_copies(source, level_px, noise, above, halo))
        deconvolved = (*known, *(crop(image, margin) for image in (light.filtered, *light.stopped, light.white)))
        return PhysicsCopies(deconvolved, torch.cat(ladder, 1), rungs, source)

    def reach(self, level_px: float, rungs: Sequence[float]) -> int:
        """Halo in px that `rung_copies` needs, a multiple of 8."""
        return _eights(kernel_radius(max(level_px, *rungs), self.optics))

    def rung_copies(self, source: Tensor, level_px: float, noise: float, rungs: Sequence[float], margin: int) -> Tensor:
        """Ladder (B, K, Y, X) at rungs above 0 alone, of planes of a level.

        `source` is the sharpest image of what was found in the planes if that is how their ladder is made, from 2 px
        of blur on, and the planes themselves otherwise; it has a margin that the rungs come without.
        """
        if _by_light(level_px):
            return self.blurred(source, None, LEAST_NOISE, rungs, margin)
        return self.blurred(source, level_px, noise, rungs, margin)

    def blurred(
        self, image: Tensor, level_px: float | None, noise: float, levels: Sequence[float], margin: int
    ) -> Tensor:
        """Images of a level (None: the sharpest) at other levels (B, K, Y, X), by the ratio of transfer functions."""
        targets = tuple((level, _LADDER_REGULARISATION) for level in levels)
        return torch.cat(self._filtered(image, level_px, noise, targets, margin), 1)

    def _filtered(
        self, plane: Tensor, level_px: float | None, noise: float, targets: tuple[tuple[float, float], ...], margin: int
    ) -> list[Tensor]:
        """Planes filtered to (level, regularisation) each, without their margin."""
        near = min(self.reach(level_px or 0.0, [level for level, _ in targets]), margin)
        part = crop(plane, margin - near)
        padded = fast_sized(part)
        shape, spectrum = (padded.shape[-2], padded.shape[-1]), torch.fft.rfft2(padded)
        transfers = wiener_transfers(self.optics, level_px, noise, targets, shape, plane.device)
        filtered = (torch.fft.irfft2(spectrum * transfer, s=shape) for transfer in transfers)
        return [crop(image[..., : part.shape[-2], : part.shape[-1]], near) for image in filtered]


def _by_light(level_px: float) -> bool:
    """Whether a plane is blurred enough for its ladder to be that of a specimen found in it."""
    return level_px >= LADDER[1]


def _eights(n: float) -> int:
    return -(-math.ceil(n) // 8) * 8
