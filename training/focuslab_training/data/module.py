"""Data of a run as Lightning sees it: two endless streams of batches, one to learn from and one to validate on.

A stream starts at any step, so that an interrupted run goes on with the batch that it would have had.
"""

import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from focuslab.errors import RequestError
from focuslab_training.data.batches import MARGIN
from focuslab_training.data.field import Field
from focuslab_training.data.gather import Gathered, gather_fields
from focuslab_training.data.observations import Observations
from focuslab_training.data.replay import Replay
from focuslab_training.data.simulation import Simulator
from focuslab_training.data.specimens import SpecimenPool, load_specimens
from focuslab_training.data.split import Split, split_names
from focuslab_training.data.triplets import PlanePairSource, TripletSource
from focuslab_training.recipe import Part, Recipe

__all__ = ["DataSet", "Source", "StreamModule", "open_data"]

_HELD_OUT = 8  # of so many specimens beside recorded stacks one is kept for validation


class Source(Protocol):
    """Makes the batch of a step."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """Batch of a step, or the share of one of `world` processes."""
        ...


class DataSet:
    """Specimens or focal stacks of a recipe, split.

    Attributes
    ----------
    specimens
        What is imaged by simulation, of all parts.
    gathered
        Focal stacks, of all parts; none if planes are simulated at random.
    split
        By name of specimen or field.
    """

    def __init__(self, recipe: Recipe, specimens: SpecimenPool, gathered: Gathered | None, split: Split) -> None:
        self.recipe, self.specimens, self.gathered, self.split = recipe, specimens, gathered, split

    @property
    def skipped(self) -> tuple[str, ...]:
        """One sentence for each file or stack that is left out."""
        return (*self.specimens.skipped, *(self.gathered.skipped if self.gathered else ()))

    def fields(self, part: str) -> list[Field]:
        """Focal stacks of one part of the split."""
        names = set(getattr(self.split, part))
        return [field for field in (self.gathered.fields if self.gathered else []) if field.name in names]

    @property
    def fitted(self) -> tuple[str, ...]:
        """A sentence on the thickness that was fitted to the stacks, if it was."""
        if self.recipe.stacks is None or self.recipe.stacks.thickness_um != "fitted":
            return ()
        found = sorted(field.optics.thickness_um for field in self.fields("train"))
        middle = found[len(found) // 2]
        span = f"{found[0]:g} to {found[-1]:g} um" if found[0] < found[-1] else f"{middle:g} um"
        return (f"specimens fitted as {span} thick: --thickness-um {middle:g} says so wherever the model is used",)

    @property
    def used(self) -> tuple[str, ...]:
        """Names of what is trained on."""
        return self.split.train

    @property
    def imaged(self) -> list[str]:
        """Names of the specimens that a simulator images for training."""
        return self._specimens("train").names if self.recipe.needs_specimens else []

    def _specimens(self, part: str) -> SpecimenPool:
        """Specimens of a part of the split; beside recorded stacks, which were not made of them, of their own split."""
        if self.gathered is None:
            return self.specimens.part(set(getattr(self.split, part)))
        made_of = {field.unit for field in self.fields(part)} & set(self.specimens.names)
        if made_of or len(self.specimens.names) < _HELD_OUT:
            return self.specimens.part(made_of) if made_of else self.specimens
        held_out = set(self.specimens.names[::_HELD_OUT])
        return self.specimens.part(set(self.specimens.names) - held_out if part == "train" else held_out)

    def source(self, network: Part, part: str, device: torch.device | None = None) -> Source:
        """Batches of one part of the split for one of the networks; simulated planes are made on a device."""
        recipe, training = self.recipe, part == "train"
        seed = recipe.seed if training else recipe.seed + 10_000
        if network == "estimator":
            every = 4 if training else None
            pool = self._specimens(part)
            return Observations(pool, recipe.optics, first=recipe.planes_first, every=every, seed=seed + 1)
        if self.gathered is None:
            return self._simulator(part, seed, device)
        ours = recipe.architecture == "linear-latent-autoencoder"
        triplets = TripletSource(
            self.fields(part),
            recipe.triplets,
            crop_px=recipe.crop_px,
            batch=recipe.batch,
            margin=MARGIN if ours else 0,
            shared=ours,
            augment=training,
            seed=seed,
        )
        if not ours:
            return triplets
        recorded = PlanePairSource(triplets, recipe.losses.pairs)
        if not (training and recipe.replay):
            return recorded
        return Replay(recorded, self._simulator(part, seed, device), recipe.replay, seed)

    def _simulator(self, part: str, seed: int, device: torch.device | None) -> Simulator:
        recipe = self.recipe
        return Simulator(
            self._specimens(part),
            recipe.optics,
            crop_px=recipe.crop_px,
            batch=recipe.batch,
            scenes=recipe.scenes,
            pairs=recipe.losses.pairs,
            renew=recipe.renew,
            seed=seed,
            device=device,
        )


def open_data(recipe: Recipe, data: Path | None, kept: Split | None = None) -> DataSet:
    """Find and split the data of a recipe.

    Parameters
    ----------
    recipe, data
        What to find, and the folder below which it lies.
    kept
        Split of a run that goes on: what was kept apart stays so, what has come since is not used.

    Raises
    ------
    RequestError
        If there are none, too few for an honest split, or not those of the run that goes on.
    """
    stacks = recipe.stacks
    specimens = load_specimens(recipe, data) if recipe.needs_specimens else SpecimenPool(())
    gathered = gather_fields(stacks, data, specimens) if stacks is not None else None
    if gathered is not None:
        groups = {field.name: _together(field, recipe.split.by) for field in gathered.fields}
    else:
        groups = {name: name for name in specimens.names}
    if kept is None:
        start = Split.of_model(recipe.start) if recipe.start else None
        seen = (*start.train, *start.before) if start is not None else ()
        return DataSet(recipe, specimens, gathered, split_names(groups, recipe.split, recipe.seed, seen))
    if gone := sorted({*kept.train, *kept.validation, *kept.test} - groups.keys()):
        raise RequestError(
            f"The run was begun with {len(gone)} fields that are not there now, the first {gone[0]}: bring them back, "
            "or begin anew in another folder."
        )
    return DataSet(recipe, specimens, gathered, kept)


def _together(field: Field, by: str) -> str:
    """What must be on one side of the split with a field."""
    if by == "field":
        return field.unit
    if field.well is None:
        raise RequestError(
            f"The well of {field.name} is not known: name it in the pattern as {{well}}, or split by field."
        )
    return field.well


class StreamModule(pl.LightningDataModule):
    """Streams of one network's training.

    Parameters
    ----------
    train, validation
        Sources; no validation is None.
    validation_batches
        Batches of a validation, always the same.
    workers
        Processes that make batches.
    """

    def __init__(self, train: Source, validation: Source | None, *, validation_batches: int, workers: int = 0) -> None:
        super().__init__()
        self.train, self.validation, self.count = train, validation, validation_batches
        self.workers = 0 if isinstance(train, Observations) else workers  # its planes are kept in one process

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless, from the step that the run has come to."""
        assert self.trainer is not None
        return self._loader(self.train, self.trainer.global_step, None)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The same few batches at every validation."""
        return [] if self.validation is None else self._loader(self.validation, 0, self.count)

    def _loader(self, source: Source, start: int, stop: int | None) -> DataLoader[Any]:
        assert self.trainer is not None
        stream = _Stream(source, start, stop, self.trainer.global_rank, self.trainer.world_size)
        workers = self.workers if stop is None else 0
        if workers and multiprocessing.get_start_method() != "fork":
            _check_sendable(stream)
        return DataLoader(stream, batch_size=None, num_workers=workers)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: evidence that was costly to gather."""
        return {"rows": self.train.rows} if isinstance(self.train, Observations) else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        if isinstance(self.train, Observations):
            self.train.rows = state_dict["rows"]


def _check_sendable(stream: "_Stream") -> None:
    """See that a process that is not a copy of this one can be given a source; open files cannot be sent."""
    try:
        pickle.dumps(stream)
    except Exception as error:  # of many kinds
        raise RequestError(
            f"Recorded stacks cannot be handed to processes of their own on this system ({error}): set workers=0."
        ) from error


class _Stream(IterableDataset[Any]):
    """Batches start, start + 1, ..., shared out among workers in turn."""

    def __init__(self, source: Source, start: int, stop: int | None, rank: int, world: int) -> None:
        self.source, self.start, self.stop, self.rank, self.world = source, start, stop, rank, world

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        step, stride = (self.start, 1) if worker is None else (self.start + worker.id, worker.num_workers)
        while self.stop is None or step < self.stop:
            yield self.source.batch(step, self.rank, self.world)
            step += stride
