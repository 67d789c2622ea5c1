"""Copies of a plane that know that light is not negative.

Two suit dense specimens: the constrained Wiener filter and, from it, a short Richardson-Lucy (see `restoration`). Three
are Richardson-Lucy from the plane itself, stopped early, later and late: it starts without noise and without rings, and
finds filaments and puncta that the others do not. When it is best stopped depends on the specimen more than on anything
else: the brighter and the sparser, the later. A wide blur (by its equivalent radius, not its level, because the same
level of NA 0.95 takes half the detail of that of NA 0.5) is undone on a grid binned by two, which holds nearly all the
detail that can be had. What is found is the specimen; where diffraction limits the sharpest image, it is imaged in
focus once more.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from focuslab.models.restoration import back_projector, blur_by, nonnegative_wiener, richardson_lucy
from focuslab.models.wiener import LEAST_NOISE, binned_psf, camera_limited
from focuslab.optics.optics import Optics
from focuslab.optics.pupil import otf
from focuslab.optics.radial import equivalent_radius

__all__ = ["LightCopies", "fast_sized", "light_copies"]

_FILTER_BINNED_FROM = 5.0  # equivalent radius, px, from which the filtered copies are made on a grid binned by two
_NARROW = 25000.0  # regularisation of the constrained Wiener filter below it
_CONSTRAINED = 8  # iterations of the constrained Wiener filter
_LIFT = 0.1  # light with which Richardson-Lucy starts in the dark of a filtered plane: it leaves zero slowly
_FAINT = 0.02  # and of a plane as it is


class _Course(NamedTuple):
    """How Richardson-Lucy from the plane itself is run up to an equivalent radius."""

    up_to: float
    bins: int
    back: float  # weight of the back projector: the wider the blur, the more there is to be gained
    steps: tuple[float, float, float]  # iterations after which it is stopped, for each px


_COURSES = (
    _Course(5.0, 1, 1.0, (1.0, 2.3, 4.3)),
    _Course(9.0, 1, 0.3, (0.8, 1.6, 2.7)),
    _Course(math.inf, 2, 0.1, (0.75, 1.2, 1.8)),
)
_WIDEST = 15.0  # px for which more iterations are made


@dataclass(frozen=True, slots=True)
class LightCopies:
    """Sharpest images (B, 1, Y, X) that are not negative.

    Attributes
    ----------
    filtered
        Constrained Wiener filter, and a short Richardson-Lucy from it.
    stopped
        Richardson-Lucy from the plane itself, stopped early, later and late.
    """

    filtered: tuple[Tensor, Tensor]
    stopped: tuple[Tensor, Tensor, Tensor]


def light_copies(
    optics: Optics, plane: Tensor, level_px: float, noise: Tensor | float, floor: Tensor | float = 0.0
) -> LightCopies:
    """Copies of a plane (B, 1, Y, X) that are not negative.

    Parameters
    ----------
    optics
        The microscope.
    plane
        Normalised to 0 where it is darkest.
    level_px
        Blur level of the plane.
    noise
        Standard deviation of its noise, a number or (B, 1, 1, 1).
    floor
        How far below that the dark lies, a number or (B, 1, 1, 1), see `explain`: copies are not below -floor.
    """
    radius, light = equivalent_radius(optics, level_px), plane + floor
    smooth, early = (image - floor for image in _filtered(optics, light, level_px, radius, noise))
    first, second, third = (image - floor for image in _stopped(optics, light, level_px, radius))
    return LightCopies((smooth, early), (first, second, third))


def _filtered(optics: Optics, light: Tensor, level_px: float, radius: float, noise: Tensor | float) -> list[Tensor]:
    bins = 2 if radius >= _FILTER_BINNED_FROM else 1
    if bins == 1:
        kappa, iterations = _NARROW, max(round(0.55 * radius**1.85), 1)
    else:
        # The wider the blur, the less a white-noise model may smooth and the more is left to the likelihood.
        kappa, iterations = min(max(5000 / radius, 300.0), 1000.0), round(min(max(1.25 * radius, 6), 28))
    weight = kappa * torch.as_tensor(noise).clamp(min=LEAST_NOISE) ** 2
    data, blur = _on_grid(optics, light, level_px, bins)
    smooth = nonnegative_wiener(data, blur, weight, _CONSTRAINED)
    early = richardson_lucy(data, smooth.clamp(min=_LIFT), blur, (iterations,))
    return [_seen(optics, specimen, bins, light) for specimen in (smooth, *early)]


def _stopped(optics: Optics, light: Tensor, level_px: float, radius: float) -> list[Tensor]:
    course = next(course for course in _COURSES if radius < course.up_to)
    steps = [max(round(each * min(radius, _WIDEST)), i) for i, each in enumerate(course.steps, 1)]
    data, blur = _on_grid(optics, light, level_px, course.bins)
    back = back_projector(blur, course.back)
    found = richardson_lucy(data, data.clamp(min=_FAINT), blur, steps, back=back)
    return [_seen(optics, specimen, course.bins, light) for specimen in found]


def _on_grid(optics: Optics, light: Tensor, level_px: float, bins: int) -> tuple[Tensor, Tensor]:
    """Planes on a binned grid of a size with a fast Fourier transform, and the transfer function of their blur."""
    data = fast_sized(F.avg_pool2d(light, bins))
    blur = otf(binned_psf(optics, level_px, bins, light.device), (data.shape[-2], data.shape[-1]))
    return _tapered(data, blur, round(level_px) + 4), blur


def _seen(optics: Optics, specimen: Tensor, bins: int, like: Tensor) -> Tensor:
    """What the sharpest image of a specimen on a binned grid is on the camera's, of the size of `like`."""
    height, width = like.shape[-2:]
    if camera_limited(optics):  # the specimen itself
        part = specimen[..., : height // bins, : width // bins]
        return part if bins == 1 else _double(part)
    shape = (bins * specimen.shape[-2], bins * specimen.shape[-1])
    focus = otf(binned_psf(optics, 0.0, 1, like.device), shape)
    return _imaged(specimen, focus, bins)[..., :height, :width]


def _tapered(image: Tensor, blur: Tensor, width: int) -> Tensor:
    """Image that runs over its edges as a periodic one would: blurred once more within `width` px of them."""
    window = torch.outer(*(_ramp(n, width) for n in image.shape[-2:])).to(image.device)
    return torch.lerp(blur_by(image, blur), image, window)


def _ramp(n: int, width: int) -> Tensor:
    """From 0 at both ends of n pixels to 1 from `width` px on."""
    edge = torch.minimum(torch.arange(n) + 0.5, n - 0.5 - torch.arange(n)) / min(width, n / 2)
    return 0.5 - 0.5 * torch.cos(torch.pi * edge.clamp(max=1))


def fast_sized(plane: Tensor) -> Tensor:
    """Plane continued at its lower and right edge to a size with a fast Fourier transform."""
    more = [next_fast_len(n, real=True) - n for n in plane.shape[-2:]]
    return F.pad(plane, (0, more[1], 0, more[0]), mode="replicate")


def _imaged(specimen: Tensor, focus: Tensor, bins: int) -> Tensor:
    """In-focus image of a specimen (B, 1, Y, X) that is known on a grid `bins` times as coarse as the camera's."""
    spectrum = torch.fft.rfft2(specimen)
    height, width = bins * specimen.shape[-2], bins * specimen.shape[-1]
    if bins > 1:
        rows, columns = spectrum.shape[-2:]
        above = -(-rows // 2)
        coarse, spectrum = spectrum, spectrum.new_zeros((*spectrum.shape[:-2], height, width // 2 + 1))
        spectrum[..., :above, :columns] = coarse[..., :above, :]
        spectrum[..., above - rows :, :columns] = coarse[..., above:, :]
        fy, fx = (torch.fft.fftfreq(height), torch.fft.rfftfreq(width))
        offset = (bins - 1) / 2  # of the first binned pixel's centre from the first pixel's
        cycles = (fy[:, None] + fx[None, :]).to(focus.device) * -offset
        focus = focus * torch.polar(torch.full_like(cycles, bins**2), 2 * math.pi * cycles)
    return torch.fft.irfft2(spectrum * focus, s=(height, width))


def _double(image: Tensor) -> Tensor:
    """Bicubic enlargement of (B, 1, Y, X) by two, as one convolution with four phases."""
    taps = [[-4.5, 33.5, 112.5, -13.5, 0.0], [0.0, -13.5, 112.5, 33.5, -4.5]]  # a quarter pixel to either side
    phases = torch.tensor(taps, device=image.device) / 128
    kernels = torch.einsum("ay,bx->abyx", phases, phases).reshape(4, 1, 5, 5)
    return F.pixel_shuffle(F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernels), 2)
