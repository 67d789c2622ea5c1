"""Blur level of a plane, read from what the plane says about it.

The reader weighs the levels that were tried (see `evidence`) against each other: a few convolutions along the misfit
curve, told the power spectrum, the noise and the sampling, give every trial level a score, and a score to "sharper
than all of them". Out come a distribution over levels and the odds that there is any structure to judge by. One level
per plane, never per tile.
"""

import itertools
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from focuslab.models.evidence import CURVES, EVIDENCE, FITS, SPECTRUM_BINS, TRIAL_LEVELS, Evidence
from focuslab.optics import Optics, equivalent_radii

__all__ = ["EstimatorConfig", "LevelEstimator", "safest_level"]

_EXPONENT = 0.3  # brings exponents of spectra to order one
_NEIGHBOURS = 3  # trial levels on either side of the chosen one that are averaged
_LEAST_DOUBT = 0.01  # no level is read better
_NEAR = 0.1  # relative errors beyond it add no more doubt: to a picture made for such a level, caution is no help
_SHARP = 0.7  # px: what "sharper than all" stands for when losses are weighed
_SLIGHT = (0.7, 0.84)  # px: answers that are smaller than all trial levels
_GEOMETRIC = 9.0  # losses are linear in log(radius + 9 px): the wider the blur, the less a pixel costs
_TOO_MUCH, _TOO_LITTLE = (80.0, 18.0), (38.0, 8.0)  # dB for each unit of it, and at most
_NOISE_LEFT = 3.0  # dB that a plane out of focus loses besides where it is left as it is: it keeps its noise
_FOCUS_LEFT = 0.6  # dB that a plane in focus is taken to lose where it is not: it is to come back as it is


class EstimatorConfig(BaseModel):
    """Size of a `LevelEstimator`; stored in the model card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=48, description="channels along the misfit curve")
    context: int = Field(default=24, description="channels of what holds for all levels")
    layers: int = Field(default=3, description="convolutions along the misfit curve")
    reach: int = Field(default=9, description="trial levels that a convolution sees")
    evidence: int = Field(default=EVIDENCE, description="edition of the evidence that it reads")

    @model_validator(mode="after")
    def _of_this_evidence(self) -> Self:
        if self.evidence != EVIDENCE:
            raise ValueError(f"evidence of levels is of edition {EVIDENCE}, the model reads {self.evidence}")
        return self


class LevelEstimator(nn.Module):
    """Evidence of planes to scores of levels and odds of structure."""

    def __init__(self, config: EstimatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or EstimatorConfig()
        width, context, reach = self.config.width, self.config.context, self.config.reach
        self.context = nn.Sequential(
            nn.Linear(SPECTRUM_BINS + 2 + 2 * CURVES + 3 * FITS, 64), nn.ReLU(), nn.Linear(64, context), nn.ReLU()
        )
        widths = [CURVES + 1 + FITS + context] + [width] * self.config.layers
        self.curve = nn.ModuleList(nn.Conv1d(a, b, reach, padding=reach // 2) for a, b in itertools.pairwise(widths))
        self.score = nn.Conv1d(width, 1, 1)
        self.whole = nn.Sequential(nn.Linear(2 * width + context, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """Return scores (B, 1 + len(TRIAL_LEVELS)), the first for "sharper", and the logit of "structure" (B,)."""
        misfit = evidence.misfit
        low, high = misfit.amin(2, keepdim=True), misfit.amax(2, keepdim=True)
        residual, exponent = evidence.fit.unbind(1)
        usual = torch.stack([residual.amin(1), exponent.mean(1) * _EXPONENT], 1)
        fit = torch.stack([residual, exponent * _EXPONENT], 1) - usual[..., None]
        facts = [evidence.spectrum, evidence.facts, low[..., 0], high[..., 0], usual, fit[..., 0], fit[..., -1]]
        context = self.context(torch.cat(facts, 1))
        place = torch.linspace(-1, 1, misfit.shape[2], device=misfit.device).expand_as(misfit[:, :1])
        x = torch.cat([misfit - low, place, fit[..., 1:]], 1)
        x = torch.cat([x, context[:, :, None].expand(-1, -1, x.shape[-1])], 1)
        for step in self.curve:
            x = F.relu(step(x))
        sharper, structure = self.whole(torch.cat([x.mean(-1), x.amax(-1), context], 1)).unbind(1)
        return torch.cat([sharper[:, None], self.score(x)[:, 0]], 1), structure


def safest_level(scores: Tensor, optics: Optics | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Levels in px (B,) from scores of trial levels, and how sure they are.

    The second answer is the chance (B,) that a level is right to about a quarter, the third its doubt (B,), the
    relative error to be expected of the blur: the mean difference of the logarithms of equivalent radii from its own,
    none of which counts for more than a tenth, less what a sure answer has because two neighbours on the scale of trial
    levels share it. So a level is sure where diffraction hides the difference. The level is where the loss that is to
    be expected is least, see `_losses`, and about that trial level the mean is taken. 0 stands for a plane that is best
    left as it is; where it may be in focus or slightly out of it, a level between is best.

    Parameters
    ----------
    scores
        (B, 1 + len(TRIAL_LEVELS)), the first for "sharper than all".
    optics
        The microscope that took the planes: blur that diffraction hides costs nothing, and is not doubted. Without it
        none is hidden.
    """
    chance, device = scores.softmax(1), scores.device
    answers, true = (0.0, *_SLIGHT, *TRIAL_LEVELS), (0.0, *TRIAL_LEVELS)
    best = (chance @ _losses(answers, true, optics).to(device).T).argmin(1, keepdim=True)
    trial, logs = torch.arange(len(true), device=device), torch.tensor(true, device=device).clamp(min=_SHARP).log()
    place = (best - len(_SLIGHT)).clamp(min=0)  # on the scale of trial levels, 0 for slighter ones
    near = chance * ((trial - place).abs() <= _NEIGHBOURS)
    trials = near * (trial > 0)
    mean = ((trials * logs).sum(1) / trials.sum(1).clamp(min=1e-9)).exp()
    level = torch.where(place[:, 0] > 0, mean, torch.tensor(answers, device=device)[best[:, 0]])
    return level, near.sum(1), _doubt(chance, level, true, optics)


def _doubt(chance: Tensor, level: Tensor, true: tuple[float, ...], optics: Optics | None) -> Tensor:
    """Doubt (B,) of levels, from chances of true ones, see `safest_level`."""
    levels, blur = (_radii(true, known).log().to(level.device) for known in (None, optics))
    chosen = level.clamp(min=_SHARP).log()
    low = (torch.searchsorted(levels, chosen, right=True) - 1).clamp(0, len(true) - 2)
    share = (chosen - levels[low]) / (levels[low + 1] - levels[low])
    between = torch.lerp(blur[low], blur[low + 1], share)
    spread = (chance * (blur - between[:, None]).abs().clamp(max=_NEAR)).sum(1)
    shared = 2 * share * (1 - share) * (blur[low + 1] - blur[low]) * (level >= 1)
    return (spread - shared).clamp(min=_LEAST_DOUBT)


def _radii(levels: tuple[float, ...], optics: Optics | None) -> Tensor:
    """Equivalent radii of levels, px, or the levels themselves; of less than 0.7 px nothing is seen."""
    return torch.tensor(equivalent_radii(optics, levels) if optics else levels).clamp(min=_SHARP)


def _losses(answers: tuple[float, ...], true: tuple[float, ...], optics: Optics | None) -> Tensor:
    """What an answer, px, costs where another level is true, dB: (answers, true levels).

    Fitted to what the bundled model, told up to eleven levels, makes of nuclei at nine and of phantoms at six, by their
    equivalent radii, and a quarter more where too much comes out worse than it went in.
    """
    scale = [torch.log(_GEOMETRIC + _radii(levels, optics)) for levels in (answers, true)]
    excess = scale[0][:, None] - scale[1]
    slope, most = (torch.where(excess > 0, much, little) for much, little in zip(_TOO_MUCH, _TOO_LITTLE, strict=True))
    loss = torch.minimum(slope * excess.abs(), most)
    left, sharp = torch.tensor(answers)[:, None] == 0, torch.tensor(true) == 0
    return loss + _NOISE_LEFT * (left & ~sharp) + _FOCUS_LEFT * (~left & sharp)
