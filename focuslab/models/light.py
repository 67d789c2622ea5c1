"""Copies of a plane that know that light is not negative.

The constrained Wiener filter and, from it, an early and a late accelerated Richardson-Lucy (see `restoration`), as long
as the blur is wide: by its equivalent radius, not its level, because the same level of NA 0.95 takes half the detail of
that of NA 0.5. A wide blur is undone on a grid binned by two, which holds all the detail that can be had. What is found
is the specimen; where diffraction limits the sharpest image, it is imaged in focus once more.
"""

import math

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from focuslab.models.restoration import blur_by, nonnegative_wiener, richardson_lucy
from focuslab.models.wiener import LEAST_NOISE, binned_psf, camera_limited
from focuslab.optics.optics import Optics
from focuslab.optics.pupil import otf
from focuslab.optics.radial import equivalent_radius

__all__ = ["fast_sized", "light_copies"]

_BINNED_FROM = 5.0  # equivalent radius, px, from which the non-negative copies are made on a grid binned by two
_NARROW = 25000.0  # regularisation of the constrained Wiener filter below it
_CONSTRAINED = 8  # iterations of the constrained Wiener filter
_LATE = 3  # times as many iterations for the last copy: sparse specimens gain from more, dense ones from fewer
_LIFT = 0.03  # light with which Richardson-Lucy starts in the dark: it cannot leave zero


def light_copies(optics: Optics, plane: Tensor, level_px: float, noise: float) -> tuple[Tensor, ...]:
    """Three copies of a plane (B, 1, Y, X) that are not negative, from smooth to detailed.

    Parameters
    ----------
    optics
        The microscope.
    plane
        Normalised to 0 in the dark.
    level_px
        Blur level of the plane.
    noise
        Standard deviation of its noise.
    """
    radius = equivalent_radius(optics, level_px)
    bins = 2 if radius >= _BINNED_FROM else 1
    data = F.avg_pool2d(plane, bins)
    height, width = data.shape[-2:]
    data = fast_sized(data)
    shape = (data.shape[-2], data.shape[-1])
    blur = otf(binned_psf(optics, level_px, bins).to(plane.device), shape)
    data = _tapered(data, blur, round(level_px) + 4)
    if bins == 1:
        kappa, iterations = _NARROW, max(round(0.55 * radius**1.85), 1)
    else:
        # The wider the blur, the less a white-noise model may smooth and the more is left to the likelihood.
        kappa, iterations = min(max(5000 / radius, 300.0), 1000.0), round(min(max(1.25 * radius, 6), 28))
    smooth = nonnegative_wiener(data, blur, kappa * max(noise, LEAST_NOISE) ** 2, _CONSTRAINED)
    start, steps = smooth.clamp(min=_LIFT), (iterations, _LATE * iterations)
    copies: list[Tensor] = [smooth, *richardson_lucy(data, start, blur, steps)]
    if not camera_limited(optics):  # these are the specimen; the sharpest image is the one in focus
        focus = otf(binned_psf(optics, 0.0, 1).to(plane.device), (bins * shape[0], bins * shape[1]))
        copies = [_imaged(copy, focus, bins) for copy in copies]
        return tuple(copy[..., : bins * height, : bins * width] for copy in copies)
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
