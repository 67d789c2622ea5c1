"""What the power spectrum of a plane says about its blur.

Spectra of specimens fall about as a power of the frequency, whatever they are; blur multiplies them by the square of
its transfer function, which has dips of its own; noise lies on all of it. So at every trial level

    P(f) = A f^b |T(f)|^2 + N

is fitted to the radial spectrum, A and b being free and N measured beyond the frequencies of the rows and columns. How
well it fits shows the level where the dips stand out of the noise, dense specimens included, of which light that is
nowhere negative says little (see `evidence`); which b it takes shows it where a specimen would have to be too smooth or
too rough.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from focuslab.models.wiener import LEAST_NOISE
from focuslab.optics.optics import Optics
from focuslab.optics.radial import radial_otf

__all__ = ["fit_spectrum", "radial_power", "radial_spectrum"]

_EDGES = torch.cat([torch.tensor([0.008]), torch.logspace(math.log10(0.012), math.log10(0.5), 57)])  # cycles/px
_FREQUENCY = (_EDGES[1:] * _EDGES[:-1]).sqrt()
_MIDDLE = 0.1  # cycles/px that A stands at
_PER_SAMPLE = 4  # pixels of a spectrum that say one thing: it is symmetric, and the window makes neighbours alike
_TRUE_TO = 0.15  # standard deviation of the logarithm of a specimen's spectrum about a power of the frequency
_OUTLIER = 0.7  # of that logarithm: beyond it, residuals count linearly
_USUAL, _HELD = -2.2, 1e-3  # exponent that is taken where nothing is said of it, and by how little it is held there
_STEPS = 20


def radial_power(plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Power of a plane (Y, X) over rings of its spectrum.

    Returns
    -------
    tuple
        Mean power (F,), variance per pixel for white noise; independent samples of each (F,), 0 where there is none;
        mean power beyond 0.5 cycles/px, a number.
    """
    (height, width), there = plane.shape, plane.device
    inside, window = _windowed(plane)
    power = torch.fft.fft2(inside).abs().square() / window.square().sum()
    rows, columns = torch.fft.fftfreq(height, device=there), torch.fft.fftfreq(width, device=there)
    ring = torch.bucketize(torch.hypot(rows[:, None], columns[None]).flatten(), _EDGES.to(there))
    total, count = (torch.zeros(len(_EDGES) + 1, device=there) for _ in range(2))
    total.index_add_(0, ring, power.flatten())
    count.index_add_(0, ring, torch.ones_like(power).flatten())
    mean = total / count.clamp(min=1)
    return mean[1:-1], count[1:-1] / _PER_SAMPLE, mean[-1].clamp(min=LEAST_NOISE**2)


def fit_spectrum(plane: Tensor, optics: Optics, levels_px: tuple[float, ...]) -> Tensor:
    """Fit a power of the frequency [1]_, blurred to each of `levels_px`, to the spectrum of a plane.

    Parameters
    ----------
    plane
        (Y, X), linear normalised intensity.
    optics
        The microscope that took it.
    levels_px
        Blur levels that are tried, px.

    Returns
    -------
    Tensor (2, len(levels_px))
        Logarithms of the residual, and exponents b.

    References
    ----------
    .. [1] D. J. Field, "Relations between the statistics of natural images and the response properties of cortical
           cells", J. Opt. Soc. Am. A 4, 2379 (1987), doi 10.1364/JOSAA.4.002379.
    """
    power, samples, noise = radial_power(plane)
    known = samples > 0
    weight = known / (1 / samples.clamp(min=1 / _PER_SAMPLE) + _TRUE_TO**2)
    weight, floor = weight / weight.sum(), noise.log()
    x = (_FREQUENCY / _MIDDLE).log().to(plane.device)
    seen = torch.where(known, power, noise).clamp(min=1e-3 * noise).log()
    blur = 2 * _transfer(optics.model_dump_json(), levels_px).abs().clamp(min=1e-6).log().to(plane.device)
    first = int(known.int().argmax())
    b = torch.full((len(levels_px), 1), _USUAL, device=plane.device)
    a = seen[first] - b * x[first]
    for _ in range(_STEPS):  # Gauss and Newton's, residuals weighed by Huber's function
        signal = a + b * x + blur
        slope = torch.sigmoid(signal - floor)  # of the logarithm of the sum in that of the signal
        residual = seen - torch.logaddexp(signal, floor.expand_as(signal))
        heavy = weight / (residual.abs() / _OUTLIER).clamp(min=1) * slope
        aa, ab, bb = ((heavy * slope * x**n).sum(1, keepdim=True) for n in range(3))
        ra, rb = ((heavy * residual * x**n).sum(1, keepdim=True) for n in range(2))
        aa, bb, rb = aa + _HELD / 10, bb + _HELD, rb - _HELD * (b - _USUAL)
        whole = aa * bb - ab**2
        a = a + ((bb * ra - ab * rb) / whole).clamp(-2, 2)
        b = (b + ((aa * rb - ab * ra) / whole).clamp(-1, 1)).clamp(-6, 3)
    signal = a + b * x + blur
    error = (seen - torch.logaddexp(signal, floor.expand_as(signal))).abs()
    huber = torch.where(error < _OUTLIER, error**2, _OUTLIER * (2 * error - _OUTLIER))
    return torch.stack([0.5 * ((weight * huber).sum(1) + 1e-4).log(), b[:, 0]])


def radial_spectrum(planes: Tensor, bins: int) -> Tensor:
    """Logarithm of the radial power over the noise floor, at fixed frequencies.

    Parameters
    ----------
    planes
        (B, 1, Y, X), of any size.
    bins
        Number of frequencies, evenly spaced in their logarithm from 0.01 to 0.5 cycles/px.

    Returns
    -------
    Tensor (B, bins)
        log10(power / floor) / 2, the floor being the mean over the corners of the spectrum (beyond 0.5 cycles/px).
    """
    height, width = planes.shape[-2:]
    device = planes.device
    power = torch.fft.rfft2(_windowed(planes)[0])[:, 0].abs().square()
    fy, fx = torch.fft.fftfreq(height, device=device), torch.fft.rfftfreq(width, device=device)
    size = max(height, width)
    ring = (torch.hypot(fy[:, None], fx[None, :]) * size).round().long().flatten()
    rings = size // 2 + 1
    total = torch.zeros(len(planes), int(ring.max()) + 1, device=device).index_add_(1, ring, power.flatten(1))
    count = torch.zeros(total.shape[1], device=device).index_add_(0, ring, torch.ones_like(ring, dtype=power.dtype))
    floor = total[:, rings:].sum(1, keepdim=True) / count[rings:].sum()
    profile = torch.log10((total / count.clamp(min=1) + 1e-12) / (floor + 1e-12))[:, :rings]
    wanted = torch.logspace(-2, math.log10(0.5), bins).to(device) * size  # not made on every kind of device
    below = wanted.long().clamp(1, rings - 2)
    share = (wanted - below).clamp(0, 1)
    return torch.lerp(profile[:, below], profile[:, below + 1], share) / 2


def _windowed(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Planes (..., Y, X) less their mean, under Hann's window, and the window."""
    (height, width), there = planes.shape[-2:], planes.device
    window = torch.outer(torch.hann_window(height, device=there), torch.hann_window(width, device=there))
    mean = (planes * window).sum((-2, -1), keepdim=True) / window.sum()
    return (planes - mean) * window, window


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _transfer(key: str, levels_px: tuple[float, ...]) -> Tensor:
    """Transfer (levels, F) of planes and pixels."""
    return radial_otf(Optics.model_validate_json(key), levels_px, _FREQUENCY) * torch.sinc(_FREQUENCY)
