"""Blur level of a plane, read from the plane itself.

Two views of the plain plane (not of deconvolved copies, which would need the level) are read together:

- its radial power spectrum, signal over noise floor: defocus multiplies it by |OTF|^2, whose fall and dark rings lie
  at frequencies set by the blur radius;
- a small convolutional network that pools over the field the places that it trusts.

Out come the logarithm of the blur radius and the odds that there is any structure to judge by. One level per plane,
never per tile.
"""

import itertools

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from focuslab.models.autoencoder import signed_sqrt

__all__ = ["EstimatorConfig", "LevelEstimator", "radial_spectrum"]


class EstimatorConfig(BaseModel):
    """Size of a `LevelEstimator`; stored in the model card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(16, 32, 48, 64), description="channels after each halving")
    bins: int = Field(default=48, description="frequencies of the radial spectrum")
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
            nn.Linear(2 * widths[-1] + self.config.bins + 2, hidden),
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
            out = self.read(torch.cat([trusted, mean, spectrum, sampling.log(), sampling], 1))
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
