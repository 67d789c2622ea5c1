"""Physics front end: copies of a plane by its optics, before any network.

From a plane at its blur level, by the pupil PSF of the microscope (never a Gaussian or a disc):

- three Wiener copies, to the sharpest image, regularised strongly, as it should be, and weakly (see `wiener`);
- three copies that know that light is not negative (see `restoration`): the constrained Wiener filter and, from it, an
  early and a late accelerated Richardson-Lucy, on a grid binned by two from 5 px of blur on, where that grid holds
  all the detail that can be had;
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
from scipy.fft import next_fast_len
from torch import Tensor

from focuslab.models.restoration import blur_by, nonnegative_wiener, richardson_lucy
from focuslab.models.wiener import LEAST_NOISE, binned_psf, camera_limited, kernel_radius, wiener_transfers
from focuslab.optics.imaging import crop
from focuslab.optics.optics import Optics
from focuslab.optics.pupil import otf

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
COPIES = len(REGULARISATIONS) + 3
LADDER = (0.0, 2.0, 3.2, 4.8, 7.0, 10.0, 14.0, 19.0, 26.0, 35.0, 45.0)
_LADDER_REGULARISATION = REGULARISATIONS[1]
_BINNED_FROM = 5.0  # blur level, px, from which the non-negative copies are made on a grid binned by two
_NARROW = 25000.0  # regularisation of the constrained Wiener filter below it
_CONSTRAINED = 8  # iterations of the constrained Wiener filter
_LATE = 2.25  # times as many iterations for the last copy: sparse specimens gain from more, dense ones from fewer
_LIFT = 0.03  # light with which Richardson-Lucy starts in the dark: it cannot leave zero
_REACH = 20.0  # blur radii after which a pixel no longer matters to the iterations


@dataclass(frozen=True, slots=True)
class PhysicsCopies:
    """What the front end makes of a batch of planes.

    Attributes
    ----------
    deconvolved
        Six copies (B, 1, Y, X), to the sharpest image: three by Wiener, from strong to weak regularisation, three
        that are not negative, from smooth to detailed.
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
        self, plane: Tensor, level_px: float, noise: float, rungs: tuple[float, ...] = LADDER, *, margin: int = 0
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
        self, plane: Tensor, level_px: float, noise: float, rungs: tuple[float, ...] = LADDER, *, margin: int = 0
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
        self, plane: Tensor, level_px: float, noise: float, rungs: tuple[float, ...] = LADDER, *, margin: int = 0
    ) -> PhysicsCopies:
        """Filter a batch of planes of one blur level.

        Parameters
        ----------
        plane
            (B, 1, Y, X), normalised to 0 in the dark, Y and X multiples of 8.
        level_px
            Blur level of the planes.
        noise
            Standard deviation of their noise, see `noise_sigma`.
        rungs
            Blur levels of the ladder, px, ascending.
        margin
            Border, px, that the copies come without; `radius` px of every plane are not to be relied on.
        """
        near = _eights(kernel_radius(max(level_px, *rungs), self.optics))
        by_light = level_px >= LADDER[1]  # the sharp end of the ladder knows that light is not negative
        targets = [(0.0, kappa) for kappa in REGULARISATIONS]
        targets += [(level, _LADDER_REGULARISATION) for level in rungs if level > 0 or not by_light]
        part = crop(plane, max(margin - near, 0))
        padded = _fast_sized(part)
        shape, spectrum = (padded.shape[-2], padded.shape[-1]), torch.fft.rfft2(padded)
        transfers = wiener_transfers(self.optics, level_px, noise, tuple(targets), shape, plane.device)
        filtered = [torch.fft.irfft2(spectrum * transfer, s=shape) for transfer in transfers]

        def inner(image: Tensor) -> Tensor:
            return crop(image[..., : part.shape[-2], : part.shape[-1]], min(margin, near))

        light = [crop(image, margin) for image in self._light(plane, level_px, noise)]
        copies = [inner(image) for image in filtered]
        known, ladder = copies[: len(REGULARISATIONS)], copies[len(REGULARISATIONS) :]
        if by_light and rungs[0] == 0:
            ladder.insert(0, light[1])
        return PhysicsCopies((*known, *light), torch.cat(ladder, 1), rungs)

    def _light(self, plane: Tensor, level_px: float, noise: float) -> tuple[Tensor, ...]:
        """Three copies that are not negative, from smooth to detailed; of a wide blur, on pixels binned by two."""
        bins = 2 if level_px >= _BINNED_FROM else 1
        data = F.avg_pool2d(plane, bins)
        height, width = data.shape[-2:]
        data = _fast_sized(data)
        shape = (data.shape[-2], data.shape[-1])
        blur = otf(binned_psf(self.optics, level_px, bins).to(plane.device), shape)
        data = _tapered(data, blur, round(level_px) + 4)
        if bins == 1:
            kappa, iterations = _NARROW, max(round(1.3 * level_px), 1)
        else:
            # The wider the blur, the less a white-noise model may smooth and the more is left to the likelihood.
            kappa, iterations = min(max(5000 / level_px, 300.0), 1000.0), round(min(max(1.4 * level_px, 8), 32))
        smooth = nonnegative_wiener(data, blur, kappa * max(noise, LEAST_NOISE) ** 2, _CONSTRAINED)
        start, steps = smooth.clamp(min=_LIFT), (iterations, round(_LATE * iterations))
        copies: list[Tensor] = [smooth, *richardson_lucy(data, start, blur, steps)]
        if not camera_limited(self.optics):  # these are the specimen; the sharpest image is the one in focus
            focus = otf(binned_psf(self.optics, 0.0, bins).to(plane.device), shape)
            copies = [blur_by(copy, focus) for copy in copies]
        copies = [copy[..., :height, :width] for copy in copies]
        return tuple(copies) if bins == 1 else tuple(_double(copy) for copy in copies)


def _tapered(image: Tensor, blur: Tensor, width: int) -> Tensor:
    """Image that runs over its edges as a periodic one would: blurred once more within `width` px of them."""
    window = torch.outer(*(_ramp(n, width) for n in image.shape[-2:])).to(image.device)
    return torch.lerp(blur_by(image, blur), image, window)


def _ramp(n: int, width: int) -> Tensor:
    """From 0 at both ends of n pixels to 1 from `width` px on."""
    edge = torch.minimum(torch.arange(n) + 0.5, n - 0.5 - torch.arange(n)) / min(width, n / 2)
    return 0.5 - 0.5 * torch.cos(torch.pi * edge.clamp(max=1))


def _eights(n: float) -> int:
    return -(-math.ceil(n) // 8) * 8


def _fast_sized(plane: Tensor) -> Tensor:
    """Plane continued at its lower and right edge to a size with a fast Fourier transform."""
    more = [next_fast_len(n, real=True) - n for n in plane.shape[-2:]]
    return F.pad(plane, (0, more[1], 0, more[0]), mode="replicate")


def _double(image: Tensor) -> Tensor:
    """Bicubic enlargement of (B, 1, Y, X) by two, as one convolution with four phases."""
    taps = [[-4.5, 33.5, 112.5, -13.5, 0.0], [0.0, -13.5, 112.5, 33.5, -4.5]]  # a quarter pixel to either side
    phases = torch.tensor(taps, device=image.device) / 128
    kernels = torch.einsum("ay,bx->abyx", phases, phases).reshape(4, 1, 5, 5)
    return F.pixel_shuffle(F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernels), 2)
