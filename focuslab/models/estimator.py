"""Blur level of a plane, read from what the plane says about it.

The reader weighs the levels that were tried (see `evidence`) against each other: a few convolutions along the misfit
curve, told the power spectrum, the noise and the sampling, give every trial level a score, and a score to "sharper
than all of them". Out come a distribution over levels and the odds that there is any structure to judge by. One level
per plane, never per tile.
"""

import itertools

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from focuslab.models.evidence import CURVES, SPECTRUM_BINS, TRIAL_LEVELS, Evidence

__all__ = ["EstimatorConfig", "LevelEstimator", "safest_level"]

_NEIGHBOURS = 3  # trial levels on either side of the chosen one that are averaged
_LEAST_DOUBT = 0.01  # no level is read better
_NEAR = 0.1  # relative errors beyond it add no more doubt: to a picture made for such a level, caution is no help
_SHARP = 0.7  # px: what "sharper than all" stands for when losses are weighed


class EstimatorConfig(BaseModel):
    """Size of a `LevelEstimator`; stored in the model card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=48, description="channels along the misfit curve")
    context: int = Field(default=24, description="channels of what holds for all levels")
    layers: int = Field(default=3, description="convolutions along the misfit curve")
    reach: int = Field(default=9, description="trial levels that a convolution sees")


class LevelEstimator(nn.Module):
    """Evidence of planes to scores of levels and odds of structure."""

    def __init__(self, config: EstimatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or EstimatorConfig()
        width, context, reach = self.config.width, self.config.context, self.config.reach
        self.context = nn.Sequential(
            nn.Linear(SPECTRUM_BINS + 2 + 2 * CURVES, 64), nn.ReLU(), nn.Linear(64, context), nn.ReLU()
        )
        widths = [CURVES + 1 + context] + [width] * self.config.layers
        self.curve = nn.ModuleList(nn.Conv1d(a, b, reach, padding=reach // 2) for a, b in itertools.pairwise(widths))
        self.score = nn.Conv1d(width, 1, 1)
        self.whole = nn.Sequential(nn.Linear(2 * width + context, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """Return scores (B, 1 + len(TRIAL_LEVELS)), the first for "sharper", and the logit of "structure" (B,)."""
        misfit = evidence.misfit
        low, high = misfit.amin(2, keepdim=True), misfit.amax(2, keepdim=True)
        context = self.context(torch.cat([evidence.spectrum, evidence.facts, low[..., 0], high[..., 0]], 1))
        place = torch.linspace(-1, 1, misfit.shape[2], device=misfit.device).expand_as(misfit[:, :1])
        x = torch.cat([misfit - low, place], 1)
        x = torch.cat([x, context[:, :, None].expand(-1, -1, x.shape[-1])], 1)
        for step in self.curve:
            x = F.relu(step(x))
        sharper, structure = self.whole(torch.cat([x.mean(-1), x.amax(-1), context], 1)).unbind(1)
        return torch.cat([sharper[:, None], self.score(x)[:, 0]], 1), structure


def safest_level(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels in px (B,) from scores of trial levels, and how sure they are.

    The second answer is the chance (B,) that a level is right to about a quarter, the third its doubt (B,), the
    relative error to be expected: the mean difference of the logarithms from it, none of which counts for more than a
    tenth, less what a sure answer has because two neighbours on the scale of trial levels share it. The level is where
    the loss that is to be expected is least: deblurring by too much costs more decibels than by too little, up to all
    that there is to lose. About that trial level the mean is taken; 0 stands for "sharper than all".
    """
    chance = scores.softmax(1)
    logs = torch.tensor([_SHARP, *TRIAL_LEVELS], device=scores.device).log()
    excess = logs[:, None] - logs[None, :]  # (chosen, true)
    loss = torch.where(excess > 0, (25 * excess).clamp(max=10), (-10 * excess).clamp(max=6))
    best = (chance @ loss.T).argmin(1, keepdim=True)
    trial = torch.arange(len(logs), device=scores.device)
    near = chance * ((trial - best).abs() <= _NEIGHBOURS)
    trials = near * (trial > 0)
    level = ((trials * logs).sum(1) / trials.sum(1).clamp(min=1e-9)).exp()
    sharp = best[:, 0] == 0
    chosen = torch.where(sharp, logs[0], level.clamp(min=_SHARP).log())
    spread, step = (chance * (logs - chosen[:, None]).abs().clamp(max=_NEAR)).sum(1), logs[2] - logs[1]
    share = ((chosen / step) % 1) * (~sharp)
    doubt = (spread - 2 * share * (1 - share) * step).clamp(min=_LEAST_DOUBT)
    return torch.where(sharp, torch.zeros_like(level), level), near.sum(1), doubt
