"""Blur level of a plane, read from the plane itself.

Three views of the plane are read together:

- its radial power spectrum, signal over noise floor: defocus multiplies it by |OTF|^2, whose fall and dark rings lie
  at frequencies set by the blur radius;
- how it answers to being deconvolved at a series of trial levels: below the true level it stays smooth, above it
  rings, goes negative and loses its sparse gradients;
- a small convolutional network that pools over the field the places that it trusts.

Out come the logarithm of the blur radius and the odds that there is any structure to judge by. One level per plane,
never per tile. The trial OTFs are the closed form of Stokseth, which needs only the level and the sampling.

References
----------
.. [1] P. A. Stokseth, "Properties of a defocused optical system", J. Opt. Soc. Am. 59, 1314 (1969),
       doi 10.1364/JOSA.59.001314.
"""

import itertools

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from focuslab.models.autoencoder import signed_sqrt
from focuslab.models.frontend import noise_sigma, wiener_gain

__all__ = ["EstimatorConfig", "LevelEstimator", "radial_spectrum", "stokseth_otf", "trial_answers"]

_ANSWERS = 4  # figures per trial level
_RINGS = 512  # frequencies per cycle/px at which radial filters are tabulated
_LARGEST_TRIAL = 224  # px: side of the part of the plane that is deconvolved


class EstimatorConfig(BaseModel):
    """Size of a `LevelEstimator`; stored in the model card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(16, 32, 48, 64), description="channels after each halving")
    bins: int = Field(default=48, description="frequencies of the radial spectrum")
    trials: int = Field(default=12, description="levels at which the plane is deconvolved")
    hidden: int = Field(default=192, description="width of the reading layers")


class LevelEstimator(nn.Module):
    """Planes (B, 1, Y, X) and sampling numbers (B, 1) to blur levels in px and odds of structure.

    Notes
    -----
    Planes are normalised to 0 in the dark; Y and X are at least 16.
    """

    def __init__(self, config: EstimatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or EstimatorConfig()
        widths, hidden = self.config.widths, self.config.hidden
        self.enter = nn.Conv2d(1, widths[0], 3, stride=2, padding=1)
        self.steps = nn.ModuleList()
        for narrow, wide in itertools.pairwise(widths):
            self.steps.append(nn.Conv2d(narrow, narrow, 3, padding=1))
            self.steps.append(nn.Conv2d(narrow, wide, 3, stride=2, padding=1))
        self.attention = nn.Conv2d(widths[-1], widths[-1], 1)
        self.read = nn.Sequential(
            nn.Linear(2 * widths[-1] + self.config.bins + 2 + _ANSWERS * self.config.trials, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2),
        )

    def forward(self, planes: Tensor, sampling: Tensor) -> tuple[Tensor, Tensor]:
        """Return log(1 + level) (B,) and the logit of "there is structure" (B,)."""
        x = self.enter(signed_sqrt(F.avg_pool2d(planes, 2)))
        for step in self.steps:
            x = step(F.relu(x))
        x = x.float()
        weight = self.attention(F.relu(x)).float().flatten(2).softmax(-1)
        trusted, mean = (x.flatten(2) * weight).sum(-1), x.flatten(2).mean(-1)
        with torch.autocast(x.device.type, enabled=False):
            spectrum = radial_spectrum(planes.float(), self.config.bins)
            answers = trial_answers(planes.float(), sampling, self.config.trials)
            out = self.read(torch.cat([trusted, mean, spectrum, sampling.log(), sampling, answers], 1))
        return out[:, 0], out[:, 1]


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


@torch.no_grad()
def trial_answers(planes: Tensor, sampling: Tensor, trials: int) -> Tensor:
    """How planes look when they are deconvolved at trial levels from 1.5 to 45 px.

    Returns
    -------
    Tensor (B, 4 * trials)
        Contrast, negativity, sparsity of the gradient and kurtosis at every level, as logarithms.
    """
    height, width = (min(n, _LARGEST_TRIAL) for n in planes.shape[-2:])
    top, left = (planes.shape[-2] - height) // 2, (planes.shape[-1] - width) // 2
    part = planes[..., top : top + height, left : left + width]
    noise = noise_sigma(part).clamp(min=1e-3)[:, None, None, None]
    mean = part.mean((-2, -1), keepdim=True)
    taper = torch.outer(_taper(height), _taper(width)).to(part.device)
    spectrum = torch.fft.rfft2((part - mean) * taper)
    ring = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]) * _RINGS
    frequency = torch.arange(_RINGS, device=part.device) / _RINGS
    levels = torch.logspace(0.176, 1.653, trials, device=part.device)[None, :, None]
    gain = wiener_gain(stokseth_otf(frequency, levels, sampling[:, :, None]), noise[..., 0], frequency)
    trial = torch.fft.irfft2(spectrum * gain[..., ring.round().long().to(part.device)], s=(height, width))
    spread = trial.std((-2, -1), keepdim=True) + 1e-6
    trial = trial / spread
    floor = mean / spread
    negative = F.relu(-(trial + floor)).mean((-2, -1))
    steps = torch.diff(trial, dim=-1).flatten(2)
    sparsity = steps.abs().mean(-1) / (steps.square().mean(-1).sqrt() + 1e-6)
    kurtosis = trial.square().square().mean((-2, -1))
    answers = [spread[..., 0, 0].log(), (negative + 1e-3).log(), sparsity.log() * 4, kurtosis.clamp(min=1).log()]
    return torch.cat(answers, 1) / 2


def stokseth_otf(frequency: Tensor, level_px: Tensor, sampling: Tensor) -> Tensor:
    """OTF of a defocused circular pupil in closed form [1]_.

    Parameters
    ----------
    frequency
        Cycles/px.
    level_px
        Radius of the geometric blur disc, px.
    sampling
        Sampling number c; the OTF ends at 2 c cycles/px.
    """
    share = (frequency / (2 * sampling)).clamp(max=1)
    focus = (1 - 0.69 * share + 0.0076 * share**2 + 0.043 * share**3) * (share < 1)
    x = (2 * torch.pi * level_px * frequency * (1 - share)).clamp(min=1e-4)
    return focus * 2 * torch.special.bessel_j1(x) / x


def _taper(n: int) -> Tensor:
    """Window that falls to 0 over the outer eighth of a side."""
    edge = torch.arange(n).add(0.5).minimum(n - torch.arange(n).sub(-0.5)) / (n / 8)
    return 0.5 - 0.5 * torch.cos(torch.pi * edge.clamp(0, 1))
