"""Physics front end: copies of a plane by its optics, before any network.

From a plane at its blur level, by the pupil PSF of the microscope (never a Gaussian or a disc):

- three Wiener copies, to the sharpest image, regularised strongly, as it should be, and weakly (see `wiener`);
- four copies that know that light is not negative (see `light`);
- a ladder of Wiener copies at other blur levels, sharper or blurrier than the plane. Its sharp end is the
  early Richardson-Lucy copy from 2 px of blur on.

A plane needs a halo of the kernels' radius, and of some blur radii more for the memory of the iterations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.models.light import fast_sized, light_copies
from focuslab.models.wiener import kernel_radius, wiener_transfers
from focuslab.optics.imaging import crop
from focuslab.optics.optics import Optics

__all__ = [
    "COPIES",
    "LADDER",
    "REGULARISATIONS",
    "FrontEnd",
    "NoFrontEnd",
    "PhysicsCopies",
    "PhysicsFrontEnd",
    "bracket",
    "exact_rungs",
    "front_end",
    "noise_sigma",
]

REGULARISATIONS = (30000.0, 7000.0, 1500.0)
COPIES = len(REGULARISATIONS) + 4
LADDER = (0.0, 2.0, 3.2, 4.8, 7.0, 10.0, 14.0, 19.0, 26.0, 35.0, 45.0)
_LADDER_REGULARISATION = REGULARISATIONS[1]
_REACH = 22.0  # blur radii after which a pixel no longer matters to the iterations


@dataclass(frozen=True, slots=True)
class PhysicsCopies:
    """What the front end makes of a batch of planes.

    Attributes
    ----------
    deconvolved
        Seven copies (B, 1, Y, X), to the sharpest image: three by Wiener, from strong to weak regularisation, four
        that are not negative, three from smooth to detailed and one for sparse light.
    ladder
        (B, K, Y, X), at the blur levels `rungs`.
    rungs
        Blur levels in px, ascending.
    """

    deconvolved: tuple[Tensor, ...]
    ladder: Tensor
    rungs: tuple[float, ...]


def noise_sigma(plane: Tensor) -> Tensor:
    """Standard deviation of the noise of planes (B, 1, Y, X), one number each, (B,).

    Mean absolute response of a mask that is blind to structure up to second order; a blurred plane has little of
    any other.

    References
    ----------
    .. [1] J. Immerkaer, "Fast noise variance estimation", Comput. Vis. Image Underst. 64, 300 (1996),
           doi 10.1006/cviu.1996.0060.
    """
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], device=plane.device)
    response = F.conv2d(plane.float(), mask[None, None])
    return response.abs().flatten(1).mean(1) * math.sqrt(math.pi / 2) / 6


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

    def copies(
        self,
        plane: Tensor,
        level_px: float,
        noise: float,
        rungs: tuple[float, ...] = LADDER,
        *,
        margin: int = 0,
        floor: Tensor | float = 0.0,
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

    def copies(
        self,
        plane: Tensor,
        level_px: float,
        noise: float,
        rungs: tuple[float, ...] = LADDER,
        *,
        margin: int = 0,
        floor: Tensor | float = 0.0,
    ) -> PhysicsCopies:
        """The plane at every level."""
        return PhysicsCopies((), crop(plane, margin), (0.0,))


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
        return _eights(max(kernel_radius(max(level_px, *rungs), self.optics), _REACH * level_px))

    def copies(
        self,
        plane: Tensor,
        level_px: float,
        noise: float,
        rungs: tuple[float, ...] = LADDER,
        *,
        margin: int = 0,
        floor: Tensor | float = 0.0,
    ) -> PhysicsCopies:
        """Filter a batch of planes of one blur level.

        Parameters
        ----------
        plane
            (B, 1, Y, X), normalised to 0 where it is darkest, Y and X multiples of 8.
        level_px
            Blur level of the planes.
        noise
            Standard deviation of their noise, see `noise_sigma`.
        rungs
            Blur levels of the ladder, px, ascending.
        margin
            Border, px, that the copies come without; `radius` px of every plane are not to be relied on.
        floor
            How far below 0 the dark lies, a number or (B, 1, 1, 1), see `explain`.
        """
        by_light = level_px >= LADDER[1]  # the sharp end of the ladder knows that light is not negative
        targets = [(0.0, kappa) for kappa in REGULARISATIONS]
        targets += [(level, _LADDER_REGULARISATION) for level in rungs if level > 0 or not by_light]
        light = [crop(image, margin) for image in light_copies(self.optics, plane, level_px, noise, floor)]
        copies = self._filtered(plane, level_px, noise, tuple(targets), margin)
        known, ladder = copies[: len(REGULARISATIONS)], copies[len(REGULARISATIONS) :]
        if by_light and rungs[0] == 0:
            ladder.insert(0, light[1])
        return PhysicsCopies((*known, *light), torch.cat(ladder, 1), rungs)

    def reach(self, level_px: float, rungs: Sequence[float]) -> int:
        """Halo in px that `rung_copies` needs, a multiple of 8."""
        return _eights(kernel_radius(max(level_px, *rungs), self.optics))

    def rung_copies(self, plane: Tensor, level_px: float, noise: float, rungs: Sequence[float], margin: int) -> Tensor:
        """Ladder (B, K, Y, X) at rungs above 0 alone, for planes whose other copies are known."""
        targets = tuple((level, _LADDER_REGULARISATION) for level in rungs)
        return torch.cat(self._filtered(plane, level_px, noise, targets, margin), 1)

    def _filtered(
        self, plane: Tensor, level_px: float, noise: float, targets: tuple[tuple[float, float], ...], margin: int
    ) -> list[Tensor]:
        """Planes filtered to (level, regularisation) each, without their margin."""
        near = min(self.reach(level_px, [level for level, _ in targets]), margin)
        part = crop(plane, margin - near)
        padded = fast_sized(part)
        shape, spectrum = (padded.shape[-2], padded.shape[-1]), torch.fft.rfft2(padded)
        transfers = wiener_transfers(self.optics, level_px, noise, targets, shape, plane.device)
        filtered = (torch.fft.irfft2(spectrum * transfer, s=shape) for transfer in transfers)
        return [crop(image[..., : part.shape[-2], : part.shape[-1]], near) for image in filtered]


def _eights(n: float) -> int:
    return -(-math.ceil(n) // 8) * 8
