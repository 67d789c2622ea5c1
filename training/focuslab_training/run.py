"""A whole training run: from a recipe to a bundle."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from focuslab.errors import OutputError, RequestError
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.bundle import Model, ModelCard, save_bundle
from focuslab.models.estimator import LevelEstimator
from focuslab.models.zoo import load_model
from focuslab.refocusing.devices import choose_device
from focuslab_training.recipe import Recipe
from focuslab_training.specimens import SpecimenPool
from focuslab_training.systems import AutoencoderSystem, EstimatorSystem
from focuslab_training.trainer import train_part

__all__ = ["TrainingProgress", "train"]

_SYSTEMS = {"autoencoder": AutoencoderSystem, "estimator": EstimatorSystem}


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Share of the whole run that is done (`done` of `total` minutes), the part at work and its figures."""

    part: str
    done: float
    total: float
    step: int
    figures: dict[str, float]


def train(
    recipe: Recipe, output: Path, *, data: Path | None = None, resume: bool = False, device: str = "auto"
) -> Iterator[TrainingProgress]:
    """Train a model and write its bundle; an interrupted run writes the bundle of what it has.

    Parameters
    ----------
    recipe
        What to train, on what, for how long.
    output
        Folder of the bundle; checkpoints and learning curves go into its subfolder `training`.
    data
        Folder below which the recipe's images lie.
    resume
        Continue the run whose checkpoints lie in `output`.
    device
        As in `focuslab.refocus`.

    Yields
    ------
    TrainingProgress
        Every hundred steps of a part.

    Raises
    ------
    RequestError
        If there is a run already and it is not to be resumed, or data are missing.
    """
    place = choose_device(device)
    work = output / "training"
    if work.exists() and any(work.glob("*.pt")) and not resume:
        raise RequestError(f"{output} holds a training run: continue it with --resume, or name another folder.")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {output} cannot be made: {error.strerror}.") from error
    torch.manual_seed(recipe.seed)
    specimens = SpecimenPool(recipe, data)
    start = load_model(recipe.start) if recipe.start else None
    autoencoder = start.autoencoder if start else LinearLatentAutoencoder(recipe.model)
    estimator = start.estimator if start else LevelEstimator(recipe.estimator)
    parts = {"autoencoder": autoencoder, "estimator": estimator}
    total, before = sum(recipe.minutes[p] for p in recipe.trains), 0.0
    try:
        for part in recipe.trains:
            system = _SYSTEMS[part](recipe, specimens, recipe.seed, place)
            system.network.load_state_dict(parts[part].state_dict())
            parts[part] = system.network
            minutes = recipe.minutes[part]
            for progress in train_part(
                system,
                minutes=minutes,
                learning_rate=recipe.learning_rate,
                checkpoint=work / f"{part}.pt",
                precision=recipe.precision,
            ):
                done = before + progress.done * minutes
                yield TrainingProgress(part, done, total, progress.step, progress.figures)
            before += minutes
    finally:
        card = model_card(recipe, specimens)
        save_bundle(Model(card, parts["autoencoder"].cpu(), parts["estimator"].cpu()), output)


def model_card(recipe: Recipe, specimens: SpecimenPool) -> ModelCard:
    """Card of a model trained by a recipe."""
    ranges = recipe.optics
    licences = tuple(
        f"{s.name}: {len([u for u in specimens.used if u.startswith(s.name + '/')])} images, {s.licence}"
        for s in recipe.images
    )
    phantoms = (f"phantoms: {recipe.phantoms.count} simulated specimens",) if recipe.phantoms.count else ()
    return ModelCard(
        name=recipe.name,
        description=recipe.description,
        autoencoder=recipe.model.model_dump(),
        estimator=recipe.estimator.model_dump(),
        regime=", ".join(f"{name} {weight:g}" for name, weight in recipe.losses.model_dump().items()),
        levels_px=(0.0, ranges.largest_level_px),
        sampling=(0.61 / ranges.largest_airy_px, ranges.largest_sampling),
        optics=ranges.model_dump(),
        data=licences + phantoms,
        training={
            "recipe": recipe.name,
            "minutes": dict(recipe.minutes),
            "seed": recipe.seed,
            "torch": torch.__version__,
        },
    )
