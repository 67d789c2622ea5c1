"""What a plane says about its own blur.

A plane is explained by a level if some specimen that is nowhere darker than the dark, blurred by that level, comes
close to it. Too small a level explains any plane: a blurred image is an image. At the true level the explanation
is good; beyond it ringing would have to be negative, and the misfit rises steeply. So the misfit is tried at a series
of levels, by the constrained Wiener filter of `restoration`; the true level shows as the last dip of the curve. Where
there are a few faint structures, noise drowns the dip: two further curves weigh the misfit by the light around it, and
take the mean over 2 x 2 and 4 x 4 px before it is squared. Beside them stands the radial power spectrum, signal over
noise floor, for planes that are hardly blurred at all.

The part of the plane that is tried is the most structured one of a side in proportion to the level: on binned pixels
every level costs the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.models.frontend import noise_sigma
from focuslab.models.restoration import blur_by, nonnegative_wiener
from focuslab.models.wiener import LEAST_NOISE
from focuslab.optics import Optics, camera_otf, crop, mirror_pad

__all__ = [
    "CURVES",
    "SPECTRUM_BINS",
    "TRIAL_LEVELS",
    "Evidence",
    "gather_evidence",
    "mean_evidence",
    "radial_spectrum",
    "structured",
]

TRIAL_LEVELS = tuple(round(1.08**i, 4) for i in range(51))
CURVES = 3
SPECTRUM_BINS = 48
_SCALES = ((1, 0.0, 3.4), (2, 3.4, 11.5), (4, 11.5, 64.0))  # binning, levels from, to
_SIDE = 144  # binned px
_MARGIN = 24  # binned px
_ITERATIONS = 8
_PENALTY = 0.003
_REGULARISATION = 100.0  # over the variance of the noise
_FLOOR = 0.02  # light below which noise no longer falls
_POOLS = (2, 4)  # binned px that the misfit is averaged over before it is squared
_AROUND = 9  # binned px that light is averaged over to weigh the misfit
_DARK = 4  # px that noise is averaged over to tell the dark


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence of a batch of planes.

    Attributes
    ----------
    misfit
        (B, CURVES, len(TRIAL_LEVELS)) logarithms of the misfit over the noise.
    spectrum
        (B, SPECTRUM_BINS), see `radial_spectrum`.
    facts
        (B, 2) logarithms of the noise and of the sampling number.
    """

    misfit: Tensor
    spectrum: Tensor
    facts: Tensor

    def to(self, device: torch.device) -> "Evidence":
        """Return the evidence on a device."""
        return Evidence(self.misfit.to(device), self.spectrum.to(device), self.facts.to(device))


def mean_evidence(said: Sequence[Evidence]) -> Evidence:
    """Evidence of several parts of one plane, averaged."""
    return Evidence(
        torch.stack([e.misfit for e in said]).mean(0),
        torch.stack([e.spectrum for e in said]).mean(0),
        torch.stack([e.facts for e in said]).mean(0),
    )


@torch.no_grad()
def gather_evidence(plane: Tensor, optics: Optics) -> Evidence:
    """Evidence of one plane (Y, X), normalised to 0 in the dark and 1 at its brightest, of at least 16 x 16 px."""
    noise = float(noise_sigma(plane[None, None]).clamp(min=LEAST_NOISE))
    plane = plane - _dark(plane)
    curves = []
    for bins, low, high in _SCALES:
        levels = tuple(level for level in TRIAL_LEVELS if low <= level < high)
        curves.append(_misfit(structured(plane, _SIDE * bins), optics, levels, bins, noise))
    facts = torch.tensor([[noise, optics.sampling]], device=plane.device).log()
    return Evidence(torch.cat(curves, 1)[None], radial_spectrum(plane[None, None], SPECTRUM_BINS), facts)


def _dark(plane: Tensor) -> Tensor:
    """What the plane is where it is darkest, noise apart: light that is nowhere negative is so from there."""
    coarse = F.avg_pool2d(plane[None], _DARK).flatten()
    return torch.quantile(coarse[:: max(coarse.numel() // 100_000, 1)], 0.005)


def _misfit(part: Tensor, optics: Optics, levels: tuple[float, ...], bins: int, noise: float) -> Tensor:
    """Logarithms (CURVES, levels) of the misfit of a part of a plane at each level, in units of its noise."""
    if min(part.shape) >= 2 * bins:
        part = F.avg_pool2d(part[None], bins)[0]
    data = mirror_pad(part, _MARGIN)
    transfer = camera_otf(optics, levels, (data.shape[-2], data.shape[-1]), bins, part.device)
    planes, weight = data.expand(len(levels), -1, -1), _REGULARISATION * noise**2
    light = nonnegative_wiener(planes, transfer, weight, _ITERATIONS, penalty=_PENALTY)
    error, seen = crop(blur_by(light, transfer) - data, _MARGIN), crop(data, _MARGIN)
    expected = noise / bins  # standard deviation of the noise of a binned pixel
    squares = [(error.square() / (seen.clamp(min=0) + _FLOOR)).mean((-2, -1)) / expected**2]
    around = F.avg_pool2d(seen[None], _AROUND, 1, _AROUND // 2, count_include_pad=False)[0].clamp(min=0).square() + 1e-6
    for pool in _POOLS:
        near, mean = F.avg_pool2d(around[None], pool), F.avg_pool2d(error, pool)
        squares.append((near * mean.square()).mean((-2, -1)) / near.mean() * (pool / expected) ** 2)
    return 0.5 * torch.log(torch.stack(squares) + 1e-6)


def structured(plane: Tensor, side: int) -> Tensor:
    """Part of a plane, at most `side` px square, where the contrast of its square root is highest."""
    height, width = plane.shape
    if height <= side and width <= side:
        return plane
    size, coarse = (min(side, height) // 16, min(side, width) // 16), F.avg_pool2d(plane[None, None], 16)
    root = coarse.clamp(min=0).sqrt()
    spread = F.avg_pool2d(root.square(), size, 1) - F.avg_pool2d(root, size, 1).square()
    best = int(spread.argmax())
    y, x = (16 * i for i in divmod(best, spread.shape[-1]))
    return plane[y : y + side, x : x + side]


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
    window = torch.outer(torch.hann_window(height, device=device), torch.hann_window(width, device=device))
    mean = (planes * window).sum((-2, -1), keepdim=True) / window.sum()
    power = torch.fft.rfft2((planes - mean) * window)[:, 0].abs().square()
    fy, fx = torch.fft.fftfreq(height, device=device), torch.fft.rfftfreq(width, device=device)
    size = max(height, width)
    ring = (torch.hypot(fy[:, None], fx[None, :]) * size).round().long().flatten()
    rings = size // 2 + 1
    total = torch.zeros(len(planes), int(ring.max()) + 1, device=device).index_add_(1, ring, power.flatten(1))
    count = torch.zeros(total.shape[1], device=device).index_add_(0, ring, torch.ones_like(ring, dtype=power.dtype))
    floor = total[:, rings:].sum(1, keepdim=True) / count[rings:].sum()
    profile = torch.log10((total / count.clamp(min=1) + 1e-12) / (floor + 1e-12))[:, :rings]
    wanted = torch.logspace(-2, torch.tensor(0.5).log10().item(), bins, device=device) * size
    below = wanted.long().clamp(1, rings - 2)
    share = (wanted - below).clamp(0, 1)
    return torch.lerp(profile[:, below], profile[:, below + 1], share) / 2
