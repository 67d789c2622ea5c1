"""A training run in a process of its own, which outlives the viewer: how it is ordered, watched and stopped.

Nothing here needs Qt or torch.
"""

import csv
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from focuslab.errors import OutputError, lacking
from focuslab.files import file_name
from focuslab.stack import FocalStack
from focuslab_napari.applying import layer_stack

__all__ = [
    "LAYERS_FOLDER",
    "StartedRun",
    "TrainingOrder",
    "files_of",
    "last_words",
    "learning_curves",
    "recipes",
    "start_training",
    "stop_training",
]

LAYERS_FOLDER = "focuslab_training_layers"  # in that of the model: a name of our own, because it is emptied
_LOG = "training.log"


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """What is to be trained.

    Attributes
    ----------
    recipe
        Name of a bundled recipe.
    output
        Folder of the new model.
    data
        Folder of images or stacks, if the recipe needs one.
    minutes
        Length of the whole run.
    start
        Model that fine-tuning starts from.
    numbers
        Numbers of the microscope that go before those of the files.
    keep_none_apart
        Train on every stack, validate on none.
    resume
        Go on with the run in the folder.
    """

    recipe: str
    output: Path
    data: Path | None
    minutes: float
    start: str = "default"
    device: str = "auto"
    numbers: dict[str, float] = field(default_factory=dict)
    keep_none_apart: bool = False
    resume: bool = False

    def command(self) -> list[str]:
        """Command line of the run: what a user would type."""
        said = recipes()[self.recipe]
        parts = said.get("trains", ["autoencoder", "estimator"])
        usual = {part: float(said.get("minutes", {}).get(part, 1.0)) for part in parts}
        share = self.minutes / sum(usual.values())
        changes = {f"minutes.{part}": round(minutes * share, 3) for part, minutes in usual.items()}
        changes |= {"steps": "{}"}
        if said.get("start"):
            changes["start"] = self.start
        if said.get("stacks"):
            changes |= {f"stacks.{name}": value for name, value in self.numbers.items()}
        command = [sys.executable, "-m", "focuslab", "train", self.recipe, "-o", str(self.output)]
        command += ["--data", str(self.data)] if self.data is not None else []
        command += [text for key, value in changes.items() for text in ("--set", f"{key}={value}")]
        command += ["--device", self.device]
        command += ["--no-validation"] * self.keep_none_apart + ["--resume"] * self.resume
        return command


def recipes() -> dict[str, dict[str, Any]]:
    """Recipes that ship with FocusLab, as they are written, by name.

    Raises
    ------
    RequestError
        If the training part is not installed.
    """
    try:
        import focuslab_training
        import lightning  # noqa: F401, to find out
    except ModuleNotFoundError as error:
        raise lacking("Training", error.name or "lightning", "train") from error
    folder = Path(focuslab_training.__file__).parent / "recipes"
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))}


def files_of(layers: Sequence[Any], folder: Path) -> list[tuple[Path, FocalStack]]:
    """Files that layers are to be written to for a run, in a folder of their own, emptied of an order before it."""
    folder = folder / LAYERS_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in (".tif", ".focuslab.json"):
            for path in folder.glob(f"[0-9]*_*{kind}"):
                path.unlink()
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made, or emptied: {error.strerror}.") from error
    names = [f"{i}_{file_name(layer.name)}" for i, layer in enumerate(layers)]
    return [(folder / name, layer_stack(layer)) for name, layer in zip(names, layers, strict=True)]


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that was started here.

    Its process is not always the one that trains: in a virtual environment of Windows, Python starts another. So the
    run is told a name, and writes it into its status.
    """

    process: subprocess.Popen[bytes]
    name: str

    @property
    def ended(self) -> bool:
        """Whether its process is no more."""
        return self.process.poll() is not None

    def wrote(self, status: Any) -> bool:
        """Whether a `TrainingStatus` is of this run."""
        return bool(status.order == self.name)


def start_training(order: TrainingOrder) -> StartedRun:
    """Start a run that goes on when the viewer is closed; what it says goes into `training.log`.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """
    from focuslab_training.status import ORDER

    name, own = uuid4().hex, {}
    if sys.platform == "win32":  # no console to be closed with
        own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    try:
        order.output.mkdir(parents=True, exist_ok=True)
        with (order.output / _LOG).open("wb") as log:
            process = subprocess.Popen(
                order.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, ORDER: name, "PYTHONUTF8": "1"},
                **own,
            )
        return StartedRun(process, name)
    except OSError as error:
        raise OutputError(f"The folder {order.output} cannot be used: {error.strerror}. Choose another.") from error


def stop_training(output: Path) -> None:
    """Have the run in a folder end after the step at work."""
    from focuslab_training.status import STOP

    (output / "training" / STOP).touch()


def learning_curves(output: Path, part: str) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values of the figures of a part, by name; validation last."""
    found: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    try:
        rows = list(csv.DictReader((output / "training" / part / "curve.csv").read_text(encoding="utf-8").splitlines()))
    except OSError:
        return {}
    for row in rows:
        if row.get("value"):
            steps, values = found[row["name"]]
            steps.append(float(row["step"]))
            values.append(float(row["value"]))
    return dict(sorted(found.items(), key=lambda item: item[0].startswith("validation")))


def last_words(output: Path) -> str:
    """Last line of what a run has said."""
    try:
        lines = (output / _LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
