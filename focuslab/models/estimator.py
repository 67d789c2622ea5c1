"""Blur level of a plane, read from the plane itself.

A small convolutional network looks at the plain plane (not at deconvolved copies, which would need the level),
pools over the whole field the places that it trusts, and says the logarithm of the blur radius together with the
odds that there is any structure to judge by. One level per plane, never per tile.
"""

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from focuslab.models.autoencoder import signed_sqrt

__all__ = ["EstimatorConfig", "LevelEstimator"]


class EstimatorConfig(BaseModel):
    """Size of a `LevelEstimator`; stored in the model card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(24, 32, 48, 64, 96), description="channels after each halving")


class LevelEstimator(nn.Module):
    """Planes (B, 1, Y, X) and sampling numbers (B, 1) to blur levels in px and odds of structure.

    Notes
    -----
    Planes are normalised to 0 in the dark; Y and X are at least 32.
    """

    def __init__(self, config: EstimatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or EstimatorConfig()
        widths = self.config.widths
        self.enter = nn.Conv2d(2, widths[0], 3, stride=2, padding=1)
        self.steps = nn.ModuleList()
        for narrow, wide in zip(widths[:-1], widths[1:], strict=True):
            self.steps.append(nn.Conv2d(narrow, narrow, 3, padding=1))
            self.steps.append(nn.Conv2d(narrow, wide, 3, stride=2, padding=1))
        self.attention = nn.Conv2d(widths[-1], widths[-1], 1)
        self.read = nn.Sequential(nn.Linear(2 * widths[-1] + 2, 96), nn.ReLU(), nn.Linear(96, 2))

    def forward(self, planes: Tensor, sampling: Tensor) -> tuple[Tensor, Tensor]:
        """Return log(1 + level) (B,) and the logit of "there is structure" (B,)."""
        smooth = F.avg_pool2d(planes, 5, 1, 2, count_include_pad=False)
        x = self.enter(torch.cat([signed_sqrt(planes), 4 * (planes - smooth)], 1))
        for step in self.steps:
            x = step(F.relu(x))
        x = x.float()
        weight = self.attention(F.relu(x)).float().flatten(2).softmax(-1)
        pooled = (x.flatten(2) * weight).sum(-1)
        spread = x.flatten(2).mean(-1)
        with torch.autocast(x.device.type, enabled=False):
            out = self.read(torch.cat([pooled, spread, sampling.log(), sampling], 1))
        return out[:, 0], out[:, 1]
