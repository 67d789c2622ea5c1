"""What one training step is, for each part of a model.

A system owns a plain network and says its loss on a freshly drawn batch; the loop around it is in `trainer`.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.estimator import LevelEstimator, safest_level
from focuslab.models.frontend import noise_sigma
from focuslab.models.latent import LatentCode, along_line, between_codes
from focuslab_training.losses import decibels, direction_gap, level_entropy
from focuslab_training.observations import Observations
from focuslab_training.recipe import Recipe
from focuslab_training.simulation import MARGIN, PlaneBatch, Simulator
from focuslab_training.specimens import SpecimenPool

__all__ = ["AutoencoderSystem", "EstimatorSystem", "System"]


class System(Protocol):
    """A network and its loss."""

    network: nn.Module

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Loss of a new batch, and the figures to log."""
        ...


class AutoencoderSystem:
    """Autoencoder: pictures at the sharpest and at another level, lines between two planes."""

    def __init__(self, recipe: Recipe, specimens: SpecimenPool, seed: int, device: torch.device) -> None:
        self.network = LinearLatentAutoencoder(recipe.model).to(device, memory_format=torch.channels_last)
        self.weights, self.device = recipe.losses, device
        self.simulator = Simulator(
            specimens,
            recipe.optics,
            crop_px=recipe.crop_px,
            batch=recipe.batch,
            pairs=recipe.losses.pairs,
            seed=seed,
        )

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """One or two planes of a situation, one given level each."""
        batch = self.simulator.next()
        here, sharp, target = batch.situation, batch.sharp.to(self.device), batch.target.to(self.device)
        code, direction = self._encode(batch, 0)
        terms = {}
        if here.given[0] > 0:
            picture = self.network.decode(along_line(code, direction, -here.given[0]))
            terms["sharpest"] = decibels(picture, sharp)
        if len(here.given) == 1:
            picture = self.network.decode(along_line(code, direction, here.target - here.given[0]))
            terms["other_level"] = decibels(picture, target)
        else:
            other, _ = self._encode(batch, 1)
            t = (here.target - here.given[0]) / (here.given[1] - here.given[0] + 1e-9)
            terms["implicit"] = decibels(self.network.decode(between_codes(code, other, t)), target)
            terms["explicit"] = direction_gap(code, direction, other)
        weights = self.weights.model_dump()
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return total, {name: float(term.detach()) for name, term in terms.items()}

    def _encode(self, batch: PlaneBatch, which: int) -> tuple[LatentCode, LatentCode]:
        here, plane = batch.situation, batch.planes[which].to(self.device)
        level = here.given[which]
        noise = float(noise_sigma(plane).log().mean().exp())
        with torch.no_grad():
            copies = here.front_end.copies(plane, level, noise, here.rungs, margin=MARGIN)
        plane = plane[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        condition = torch.tensor([[level, here.sampling, noise]], device=self.device).repeat(len(plane), 1)
        return self.network.encode(plane, copies, condition)


class EstimatorSystem:
    """Level estimator: a new plane every few steps, learnt from together with all that were seen before."""

    batch = 128
    first = 64  # planes seen before the first step
    every = 4  # steps per new plane

    def __init__(self, recipe: Recipe, specimens: SpecimenPool, seed: int, device: torch.device) -> None:
        self.network = LevelEstimator(recipe.estimator).to(device)
        self.device, self.step = device, 0
        self.observations = Observations(specimens, recipe.optics, seed + 1)

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy of the level, where there is structure, plus that of "there is structure"."""
        missing = self.first - len(self.observations.rows) if self.step == 0 else int(self.step % self.every == 0)
        for _ in range(missing):
            self.observations.add()
        self.step += 1
        evidence, levels, structure = self.observations.draw(self.batch)
        with torch.autocast(self.device.type, enabled=False):
            scores, odds = self.network(evidence.to(self.device))
        levels, structure = levels.to(self.device), structure.to(self.device)
        entropy = level_entropy(scores, levels)
        level_term = (entropy * structure).sum() / structure.sum().clamp(min=1)
        odds_term = F.binary_cross_entropy_with_logits(odds, structure.float())
        judged = structure & (levels > 4)
        error = (safest_level(scores.detach())[0] / levels.clamp(min=1e-6) - 1).abs()[judged]
        figures = {"level": float(level_term.detach()), "structure": float(odds_term.detach())}
        figures["relative_error"] = float(error.median()) if len(error) else 0.0
        return level_term + odds_term, figures
