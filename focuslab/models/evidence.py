"""What a plane says about its own blur.

A plane is explained by a level if some specimen that is nowhere darker than the dark, blurred by that level, comes
close to it. Too small a level explains any plane: a blurred image is an image. At the true level the explanation
is good; beyond it ringing would have to be negative, and the misfit rises steeply. So the misfit is tried at a series
of levels, by the constrained Wiener filter of `restoration`; the true level shows as the last dip of the curve. Where
there are a few faint structures, noise drowns the dip: two further curves weigh the misfit by the light around it, and
take the mean over 2 x 2 and 4 x 4 px before it is squared. Where structures fill the plane, no light would be negative:
two curves say how well each level explains the power spectrum (see `spectrum`). Beside them stands that spectrum,
signal over noise floor, for planes that are hardly blurred at all.

The part of the plane that is tried is the most structured one of a side in proportion to the level: on binned pixels
every level costs the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.models.noise import noise_sigma
from focuslab.models.restoration import blur_by, nonnegative_wiener
from focuslab.models.spectrum import fit_spectrum, radial_spectrum
from focuslab.models.wiener import LEAST_NOISE
from focuslab.optics import Optics, camera_otf, crop, mirror_pad

__all__ = [
    "CURVES",
    "EVIDENCE",
    "FITS",
    "SPECTRUM_BINS",
    "TRIAL_LEVELS",
    "Evidence",
    "gather_evidence",
    "mean_evidence",
    "structured",
]

TRIAL_LEVELS = tuple(round(1.08**i, 4) for i in range(51))
CURVES, FITS = 3, 2  # of the misfit, and of the fitted spectrum
EVIDENCE = 2  # edition of what the evidence is: readers that learnt from another are of no use
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


class Evidence(NamedTuple):
    """Evidence of a batch of planes.

    Attributes
    ----------
    misfit
        (B, CURVES, len(TRIAL_LEVELS)) logarithms of the misfit over the noise.
    fit
        (B, FITS, 1 + len(TRIAL_LEVELS)), see `fit_spectrum`, the first for a plane in focus.
    spectrum
        (B, SPECTRUM_BINS), see `radial_spectrum`.
    facts
        (B, 2) logarithms of the noise and of the sampling number.
    """

    misfit: Tensor
    fit: Tensor
    spectrum: Tensor
    facts: Tensor

    def to(self, device: torch.device) -> "Evidence":
        """Return the evidence on a device."""
        return Evidence(*(part.to(device) for part in self))


def mean_evidence(said: Sequence[Evidence]) -> Evidence:
    """Evidence of several parts of one plane, averaged."""
    return Evidence(*(torch.stack(same).mean(0) for same in zip(*said, strict=True)))


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
    fit = fit_spectrum(plane, optics, (0.0, *TRIAL_LEVELS))
    return Evidence(torch.cat(curves, 1)[None], fit[None], radial_spectrum(plane[None, None], SPECTRUM_BINS), facts)


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
