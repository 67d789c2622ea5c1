"""One image and all its copies: what a worker does, in whichever thread, process or machine."""

import errno
import json
import math
import shutil
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import focuslab
from focuslab.augment.copies import Copy, Task
from focuslab.augment.sources import Companion, Source, check_label
from focuslab.errors import FocusLabError, ImageError, OutputError
from focuslab.files import drafted, stem_of
from focuslab.io import plate_of, writer_of
from focuslab.io.destination import sidecar_path
from focuslab.models.bundle import CARD, Model
from focuslab.models.zoo import load_model
from focuslab.refocusing.batch import unexpected
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.progress import finish
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.steps import refocus_steps
from focuslab.refocusing.survey import focus_curve_steps
from focuslab.stack import FocalStack

__all__ = ["Order", "Result", "carried_place", "make_copies", "record_of"]

_TILE = 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no other image could be written either
_FRAMES = 4  # planes of a field that its level is read from, at most, per channel


@dataclass(frozen=True, slots=True)
class Order:
    """What all tasks of a run have in common: destination, model, device, numbers that go before the files'.

    `reading` are arguments of `focuslab.read`: how the files are to be understood.
    """

    destination: Path
    model: str
    device: str = "cpu"
    optics: dict[str, float | None] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """Records of the copies of an image, or why there are none; `pixels` that were made now."""

    place: str
    records: tuple[dict[str, Any], ...] = ()
    error: FocusLabError | None = None
    pixels: int = 0


def make_copies(task: Task, order: Order) -> Result:
    """Make those copies of an image that are not there yet, and put its companions beside them."""
    if task.source.error is not None:
        return Result(task.source.place, error=task.source.error)
    try:
        missing = [copy for copy in task.copies if record_of(task, copy, order) is None]
        taken = task.source.state()
        stack = task.source.open(order.optics, order.reading) if missing or task.source.companions else None
        if stack is not None:
            for companion in task.source.companions:
                if companion.is_label:
                    check_label(companion.path, stack)
            for copy in task.copies:  # also beside those that are there: labels may have been added, or corrected
                for companion in task.source.companions:
                    _carry(companion, task, copy, order)
        if stack is not None and missing:
            engine = _engine(order.model, _written(order.model), order.device)
            level = _level(stack, task, engine)
            for copy in missing:
                _make(stack, task, copy, level, engine, order, taken)
        records = tuple(r for c in task.copies if (r := record_of(task, c, order)) is not None)
        made = len(missing) * math.prod(stack.shape) if stack is not None else 0
        return Result(task.source.place, records, pixels=made)
    except FocusLabError as error:
        return Result(task.source.place, error=error)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return Result(task.source.place, error=OutputError(f"A file cannot be written: {error}."))
        return Result(task.source.place, error=ImageError(f"A file cannot be read or written: {error}."))
    except Exception as error:  # a file like no other; the next ones are not to suffer
        return Result(task.source.place, error=unexpected(task.source.place, error))


def record_of(task: Task, copy: Copy, order: Order) -> dict[str, Any] | None:
    """Record of a copy that is there whole, the one that is wanted, of the image as it is now; None otherwise."""
    output = order.destination / copy.output
    try:
        said = json.loads(sidecar_path(output).read_text(encoding="utf-8"))
        if said["input"] != task.source.state():
            return None
        record = said["augment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    wanted = _wanted(task, copy, order)
    return dict(record) if output.exists() and all(record.get(k) == v for k, v in wanted.items()) else None


def _wanted(task: Task, copy: Copy, order: Order) -> dict[str, Any]:
    """What of a record makes the copy what it is: another model, level or microscope makes another one."""
    said = {"level": task.level, "optics": order.optics, "reading": order.reading}
    wanted = {**copy.record(), **said, "sha256": _model(order.model, _written(order.model)).card.sha256}
    return dict(json.loads(json.dumps(wanted)))  # as it comes back from a file, to be compared


def _written(model: str) -> int:
    """When a bundle was: one that is trained anew is another model."""
    card = Path(model) / CARD
    return card.stat().st_mtime_ns if card.exists() else 0


@lru_cache(maxsize=2)
def _model(model: str, written: int) -> Model:
    return load_model(model)


@lru_cache(maxsize=2)
def _engine(model: str, written: int, device: str) -> Engine:
    return Engine(_model(model, written), device)


def _level(stack: FocalStack, task: Task, engine: Engine) -> float | None:
    """Blur level of a field, um or px as its shifts are, one for all channels and time points; NaN if it is empty.

    A focal stack has one level per plane, which refocusing reads itself: None.
    """
    if task.level == "sharp":
        return 0.0
    if stack.size("Z") > 1:
        return None
    frames = {int(t) for t in np.linspace(0, stack.size("T") - 1, _FRAMES)}
    planes = [i for i in stack.planes() if stack.position(i, "T") in frames]
    found = [p for p in finish(focus_curve_steps(stack, planes, engine.model)) if p.estimate.found]
    um = task.copies[0].unit == "um"
    values = [p.level_um if um and p.level_um is not None else p.estimate.level_px for p in found]
    return float(np.median(values)) if values else float("nan")


def _make(
    stack: FocalStack,
    task: Task,
    copy: Copy,
    level: float | None,
    engine: Engine,
    order: Order,
    taken: dict[str, int],
) -> None:
    output = order.destination / copy.output
    output.parent.mkdir(parents=True, exist_ok=True)
    empty = level is not None and np.isnan(level)
    known = {} if level is None else {f"level_{copy.unit}": 0.0 if empty else level}
    request = RefocusRequest(way=copy.way, **{f"shift_{copy.unit}": copy.shift}, **known)  # type: ignore[arg-type]
    with writer_of(output, stack, overwrite=True) as writer:
        writer.aside = {"input": taken}
        said = finish(refocus_steps(stack, request, engine, writer.array, keep_nan=True, tile=_TILE))
        said.pop("seconds")  # the same copy is the same file
        levels = [p.get("level_px") for p in said["planes"]]
        said["augment"] = {
            "source": task.source.place,
            **_wanted(task, copy, order),
            "level_px": levels,
            "structure": not empty and any(v is not None for v in levels),
            "model": engine.model.identity["name"],
            "intensity_drift": said["mean_intensity_drift"],
            "saturated_pixels": said["saturated_pixels"],
            "extrapolated": any(note.startswith("Extrapolated") for note in said["notes"]),
            "notes": said["notes"],
            "focuslab": focuslab.__version__,
            "torch": torch.__version__,
        }
        writer.provenance = said


def carried_place(companion: Companion, source: Source, copy: Copy) -> str:
    """Where a file that goes with an image lies beside a copy, below the destination.

    What goes with a field of a plate lies in folders of the name of the plate, those of its copy in such of the copy's.
    """
    endings = companion.path.name[len(stem_of(Path(source.place))) :]
    place, image, output = Path(companion.place), Path(source.place), Path(copy.output)
    if (plate := plate_of(image)) is not None:
        named = output.parts[len(plate.parts) - 1]
        place = Path(*(named if part in (plate.name, stem_of(plate)) else part for part in place.parts))
    return (place / f"{stem_of(output)}{endings}").as_posix()


def _carry(companion: Companion, task: Task, copy: Copy, order: Order) -> None:
    """Copy a file that goes with an image, whole or not at all, under the name of a copy and with its own endings."""
    target = order.destination / carried_place(companion, task.source, copy)
    target.parent.mkdir(parents=True, exist_ok=True)
    with drafted(target) as draft:
        shutil.copyfile(companion.path, draft)
