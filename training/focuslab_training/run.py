"""A whole training run: from a recipe to a bundle."""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import nn

from focuslab.errors import ModelError, OutputError, RequestError
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.bundle import ModelCard, save_bundle
from focuslab.models.estimator import LevelEstimator
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.models.zoo import load_model
from focuslab.refocusing.devices import choose_device
from focuslab_training.callbacks import Checkpoints, LearningCurve, Report, Schedule, average_of
from focuslab_training.data.module import DataSet, StreamModule, open_data
from focuslab_training.recipe import Part, Recipe
from focuslab_training.systems import EstimatorSystem, LinearSystem, ReferenceSystem, System

__all__ = ["Machines", "TrainingProgress", "train"]


@dataclass(frozen=True, slots=True)
class Machines:
    """What to run on: device as in `focuslab.refocus`, processes per machine, machines, Lightning strategy."""

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Part at work, share (0..1) of it that is done, step, seconds left for it, and its mean figures."""

    part: str
    done: float
    step: int
    seconds_left: float
    figures: dict[str, float]


def train(
    recipe: Recipe,
    output: Path,
    *,
    data: Path | None = None,
    resume: bool = False,
    machines: Machines | None = None,
    report: Callable[[TrainingProgress], None] | None = None,
    notes: Callable[[str], None] | None = None,
) -> ModelCard:
    """Train a model and write its bundle; an interrupted run (Ctrl-C) writes the bundle of what it has.

    Parameters
    ----------
    recipe
        What to train, on what, for how long.
    output
        Folder of the bundle, with the split that was made; checkpoints and learning curves go into its subfolder
        `training`.
    data
        Folder below which the recipe's images or stacks lie.
    resume
        Continue the run whose checkpoints lie in `output`.
    machines
        Devices, nodes, strategy.
    report
        Called with the progress every few steps.
    notes
        Called with a sentence for every stack that is left out.

    Returns
    -------
    ModelCard
        Of the bundle.

    Raises
    ------
    RequestError
        If there is a run already and it is not to be resumed, or data are missing or too few to split.
    ModelError
        If a checkpoint belongs to another recipe.
    OutputError
        If the folder cannot be written; the last good checkpoint survives.
    TrainingError
        If the loss is not a number.
    """
    machines = machines or Machines()
    work = output / "training"
    if work.exists() and any(work.rglob("*.ckpt")) and not resume:
        raise RequestError(f"{output} holds a training run: continue it with --resume, or name another folder.")
    if recipe.batch < machines.devices * machines.nodes:
        raise RequestError(
            f"A batch of {recipe.batch} cannot be shared by {machines.devices * machines.nodes} processes."
        )
    pl.seed_everything(recipe.seed, verbose=False)
    dataset = open_data(recipe, data)
    for sentence in dataset.gathered.skipped if dataset.gathered else ():
        (notes or (lambda _: None))(f"left out: {sentence}")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {output} cannot be made: {error.strerror}.") from error
    if rank_zero_only.rank == 0:  # of several processes one writes
        dataset.split.write(output)
    networks = _networks(recipe)
    card = model_card(recipe, dataset)
    for part in recipe.trains:
        stopped = _train_part(part, networks[part], recipe, dataset, work / part, resume, machines, report)
        if rank_zero_only.rank == 0:
            card = save_bundle(card, {name: network.cpu() for name, network in networks.items()}, output)
        if stopped:
            break
    return card


def _networks(recipe: Recipe) -> dict[str, nn.Module]:
    if recipe.architecture == "reference-autoencoder":
        return {"autoencoder": ReferenceAutoencoder()}
    networks: dict[str, nn.Module] = {
        "autoencoder": LinearLatentAutoencoder(recipe.model),
        "estimator": LevelEstimator(recipe.estimator),
    }
    if recipe.start:
        start = load_model(recipe.start)
        try:
            networks["autoencoder"].load_state_dict(start.autoencoder.state_dict())
            networks["estimator"].load_state_dict(start.estimator.state_dict())
        except RuntimeError as error:
            raise ModelError(f"The model {recipe.start!r} has other sizes than the recipe {recipe.name!r}.") from error
    return networks


def _system(part: Part, network: nn.Module, recipe: Recipe) -> System:
    kinds = {"estimator": EstimatorSystem, "autoencoder": LinearSystem}
    kind = ReferenceSystem if recipe.architecture == "reference-autoencoder" else kinds[part]
    return kind(network, recipe.losses, recipe.learning_rate)


def _train_part(
    part: Part,
    network: nn.Module,
    recipe: Recipe,
    dataset: DataSet,
    folder: Path,
    resume: bool,
    machines: Machines,
    report: Callable[[TrainingProgress], None] | None,
) -> bool:
    """Train one network in place; whether the user has stopped it."""
    folder.mkdir(exist_ok=True)
    network.requires_grad_(True).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    system = _system(part, network, recipe)
    schedule = Schedule(recipe.minutes.get(part), recipe.steps.get(part), recipe.learning_rate)
    checkpoints = Checkpoints(folder, recipe.checkpoint_minutes)

    def tell(progress: Report) -> None:
        if report is not None:
            report(TrainingProgress(part, progress.done, progress.step, progress.seconds_left, progress.figures))

    validation = dataset.source(part, "validation") if dataset.split.validation else None
    callbacks: list[Callback] = [schedule, LearningCurve(folder / "curve.csv", schedule, tell), checkpoints]
    if recipe.patience is not None and validation is not None:
        callbacks.append(EarlyStopping("validation", patience=recipe.patience, check_on_train_epoch_end=False))
    callbacks.append(WeightAveraging(avg_fn=average_of(recipe.average)))
    place = choose_device(machines.device)
    with _quiet(), _interruptible() as stop:
        trainer = pl.Trainer(
            accelerator="gpu" if place.type == "cuda" else place.type,
            devices=[place.index] if place.index is not None else machines.devices,
            num_nodes=machines.nodes,
            strategy="ddp_find_unused_parameters_true" if machines.strategy == "ddp" else machines.strategy,  # type: ignore[arg-type]
            precision="bf16-mixed" if recipe.precision == "bfloat16" else "32-true",
            max_epochs=-1,
            val_check_interval=recipe.validate_every if validation else None,
            check_val_every_n_epoch=None if validation else 1,
            limit_val_batches=recipe.validation_batches if validation else 0,
            num_sanity_val_steps=0,
            gradient_clip_val=recipe.clip,
            logger=TensorBoardLogger(str(folder), name="", version=""),
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        stop.append(trainer)
        streams = StreamModule(
            dataset.source(part, "train"),
            validation,
            validation_batches=recipe.validation_batches,
            workers=recipe.workers,
        )
        last = checkpoints.last if resume and checkpoints.last.is_file() else None
        try:
            trainer.fit(system, streams, ckpt_path=last, weights_only=True if last else None)
        except (RuntimeError, KeyError) as error:
            if last is not None and ("state_dict" in str(error) or "size mismatch" in str(error)):
                raise ModelError(
                    f"The checkpoint {last} does not belong to this recipe: resume with the recipe that it was made by."
                ) from error
            raise
    if recipe.patience is not None and checkpoints.best.is_file():
        best = torch.load(checkpoints.best, map_location="cpu", weights_only=True)["state_dict"]
        system.load_state_dict(best)
    network.eval()
    return len(stop) > 1


@contextmanager
def _interruptible() -> Iterator[list[Any]]:
    """Ctrl-C ends the run after the step at work; the list, given the trainer first, grows then."""
    stop: list[Any] = []
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def end(number: int, frame: Any) -> None:
        if stop:
            stop[0].should_stop = True
        stop.append(number)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice, which is not for users of FocusLab."""
    import logging

    names = ("lightning.pytorch", "lightning.fabric")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def model_card(recipe: Recipe, dataset: DataSet) -> ModelCard:
    """Card of a model trained by a recipe."""
    ranges, stacks = recipe.optics, recipe.stacks
    used = dataset.used
    data = [f"{s.name}: {sum(u.startswith(s.name + '/') for u in used)} images, {s.licence}" for s in recipe.images] + (
        [f"phantoms: {recipe.phantoms.count} simulated specimens"] if recipe.phantoms.count else []
    )
    if stacks is not None:
        kind = "simulated from them" if stacks.layout == "simulated" else f"layout {stacks.layout}"
        data.append(f"{len(used)} focal stacks, {kind}")
    fields = dataset.fields("train")
    largest = max((max(f.levels_px) for f in fields), default=ranges.largest_level_px)
    ours = recipe.architecture == "linear-latent-autoencoder"
    return ModelCard(
        name=recipe.name,
        description=recipe.description,
        architecture=recipe.architecture,
        autoencoder=recipe.model.model_dump() if ours else {},
        estimator=recipe.estimator.model_dump() if ours else {},
        regime=", ".join(f"{name} {weight:g}" for name, weight in recipe.losses.model_dump().items() if weight),
        levels_px=(0.0, round(largest, 2)),
        sampling=(round(0.61 / ranges.largest_airy_px, 2), ranges.largest_sampling),
        optics=fields[0].optics.model_dump() if fields else ranges.model_dump(),
        data=tuple(data),
        training={
            "recipe": recipe.name,
            "minutes": dict(recipe.minutes),
            "seed": recipe.seed,
            "torch": torch.__version__,
        },
    )
