"""A whole data set: planned, made by as many workers as there are, written down in a manifest."""

import contextlib
import csv
import json
import re
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import focuslab
from focuslab.augment.copies import AugmentRequest, Copy, Task, plan_copies
from focuslab.augment.sources import Companion, Source, find_sources, tables_of
from focuslab.augment.work import Order, Result, carried_place, make_copies
from focuslab.augment.workers import on_cluster, on_threads
from focuslab.errors import ModelError, OutputError, RequestError
from focuslab.files import drafted, make_folder
from focuslab.io import copy_plate, is_plate, plate_of
from focuslab.io.ome_zarr import is_zarr
from focuslab.models.zoo import bundled_cards

__all__ = ["MANIFEST", "AugmentProgress", "Plan", "augment_steps", "plan_folder", "plan_replay"]

MANIFEST = "manifest.json"
_TABLE = "manifest.csv"
_DRAFT = re.compile(r"\.(.+\.[0-9a-f]{8}|[0-9a-f]{32})\.part(\.json|\.old)?")  # a file being written, or a probe
_COLUMNS = (
    "source", "output", "number", "shift", "unit", "way", "level_px", "structure", "model", "sha256", "seed",
    "intensity_drift", "saturated_pixels", "extrapolated", "notes", "focuslab", "torch",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks, and the tables that are carried as they are: source and destination."""

    tasks: tuple[Task, ...]
    tables: tuple[tuple[Path, str], ...]
    said: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AugmentProgress:
    """Images done and to do, and what came of the last one."""

    done: int
    total: int
    result: Result | None = None


def plan_folder(
    source: Path,
    destination: Path,
    request: AugmentRequest,
    *,
    files: str = "**/*",
    pattern: str | None = None,
    labels: Path | None = None,
    labels_missing: str = "fail",
) -> Plan:
    """Decide what is made of a data set; nothing is read but names.

    Raises
    ------
    RequestError
        If there is nothing to do, or source and destination lie in each other.
    """
    source, labels = source.absolute(), labels.absolute() if labels is not None else None  # workers are elsewhere
    here, there = source.resolve(), destination.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise RequestError(f"{source} and {destination} lie in each other: copies go into a folder of their own.")
    sources = find_sources(source, files, pattern=pattern, labels=labels, labels_missing=labels_missing)
    tasks = plan_copies(sources, request)
    copied_before = source / _TABLE if (source / MANIFEST).is_file() else None  # what an augmentation says of itself
    found = [path for path in tables_of(source, sources) if path != copied_before]
    tables = tuple((path, path.relative_to(source).as_posix()) for path in found)
    _check_places(tasks, tables)
    root = here if source.is_dir() and not is_zarr(source) else here.parent
    said = {
        "root": str(root),
        "pattern": pattern,
        "level": request.level,
        "seed": request.seed,
        "companions": {
            s.place: [[str(c.path.resolve()), c.place, c.is_label] for c in s.companions]
            for s in sources
            if s.companions
        },
        "tables": [[str(path.resolve()), place] for path, place in tables],
    }
    return Plan(tuple(tasks), tables, said)


def _check_places(tasks: Sequence[Task], tables: Sequence[tuple[Path, str]]) -> None:
    """See that nothing of a data set is written over something else of it."""
    copies = [(copy.output, task.source.path) for task in tasks for copy in task.copies]
    carried = [
        (carried_place(companion, task.source, copy), companion.path)
        for task in tasks
        for copy in task.copies
        for companion in task.source.companions
    ]
    owners = {place: Path("the manifest") for place in (MANIFEST, _TABLE)}
    for place, path in (*copies, *carried, *((place, path) for path, place in tables)):
        if owners.setdefault(place, path) != path:
            raise RequestError(
                f"A copy of {path} would be written over one of {owners[place]}, as {place}: call it differently, or "
                "keep labels in a folder that is not called like one of the images' folders."
            )


def plan_replay(manifest: Path) -> tuple[Plan, Order]:
    """What a manifest says was made, to be made again; the order lacks its destination.

    Raises
    ------
    RequestError
        If it is no manifest, or an image that it names is gone.
    ModelError
        If the model is another one now.
    """
    from focuslab.models.zoo import load_model

    try:
        said = json.loads(manifest.read_text(encoding="utf-8"))
        root, copies, order = Path(said["run"]["root"]), said["copies"], said["run"]["order"]
        by_source: dict[str, list[Copy]] = {}
        for row in copies:
            fields = {name: row[name] for name in ("number", "output", "shift", "unit", "way", "seed")}
            by_source.setdefault(row["source"], []).append(Copy(**fields))
        tables = tuple((Path(path), place) for path, place in said["run"]["tables"])
        companions = {
            place: tuple(Companion(Path(path), folder, is_label) for path, folder, is_label in some)
            for place, some in said["run"]["companions"].items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{manifest} is not a manifest of FocusLab: {error}.") from error
    pattern = said["run"].get("pattern")
    stacks = {} if pattern is None else {s.place: s for s in find_sources(root, pattern=pattern)}
    sources = {
        place: replace(stacks.get(place, Source(root / place, place)), companions=companions.get(place, ()))
        for place in by_source
    }
    named = [*(s.path for s in sources.values()), *(c.path for s in sources.values() for c in s.companions)]
    if gone := [path for path in [*named, *(path for path, _ in tables)] if not path.exists()]:
        raise RequestError(f"{len(gone)} files of the manifest are gone, the first is {gone[0]}.")
    model = load_model(order["model"])
    if any(row["sha256"] != model.identity["sha256"] for row in copies):
        raise ModelError(f"The model {order['model']!r} is not the one that the manifest was made by: other weights.")
    level = said["run"]["level"]
    tasks = tuple(Task(sources[place], tuple(some), level) for place, some in by_source.items())
    again = Order(Path(), order["model"], order["device"], order["optics"], order.get("reading", {}))
    return Plan(tasks, tables, said["run"]), again


def augment_steps(
    plan: Plan, order: Order, *, workers: int = 1, scheduler: str | None = None
) -> Generator[AugmentProgress, None, list[Result]]:
    """Make all copies that are not there yet, and the manifest of all that are.

    Parameters
    ----------
    plan, order
        What to make, where, by which model.
    workers
        Threads of this process.
    scheduler
        Address of a Dask cluster to use instead.

    Returns
    -------
    list of Result
        One per image, in the order of the plan.

    Raises
    ------
    OutputError
        If the disk is full: what is there is whole, and the same command goes on.
    """
    order = replace(order, destination=order.destination.absolute(), model=_placed(order.model))
    make_folder(order.destination)
    _sweep(order.destination)
    make = partial(make_copies, order=order)
    total, found = len(plan.tasks), {}
    results = (
        on_threads(make, plan.tasks, workers) if scheduler is None else on_cluster(make, plan.tasks, scheduler, _lost)
    )
    yield AugmentProgress(0, total)
    with contextlib.closing(results):  # whatever happens, no task is left running
        for result in results:
            if isinstance(result.error, OutputError):
                raise result.error
            found[result.place] = result
            yield AugmentProgress(len(found), total, result)
    for source, target in {
        (plate_of(task.source.path), plate_of(order.destination / copy.output))
        for task in plan.tasks
        for copy in task.copies
    }:
        if source is not None and target is not None and is_plate(source):
            copy_plate(source, target)
    ordered = [found[task.source.place] for task in plan.tasks]
    try:
        _write(order, plan, [record for result in ordered for record in result.records])
        for path, place in plan.tables:
            (order.destination / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, order.destination / place)
    except OSError as error:
        raise OutputError(f"A table cannot be read or written ({error}): see to it, and run the same again.") from error
    _sweep(order.destination)
    return ordered


def _placed(model: str) -> str:
    """Path of a model wherever its workers are; the name of a bundled one."""
    return model if model in bundled_cards() else str(Path(model).absolute())


def _lost(task: Task, error: BaseException) -> Result:
    """Result of an image whose workers died, again and again."""
    said = f"Its workers died ({type(error).__name__}): is there enough memory for an image of its size?"
    return Result(task.source.place, error=RequestError(said))


def _sweep(folder: Path) -> None:
    """Take away what a killed run or worker has left half done."""
    for leftover in list(folder.rglob(".*.part*")):
        if not _DRAFT.fullmatch(leftover.name):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # one that is still open, on Windows, is taken away the next time
                leftover.unlink(missing_ok=True)


def _write(order: Order, plan: Plan, records: Sequence[dict[str, Any]]) -> None:
    """Write the manifest as JSON and CSV."""
    run = {
        **plan.said,
        "order": {"model": order.model, "device": order.device, "optics": order.optics, "reading": order.reading},
        "focuslab": focuslab.__version__,
    }
    with drafted(order.destination / MANIFEST) as draft:
        draft.write_text(json.dumps({"run": run, "copies": list(records)}, indent=1) + "\n", encoding="utf-8")
    with drafted(order.destination / _TABLE) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(_COLUMNS)
        table.writerows([[_cell(record.get(name)) for name in _COLUMNS] for record in records])


def _cell(value: Any) -> Any:
    return " ".join("" if v is None else str(v) for v in value) if isinstance(value, list) else value
