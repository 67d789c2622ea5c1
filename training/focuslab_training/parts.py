"""Training of one network of a model, by Lightning."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from focuslab.errors import ModelError, RequestError
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.refocusing.devices import choose_device, choose_precision
from focuslab_training.callbacks import Checkpoints, Patience, Schedule, Stop, average_of
from focuslab_training.curve import LearningCurve, Report
from focuslab_training.data.copies import CopySource
from focuslab_training.data.echo import Echo
from focuslab_training.data.module import DataSet, Source, StreamModule
from focuslab_training.recipe import Part, Recipe
from focuslab_training.systems import EstimatorSystem, LinearSystem, ReferenceSystem, System

__all__ = ["Machines", "TrainingProgress", "train_part"]


@dataclass(frozen=True, slots=True)
class Machines:
    """What to run on: device as in `focuslab.refocus`, processes per machine, machines, Lightning strategy.

    More processes than GPUs share them: making batches keeps a processor longer than a GPU.
    """

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Part at work, share (0..1) of it that is done, step, seconds left for it, and its mean figures."""

    part: Part
    done: float
    step: int
    seconds_left: float
    figures: dict[str, float]


def _system(part: Part, network: nn.Module, recipe: Recipe) -> System:
    kinds = {"estimator": EstimatorSystem, "autoencoder": LinearSystem}
    kind = ReferenceSystem if recipe.architecture == "reference-autoencoder" else kinds[part]
    return kind(network, recipe.losses, recipe.learning_rate)


def train_part(
    part: Part,
    network: nn.Module,
    recipe: Recipe,
    dataset: DataSet,
    folder: Path,
    resume: bool,
    machines: Machines,
    report: Callable[[TrainingProgress], None],
) -> bool:
    """Train one network in place, to its end or until it is stopped; whether it was stopped.

    A run that was stopped, or may stop early, ends with the weights of its best validation, where there is one.
    """
    folder.mkdir(exist_ok=True)
    network.requires_grad_(True).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    system = _system(part, network, recipe)
    schedule = Schedule(recipe.minutes.get(part), recipe.steps.get(part), recipe.learning_rate)
    checkpoints = Checkpoints(folder, recipe.checkpoint_minutes)

    def tell(progress: Report) -> None:
        report(TrainingProgress(part, progress.done, progress.step, progress.seconds_left, progress.figures))

    place = _place(machines)
    here = _own(place) if place.type == "cuda" and not recipe.workers else None  # workers have no GPU
    training = _with_copies(dataset.source(part, "train", here), network, here, recipe.echo)
    validation = None
    if dataset.split.validation:
        validation = _with_copies(dataset.source(part, "validation", here), network, here)
    curve = LearningCurve(folder / "curve.csv", schedule, tell)
    callbacks: list[Callback] = [schedule, curve, checkpoints]
    if recipe.patience is not None and validation is not None:
        callbacks.append(Patience(recipe.patience))
    callbacks.append(WeightAveraging(avg_fn=average_of(recipe.average)))
    stop = Stop(folder.parent)
    callbacks.append(stop)
    streams = StreamModule(training, validation, validation_batches=recipe.validation_batches, workers=recipe.workers)
    with _quiet(), _interruptible(stop):
        trainer = _trainer(recipe, place, machines, folder, callbacks, validates=validation is not None)
        _fit(trainer, system, streams, checkpoints.newest if resume else None)
    if (recipe.patience is not None or stop.seen) and checkpoints.best.is_file():
        best = torch.load(checkpoints.best, map_location="cpu", weights_only=True)["state_dict"]
        system.load_state_dict(best)
    network.eval()
    if not stop.seen:  # however early it ended, there is no more to be done
        tell(Report(1.0, trainer.global_step, 0.0, curve.told))
    return stop.seen


def _trainer(
    recipe: Recipe, place: torch.device, machines: Machines, folder: Path, callbacks: list[Callback], *, validates: bool
) -> pl.Trainer:
    """Lightning, without what is done by the callbacks."""
    return pl.Trainer(
        accelerator="gpu" if place.type == "cuda" else place.type,
        devices=[place.index] if place.index is not None else _count(place, machines),
        num_nodes=machines.nodes,
        strategy=_strategy(place, machines),
        precision="bf16-mixed" if choose_precision(recipe.precision, place) == torch.bfloat16 else "32-true",
        max_epochs=-1,
        val_check_interval=recipe.validate_every if validates else None,
        check_val_every_n_epoch=None if validates else 1,
        limit_val_batches=recipe.validation_batches if validates else 0,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.clip,
        logger=TensorBoardLogger(str(folder), name="", version=""),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _fit(trainer: pl.Trainer, system: System, streams: StreamModule, last: Path | None) -> None:
    """Train to the end, from a checkpoint if there is one."""
    if last is not None:
        _check_whole(last)
    try:
        trainer.fit(system, streams, ckpt_path=last, weights_only=True if last else None)
    except (RuntimeError, KeyError) as error:
        if last is not None and ("state_dict" in str(error) or "size mismatch" in str(error)):
            raise ModelError(
                f"The checkpoint {last} does not belong to this recipe: resume with the recipe that it was made by."
            ) from error
        raise


def _check_whole(checkpoint: Path) -> None:
    """See that a checkpoint can be read."""
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds: of zip, of pickle, of torch
        raise ModelError(
            f"The checkpoint {checkpoint} is damaged ({str(error).splitlines()[0]}): take it away, and --resume goes "
            "on from the other one of its folder."
        ) from error


def _with_copies(source: Any, network: nn.Module, device: torch.device | None, echo: int = 1) -> Source:
    """Batches as the network takes them: ours with the copies of the front end, each used in so many steps."""
    if not isinstance(network, LinearLatentAutoencoder):
        return source
    copies = CopySource(source, physics=network.config.copies > 0, device=device)
    return Echo(copies, echo) if echo > 1 else copies


def _place(machines: Machines) -> torch.device:
    """Kind of device, or the one that was named."""
    place = choose_device(machines.device)
    if place.index is not None and machines.devices > 1:
        raise RequestError(
            f"{machines.device} is one device, --devices asks for {machines.devices}: give --device {place.type}."
        )
    return place


def _own(place: torch.device) -> torch.device:
    """Device of this process."""
    if place.type != "cuda" or place.index is not None:
        return place
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


def _count(place: torch.device, machines: Machines) -> int:
    """Devices per machine: no more GPUs than there are."""
    return min(machines.devices, torch.cuda.device_count()) if place.type == "cuda" else machines.devices


def _strategy(place: torch.device, machines: Machines) -> str | DDPStrategy:
    """How processes share the work; NCCL has one process per GPU, gloo any number."""
    if machines.devices > _count(place, machines):
        gpus = torch.cuda.device_count()
        if machines.nodes == 1 and sys.platform == "linux":  # gloo may wait for ever for the name of the machine
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        shared = [torch.device("cuda", i % gpus) for i in range(machines.devices)]
        return DDPStrategy(parallel_devices=shared, process_group_backend="gloo", find_unused_parameters=True)
    several = machines.devices * machines.nodes > 1 or machines.strategy == "ddp"
    return "ddp_find_unused_parameters_true" if several else "auto"


@contextmanager
def _interruptible(stop: Stop) -> Iterator[None]:
    """Ctrl-C ends the run after the step at work; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
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
            warnings.filterwarnings("ignore", message=".*AccumulateGrad node's stream.*")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
