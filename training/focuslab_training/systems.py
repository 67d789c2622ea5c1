"""What one training step is, for each part of a model.

A system owns a plain network and says its loss on a freshly drawn batch; the loop around it is in `trainer`.
"""

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.estimator import LevelEstimator
from focuslab.models.frontend import noise_sigma
from focuslab.models.latent import LatentCode, along_line, between_codes
from focuslab_training.losses import decibels, direction_gap
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
            copies = here.front_end.copies(plane, level, noise, here.rungs).cropped(MARGIN)
        plane = plane[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        condition = torch.tensor([[level, here.sampling, noise]], device=self.device).repeat(len(plane), 1)
        return self.network.encode(plane, copies, condition)


class EstimatorSystem:
    """Level estimator: planes of many situations at once, some of them empty."""

    situations = 5
    empty = 0.12

    def __init__(self, recipe: Recipe, specimens: SpecimenPool, seed: int, device: torch.device) -> None:
        self.network = LevelEstimator(recipe.estimator).to(device)
        self.device = device
        ranges = recipe.optics.replace(wrong_levels=0.0)
        self.simulator = Simulator(specimens, ranges, crop_px=recipe.crop_px, batch=2, seed=seed + 1, renew=0.005)
        self.rng = np.random.default_rng(seed)

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """|log level - estimate| where there is structure, plus the cross entropy of "there is structure"."""
        batches = [self.simulator.next() for _ in range(self.situations)]
        planes = torch.cat([b.planes[0] for b in batches]).to(self.device)
        levels = torch.tensor([b.situation.levels[0] for b in batches for _ in range(2)], device=self.device)
        sampling = torch.tensor([[b.situation.sampling] for b in batches for _ in range(2)], device=self.device)
        structure = torch.tensor(self.rng.random(len(planes)) >= self.empty, device=self.device)
        planes = torch.where(structure.view(-1, 1, 1, 1), planes, _empty_like(planes, self.rng))
        estimate, odds = self.network(planes, sampling)
        error = (estimate - torch.log1p(levels)).abs()
        level_term = (error * structure).sum() / structure.sum().clamp(min=1)
        odds_term = F.binary_cross_entropy_with_logits(odds, structure.float())
        relative = ((torch.expm1(estimate.detach()) - levels).abs() / levels.clamp(min=1e-6))[structure & (levels > 4)]
        figures = {"level": float(level_term.detach()), "structure": float(odds_term.detach())}
        if len(relative):
            figures["relative_error"] = float(relative.median())
        return level_term + 0.3 * odds_term, figures


def _empty_like(planes: Tensor, rng: np.random.Generator) -> Tensor:
    """Fields with nothing in focus or out of it: noise, white or slightly correlated, on a slow gradient."""
    noise = torch.randn(planes.shape, device=planes.device)
    if rng.random() < 0.3:
        noise = F.avg_pool2d(noise, 3, 1, 1)
    y = torch.linspace(-1, 1, planes.shape[-2], device=planes.device)[:, None] * rng.normal(0, 0.3)
    x = torch.linspace(-1, 1, planes.shape[-1], device=planes.device)[None, :] * rng.normal(0, 0.3)
    image = noise + float(rng.integers(0, 2)) * (y + x + rng.normal(0, 0.3) * (x**2 + y**2))
    dark, bright = torch.quantile(image.flatten(1)[:, ::7], torch.tensor([0.005, 0.999]), dim=1).view(2, -1, 1, 1, 1)
    return (image - dark) / (bright - dark)
