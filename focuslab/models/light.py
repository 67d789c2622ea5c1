"""Copies of a plane that know that light is not negative.

The constrained Wiener filter and, from it, a short accelerated Richardson-Lucy (see `restoration`): right for dense
specimens. And Richardson-Lucy from the plane itself, stopped early and late: it starts without noise and without rings,
and finds filaments and puncta that the others do not. A wide blur (by its equivalent radius, not its level, because the
same level of NA 0.95 takes half the detail of that of NA 0.5) is undone on a grid binned by two, which holds nearly all
the detail that can be had; small points need the camera's own grid for the last iterations. What is found is the
specimen; where diffraction limits the sharpest image, it is imaged in focus once more.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from focuslab.models.restoration import blur_by, nonnegative_wiener, richardson_lucy
from focuslab.models.wiener import LEAST_NOISE, binned_psf, camera_limited
from focuslab.optics.optics import Optics
from focuslab.optics.pupil import otf
from focuslab.optics.radial import equivalent_radius

__all__ = ["LightCopies", "fast_sized", "light_copies"]

_BINNED_FROM = 5.0  # equivalent radius, px, from which the non-negative copies are made on a grid binned by two
_NARROW = 25000.0  # regularisation of the constrained Wiener filter below it
_CONSTRAINED = 8  # iterations of the constrained Wiener filter
_LIFT = 0.1  # light with which Richardson-Lucy starts in the dark of a filtered plane: it leaves zero slowly
_FAINT = 0.02  # and of a plane as it is
_NARROW_STEPS = (2.0, 4.0)  # iterations from the plane itself, for each px of a narrow blur
_COARSE_STEPS = 3.0  # of a wide blur on the binned grid
_MOST_STEPS = 90
_FINE_STEPS = (6, 16)  # and then on the camera's grid
_FINE_UP_TO = 20.0  # equivalent radius, px, from which the camera's grid brings no more


@dataclass(frozen=True, slots=True)
class LightCopies:
    """Sharpest images (B, 1, Y, X) that are not negative.

    Attributes
    ----------
    smooth, early
        Constrained Wiener filter, and a short Richardson-Lucy from it.
    plain, detailed
        Richardson-Lucy from the plane itself, stopped early and late. Seen out of focus again, `detailed` is the best.
    """

    smooth: Tensor
    early: Tensor
    plain: Tensor
    detailed: Tensor


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
    bins = 2 if radius >= _BINNED_FROM else 1
    if bins == 1:
        kappa, iterations = _NARROW, max(round(0.55 * radius**1.85), 1)
    else:
        # The wider the blur, the less a white-noise model may smooth and the more is left to the likelihood.
        kappa, iterations = min(max(5000 / radius, 300.0), 1000.0), round(min(max(1.25 * radius, 6), 28))
    weight = kappa * torch.as_tensor(noise).clamp(min=LEAST_NOISE) ** 2
    data, blur = _on_grid(optics, light, level_px, bins)
    smooth = nonnegative_wiener(data, blur, weight, _CONSTRAINED)
    (early,) = richardson_lucy(data, smooth.clamp(min=_LIFT), blur, (iterations,))
    fine = 1 if radius < _FINE_UP_TO else bins
    plain, detailed = _from_plane(data, blur, bins, *_on_grid(optics, light, level_px, fine), fine, radius)
    smooth, early = (_seen(optics, specimen, bins, light) - floor for specimen in (smooth, early))
    plain, detailed = (_seen(optics, specimen, fine, light) - floor for specimen in (plain, detailed))
    return LightCopies(smooth, early, plain, detailed)


def _from_plane(
    coarse: Tensor, coarse_blur: Tensor, bins: int, plane: Tensor, blur: Tensor, fine: int, radius: float
) -> list[Tensor]:
    """Specimens, early and late, by Richardson-Lucy from the plane: on the coarse grid first if the blur is wide."""
    if bins == 1:
        steps = [max(round(each * radius), 1) for each in _NARROW_STEPS]
        return richardson_lucy(plane, plane.clamp(min=_FAINT), blur, steps)
    steps = [round(min(_COARSE_STEPS * radius, _MOST_STEPS))]
    (found,) = richardson_lucy(coarse, coarse.clamp(min=_FAINT), coarse_blur, steps)
    if fine < bins:
        found = F.interpolate(found, scale_factor=bins // fine, mode="bilinear", align_corners=False)
        found = _sized(found, plane)
    return richardson_lucy(plane, found, blur, _FINE_STEPS)


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


def _sized(image: Tensor, like: Tensor) -> Tensor:
    """Image cut, or continued at its lower and right edge, to the size of another."""
    height, width = like.shape[-2:]
    image = image[..., :height, :width]
    return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]), mode="replicate")


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
