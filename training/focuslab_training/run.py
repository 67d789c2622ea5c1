"""A whole training run: from a recipe to a bundle."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from focuslab.errors import ModelError, RequestError
from focuslab.files import drafted, make_folder
from focuslab.memory import keep_freed_memory
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.bundle import CARD, ModelCard, save_bundle
from focuslab.models.estimator import LevelEstimator
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.models.zoo import load_model
from focuslab_training.card import model_card
from focuslab_training.data.module import open_data
from focuslab_training.data.split import SPLIT_FILE, Split
from focuslab_training.parts import Machines, TrainingProgress, train_part
from focuslab_training.recipe import Part, Recipe
from focuslab_training.status import STOP, TrainingStatus

__all__ = ["KEPT", "Machines", "TrainingProgress", "train"]

KEPT = (2**30, 2**30)  # bytes that a run keeps once freed, and those of its buffers: each step needs the same ones
RECIPE = "recipe.json"  # what a run was begun with
_MAY_CHANGE = (
    "minutes", "steps", "patience", "validate_every", "validation_batches", "checkpoint_minutes", "workers",
    "precision", "description",
)  # fmt: skip
_LAUNCHED = (  # set by whatever starts the processes of several machines
    "NODE_RANK", "GROUP_RANK", "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "JSM_NAMESPACE_RANK",
)  # fmt: skip


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
        Called with a sentence for every stack that is left out, and on a thickness that was fitted; whoever watches the
        run from another process finds them in its status.

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
    begun = _check_output(recipe, output, work, resume)
    _check_machines(recipe, machines)
    with contextlib.suppress(OSError):  # of an earlier run; whoever stops this one does it from now on
        (work / STOP).unlink(missing_ok=True)
    keep_freed_memory(*KEPT)
    pl.seed_everything(recipe.seed, verbose=False)
    dataset = open_data(recipe, data, Split.of(output) if resume else None)
    new = () if begun or not resume else (f"{output} holds no training run to continue: a new one begins.",)
    make_folder(work)
    if _leads():  # of several processes one writes
        dataset.split.write(output)
        with drafted(work / RECIPE) as draft:
            draft.write_text(recipe.model_dump_json(indent=1) + "\n", encoding="utf-8")
    networks = _networks(recipe)
    card = written = model_card(recipe, dataset)
    steps: dict[str, int] = {}
    with TrainingStatus.kept(output, recipe, lead=_leads()) as status:

        def note(sentence: str) -> None:
            status.note(sentence)
            if notes is not None:
                notes(sentence)

        for sentence in (*new, *(f"left out: {skipped}" for skipped in dataset.skipped), *dataset.fitted):
            note(sentence)
        for part in recipe.trains:

            def tell(progress: TrainingProgress) -> None:
                status.tell(progress)
                steps[progress.part] = progress.step
                if report is not None:
                    report(progress)

            stopped = train_part(part, networks[part], recipe, dataset, work / part, resume, machines, tell)
            if _leads():
                reached = recipe.trains[: recipe.trains.index(part) + 1]
                made = card.model_copy(update={"training": {**card.training, "steps": dict(steps)}})
                written = _save(networks, made, recipe, reached, output)
            if stopped:
                status.stopped = True
                note("Stopped before its end: the model is that of the best or last weights, --resume goes on.")
                break
    return written


def _leads() -> bool:
    """Whether this is the first of all processes: of its machine, and that the first machine."""
    machine = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return getattr(rank_zero_only, "rank", 0) == 0 and machine == "0"


def _check_output(recipe: Recipe, output: Path, work: Path, resume: bool) -> bool:
    """Refuse a folder that holds what is not to be lost or cannot be gone on with; whether a run has begun there."""
    begun = any(work.rglob("*.ckpt"))
    if begun and not resume:
        raise RequestError(f"{output} holds a training run: continue it with --resume, or name another folder.")
    if (output / CARD).exists() and not begun:
        ended = "a model, but no run to continue" if resume else "a model already"
        raise RequestError(f"{output} holds {ended}: name another folder, or take it away first.")
    if resume:
        _check_same(recipe, work / RECIPE)
    if begun and Split.of(output) is None:
        raise RequestError(
            f"{output} holds a training run, but not its {SPLIT_FILE}: what it must not be validated on is not known. "
            "Bring the file back, or begin anew in another folder."
        )
    return begun


def _check_machines(recipe: Recipe, machines: Machines) -> None:
    """Refuse machines that do not know of each other, and more processes than a batch can be shared by."""
    if machines.nodes > 1 and not any(name in os.environ for name in _LAUNCHED):
        raise RequestError(
            f"{machines.nodes} machines are asked for, and nothing says which of them this is: start the command on "
            f"all of them by torchrun, SLURM or MPI, or set NODE_RANK (0 to {machines.nodes - 1}) and MASTER_ADDR."
        )
    if recipe.batch < machines.devices * machines.nodes:
        raise RequestError(
            f"A batch of {recipe.batch} cannot be shared by {machines.devices * machines.nodes} processes."
        )


def _check_same(recipe: Recipe, path: Path) -> None:
    """A run goes on by the recipe that it was begun with; its length, and what only watches it, may change."""
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    now = json.loads(recipe.model_dump_json())
    changed = sorted(key for key in now if key not in _MAY_CHANGE and now[key] != begun.get(key, now[key]))
    if changed:
        raise RequestError(
            f"The run was begun with another {changed[0]} ({begun[changed[0]]} instead of {now[changed[0]]}): resume "
            "with the same recipe and the same --set, or begin anew in another folder."
        )


def _networks(recipe: Recipe) -> dict[str, nn.Module]:
    if recipe.architecture == "reference-autoencoder":
        return {"autoencoder": ReferenceAutoencoder()}
    networks: dict[str, nn.Module] = {
        "autoencoder": LinearLatentAutoencoder(recipe.model),
        "estimator": LevelEstimator(recipe.estimator),
    }
    if recipe.start or len(recipe.trains) < len(networks):  # what is not trained here is that of a trained model
        start = load_model(recipe.start or "default")
        try:
            if recipe.start or "autoencoder" not in recipe.trains:
                networks["autoencoder"].load_state_dict(start.autoencoder.state_dict())
            networks["estimator"].load_state_dict(start.estimator.state_dict())
        except RuntimeError as error:
            raise ModelError(
                f"The model {start.card.name!r} has other sizes than the recipe {recipe.name!r}: start from one of the "
                "same sizes" + ("." if recipe.start else ", or train both parts (trains: [autoencoder, estimator]).")
            ) from error
    return networks


def _save(
    networks: dict[str, nn.Module], card: ModelCard, recipe: Recipe, reached: tuple[Part, ...], output: Path
) -> ModelCard:
    """Write the bundle; until the training of its estimator has begun, it has that of the bundled model."""
    parts = {name: network.cpu() for name, network in networks.items()}
    if "estimator" in recipe.trains and "estimator" not in reached and not recipe.start:
        reader = load_model("default")
        if reader.card.estimator == card.estimator:
            parts["estimator"] = reader.estimator
            note = "levels are read by the estimator of the bundled model: this one's has not been trained"
        else:
            note = "levels cannot be read from planes: the estimator has not been trained"
        card = card.model_copy(update={"data": (*card.data, note)})
    return save_bundle(card, parts, output)
