"""What one training step is, for each network: a Lightning module around a plain `nn.Module`.

A system knows the terms of its loss and nothing of data, schedules or files.
"""

from collections import defaultdict
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from focuslab.errors import FocusLabError
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.estimator import LevelEstimator, safest_level
from focuslab.models.latent import LatentCode, along_line, between_codes, keeps_remainder
from focuslab.models.reference import ReferenceAutoencoder
from focuslab_training.data.batches import CopyBatch
from focuslab_training.data.observations import EvidenceBatch
from focuslab_training.data.triplets import TripletBatch
from focuslab_training.losses import (
    code_on_line,
    decibels,
    direction_gap,
    level_entropy,
    on_line,
    picture_on_line,
    reconstruction,
)
from focuslab_training.sections import LossWeights

__all__ = ["EstimatorSystem", "LinearSystem", "ReferenceSystem", "System", "TrainingError"]


class TrainingError(FocusLabError, ArithmeticError):
    """A loss that is not a number: the run stops and its last checkpoint stays good."""


class System(pl.LightningModule):
    """A network and the weighted terms of its loss.

    Parameters
    ----------
    network
        What is trained.
    weights
        Of the terms, by name; terms without one weigh 1.
    learning_rate
        Where the optimiser starts; the schedule changes it.
    """

    def __init__(self, network: nn.Module, weights: LossWeights, learning_rate: float) -> None:
        super().__init__()
        self.network, self.weights, self.learning_rate = network, weights.model_dump(), learning_rate
        self._found: dict[str, list[float]] = defaultdict(list)

    def terms(self, batch: Any) -> dict[str, Tensor]:
        """Terms of the loss of a batch, unweighted."""
        raise TypeError(f"{type(self).__name__} has no terms of its own: train one of its subclasses.")

    def picture(self, batch: Any) -> Tensor | None:
        """What the network does with the first of a batch, (1, Y, X) in 0..1, to be looked at."""
        return None

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the terms, and the terms."""
        terms = self.terms(batch)
        total = torch.stack([self.weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    def training_step(self, batch: Any, index: int) -> dict[str, Any]:
        """Loss to minimise and its terms."""
        loss, terms = self.loss(batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is not a number at step {self.global_step}. The last checkpoint, if there is one yet, is "
                "kept. Begin anew with a lower learning rate, or look at the batch of this step: it is always the same "
                "for the same seed."
            )
        return {"loss": loss, "terms": terms}

    def validation_step(self, batch: Any, index: int) -> None:
        """Figures of unseen fields."""
        for name, figure in self.figures(batch).items():
            self._found[name].append(float(figure))

    def figures(self, batch: Any) -> dict[str, Tensor]:
        """What is told of a validation batch: its loss and the terms that it has."""
        loss, terms = self.loss(batch)
        return {"validation": loss, **{f"validation_{name}": term for name, term in terms.items()}}

    def on_validation_epoch_end(self) -> None:
        """Means over batches and processes, none of which need have met all of the terms."""
        mine = {name: (sum(values), len(values)) for name, values in self._found.items()}
        self._found.clear()
        everyone = [mine]
        if dist.is_available() and dist.is_initialized():
            everyone = [{} for _ in range(dist.get_world_size())]
            dist.all_gather_object(everyone, mine)
        for name in sorted({name for one in everyone for name in one}):
            totals, counts = zip(*(one[name] for one in everyone if name in one), strict=True)
            self.log(name, sum(totals) / sum(counts))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, betas=(0.9, 0.99))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave batches where they are: each system moves what it needs."""
        return batch


class LinearSystem(System):
    """Linear latent autoencoder: pictures at focus and elsewhere from one plane, lines between two."""

    network: LinearLatentAutoencoder

    def transfer_batch_to_device(
        self, batch: tuple[CopyBatch, ...], device: torch.device, dataloader_idx: int
    ) -> tuple[CopyBatch, ...]:
        """Batches on the device."""
        return tuple(one.to(device) for one in batch)

    def loss(self, batch: tuple[CopyBatch, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the situations of a step, and the terms, each a mean over those that have it."""
        each = [super(LinearSystem, self).loss(one) for one in batch]
        terms = {name: torch.stack([t[name] for _, t in each if name in t]).mean() for _, said in each for name in said}
        return torch.stack([total for total, _ in each]).mean(), terms

    def terms(self, batch: CopyBatch) -> dict[str, Tensor]:
        """One or two planes of a situation, one given level each."""
        here = batch.situation
        code, direction = self._encode(batch, 0)
        terms = {}
        if here.given[0] > here.focus:
            picture = self.network.decode(along_line(code, direction, here.focus - here.given[0]))
            terms["sharpest"] = decibels(picture, batch.sharp)
        if len(here.given) == 1:
            picture = self.network.decode(along_line(code, direction, here.target - here.given[0]))
            terms["other_level"] = decibels(picture, batch.target)
        else:
            other, back = self._encode(batch, 1)
            first, last, target_px = torch.tensor([*here.given, here.target]).unbind()
            t = float(_way(first, last, target_px))
            line = between_codes((code, direction), (other, back), t)
            terms["implicit"] = decibels(self.network.decode(line), batch.target)
            terms["explicit"] = direction_gap(code, direction, other)
        return terms

    def picture(self, batch: tuple[CopyBatch, ...]) -> Tensor:
        """Plane, sharpest, truth."""
        first = batch[0]
        code, direction = self._encode(first, 0)
        here = first.situation
        made = self.network.decode(along_line(code, direction, here.focus - here.given[0]))
        return _side_by_side(first.planes[0].plane, made, first.sharp)

    def _encode(self, batch: CopyBatch, which: int) -> tuple[LatentCode, LatentCode]:
        one, here, level = batch.planes[which], batch.situation, batch.situation.given[which]
        kept = keeps_remainder(level, here.focus - level, here.target - level)
        return self.network.encode(one.plane, one.copies, one.condition, remainder=kept)


class ReferenceSystem(System):
    """The published autoencoder in one of its regimes, by the weights of the terms; planes are cut to 0..1."""

    network: ReferenceAutoencoder

    def terms(self, batch: TripletBatch) -> dict[str, Tensor]:
        """Terms with a weight, of triplets (a, b, target)."""
        a, b, middle = (x.to(self.device).clamp(0, 1) for x in (batch.a, batch.b, batch.target))
        first, last, target = batch.levels.to(self.device).unbind(1)
        code_a, code_b = self.network.encode(a), self.network.encode(b)
        terms = {"reconstruction": reconstruction((self.network.decode(code_a), self.network.decode(code_b)), (a, b))}
        line = on_line(code_a, code_b, _way(first, last, target))
        if self.weights["implicit"] > 0:
            terms["implicit"] = picture_on_line(self.network.decode(line), middle)
        if self.weights["explicit"] > 0:
            terms["explicit"] = code_on_line(line, self.network.encode(middle))
        return terms

    def picture(self, batch: TripletBatch) -> Tensor:
        """Plane, round trip, plane on the line, its truth."""
        a, b, middle = (x.to(self.device).clamp(0, 1) for x in (batch.a, batch.b, batch.target))
        first, last, target = batch.levels.to(self.device).unbind(1)
        line = on_line(self.network.encode(a), self.network.encode(b), _way(first, last, target))
        return _side_by_side(a, self.network(a), self.network.decode(line), middle)


class EstimatorSystem(System):
    """Level estimator: entropy of the level, where there is structure, plus that of "there is structure"."""

    network: LevelEstimator

    def terms(self, batch: EvidenceBatch) -> dict[str, Tensor]:
        """Both entropies."""
        scores, odds = self._read(batch)
        levels, structure = batch.levels.to(self.device), batch.structure.to(self.device)
        level = (level_entropy(scores, levels) * structure).sum() / structure.sum().clamp(min=1)
        return {"level": level, "structure": F.binary_cross_entropy_with_logits(odds, structure.float())}

    def figures(self, batch: EvidenceBatch) -> dict[str, Tensor]:
        """Entropies, and the median error of levels beyond 4 px."""
        scores, _ = self._read(batch)
        levels = batch.levels.to(self.device)
        judged = batch.structure.to(self.device) & (levels > 4)
        error = (safest_level(scores)[0] / levels.clamp(min=1e-6) - 1).abs()[judged]
        median = {"validation_relative_error": error.median()} if len(error) else {}
        return {**super().figures(batch), **median}

    def _read(self, batch: EvidenceBatch) -> tuple[Tensor, Tensor]:
        """Scores of levels and odds of structure, in float32 as in use."""
        with torch.autocast(self.device.type, enabled=False):
            scores, odds = self.network(batch.evidence.to(self.device))
        return scores, odds


def _way(first: Tensor, last: Tensor, target: Tensor) -> Tensor:
    """Where a level lies between two, 0 to 1 and beyond; 0 where the two are one and there is no line."""
    step = last - first
    return torch.where(step.abs() > 1e-3, (target - first) / step, torch.zeros_like(step))


def _side_by_side(*images: Tensor) -> Tensor:
    return torch.cat([image[0].detach().float().cpu() for image in images], -1).clamp(0, 1)
