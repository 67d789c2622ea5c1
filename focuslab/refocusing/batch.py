"""Many images through one engine, each into its own file; one that fails is reported and the others go on."""

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from focuslab.errors import FocusLabError, ImageError, OutputError, RequestError
from focuslab.files import make_folder, place_of, state_of
from focuslab.io import copy_plate, images_of, is_plate, plate_of, read, writer_of
from focuslab.io.destination import sidecar_path
from focuslab.io.folders import written_name
from focuslab.io.pattern import files_of_pattern, stack_of_files
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.filling import DEFAULT_TILE
from focuslab.refocusing.levels import how_sure
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.steps import refocus_steps
from focuslab.stack import FocalStack

__all__ = [
    "BatchProgress",
    "Job",
    "Outcome",
    "batch_steps",
    "check_targets",
    "copy_plates",
    "files_in",
    "jobs_of",
    "jobs_of_pattern",
    "made_before",
    "summary",
    "unexpected",
]


@dataclass(frozen=True, slots=True)
class Job:
    """One image: what it is called, how it is opened, where its result goes.

    Attributes
    ----------
    files
        Those that it lies in; none for an image in memory.
    reading
        What was said of how to read them, as far as it makes another result.
    """

    name: str
    open: Callable[[], FocalStack]
    target: Path
    files: tuple[Path, ...] = ()
    reading: dict[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> Path | None:
        """Its file, if it is one."""
        return self.files[0] if len(self.files) == 1 else None

    def input(self) -> dict[str, Any]:
        """What tells its input from another one of its name, as it comes back from a record."""
        return dict(json.loads(json.dumps({"name": self.name, **state_of(self.files), "reading": self.reading})))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: its provenance, or the error that it ended with."""

    job: Job
    provenance: dict[str, Any] | None = None
    error: FocusLabError | None = None


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """Images done, the one at work counted by its share; of all; and an outcome, when one is known."""

    done: float
    total: int
    outcome: Outcome | None = None


def files_in(folder: Path, files: str = "**/*", results: Path | None = None) -> list[Path]:
    """Images of a folder whose names match a glob, sorted; without those of a folder of results that lies in it.

    Raises
    ------
    RequestError
        If there is no such folder, or nothing in it matches.
    """
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder}.")
    found = images_of(folder, files)
    if results is not None and results.resolve() != folder.resolve():
        found = [path for path in found if not path.resolve().is_relative_to(results.resolve())]
    if not found:
        raise RequestError(
            f"No image in {folder} matches {files!r}: choose another folder or another pattern ('*.tif' for the folder "
            "itself, '**/*' for its subfolders as well)."
        )
    return found


def jobs_of(
    files: Sequence[Path], output: Path, opened: Callable[[Path], FocalStack] = read, *, below: Path | None = None
) -> list[Job]:
    """Jobs that write every file under its own name into a folder, keeping subfolders `below` one."""
    names = [path.relative_to(below) if below is not None else Path(path.name) for path in files]
    targets = [output / name.with_name(written_name(path)) for path, name in zip(files, names, strict=True)]
    return [
        Job(_name(path, below), lambda path=path: opened(path), target, (path,))  # type: ignore[misc]
        for path, target in zip(files, targets, strict=True)
    ]


def jobs_of_pattern(folder: Path, pattern: str, output: Path, optics: dict[str, Any]) -> list[Job]:
    """Jobs for the stacks of a folder of one file per plane, opened when it is their turn: see `files_of_pattern`.

    What is said of the microscope, `optics`, are arguments of `FocalStack.calibrated`.
    """
    axes, stacks = files_of_pattern(folder, pattern)

    def opened(name: str, planes: dict[tuple[int, ...], Path]) -> FocalStack:
        return stack_of_files(name, planes, axes, pixel_size_um=optics.get("pixel_size_um")).calibrated(**optics)

    return [
        Job(name, partial(opened, name, planes), output / f"{name}.ome.tif", tuple(planes.values()))
        for name, planes in stacks.items()
    ]


def check_targets(jobs: Sequence[Job]) -> None:
    """See that no job writes over what another one writes.

    Raises
    ------
    RequestError
        If two results would have the same name, or share the record of their provenance, or if one would be written
        over the input of another.
    """
    targets = [job.target for job in jobs]
    places = [place_of(target) for target in targets]
    counts = Counter(places)
    if twice := [target.name for target, place in zip(targets, places, strict=True) if counts[place] > 1]:
        raise RequestError(f"Several inputs are called {twice[0]}: refocus them into different folders.")
    inputs = {place_of(path): job for job in jobs for path in job.files}
    if over := [job.target for job, place in zip(jobs, places, strict=True) if inputs.get(place, job) is not job]:
        raise RequestError(f"{over[0]} is an input itself, and would be written over: choose another folder.")
    records = Counter(sidecar_path(target) for target in targets)
    if shared := [target.name for target in targets if records[sidecar_path(target)] > 1]:
        raise RequestError(
            f"{shared[0]} and {shared[1]} would share one record of their provenance: rename one of them, or refocus "
            "them into different folders."
        )


def _name(path: Path, below: Path | None) -> str:
    """Name of an image: its path below the folder that was named, of a field with its plate, else its file's name."""
    plate = plate_of(path)
    root = plate.parent if plate is not None else below
    return path.name if root is None else path.relative_to(root).as_posix()


def batch_steps(
    jobs: Sequence[Job],
    request: RefocusRequest,
    engine: Engine,
    *,
    overwrite: bool = False,
    keep_nan: bool = False,
    tile: int = DEFAULT_TILE,
) -> Generator[BatchProgress, None, list[Outcome]]:
    """Refocus every image into its file.

    Parameters
    ----------
    jobs
        What to do.
    request, engine, keep_nan, tile
        As in `refocus_steps`.
    overwrite
        Replace results that are there.

    Yields
    ------
    BatchProgress
        Closing the generator leaves no half file.

    Returns
    -------
    list of Outcome
        Of every job.
    """
    outcomes = []
    for i, job in enumerate(jobs):
        yield BatchProgress(i, len(jobs))
        try:
            provenance = yield from _one(job, i, len(jobs), request, engine, overwrite, keep_nan, tile)
            outcomes.append(Outcome(job, provenance))
        except FocusLabError as error:
            outcomes.append(Outcome(job, error=error))
        except OSError as error:  # a share that is gone, a disk that is full
            outcomes.append(Outcome(job, error=OutputError(f"{job.name} cannot be read or written: {error}.")))
        except Exception as error:  # a file like no other; the next ones are not to suffer
            outcomes.append(Outcome(job, error=unexpected(job.name, error)))
        yield BatchProgress(i + 1, len(jobs), outcomes[-1])
    copy_plates(jobs)
    return outcomes


def made_before(job: Job, request: RefocusRequest, engine: Engine) -> bool:
    """Whether the result of a job is there, and its record, if it has one, is of the same input, request and model."""
    if not job.target.exists():
        return False
    try:
        wanted = (request.said, request.way, engine.model.identity["sha256"], job.input())
        record = json.loads(sidecar_path(job.target).read_text(encoding="utf-8"))
        made = record["request"], record["way"], record["model"]["sha256"], record["input"]
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):  # of something else
        return False
    return made == wanted


def unexpected(name: str, error: Exception) -> FocusLabError:
    """Error of an image that nobody thought of; its traceback is in the log."""
    logging.getLogger(__name__).error("%s failed", name, exc_info=error)
    return ImageError(f"{name} cannot be worked on ({type(error).__name__}: {error}). Please report it with the file.")


def copy_plates(jobs: Sequence[Job]) -> None:
    """Say of the plates that the results of jobs lie in what those of their sources say."""
    for source, target in {(plate_of(j.source), plate_of(j.target)) for j in jobs if j.source is not None}:
        if source is not None and target is not None and is_plate(source):
            copy_plate(source, target)


def summary(provenance: dict[str, Any]) -> str:
    """What was done to an image, in one line."""
    planes = provenance["planes"]
    done = [p for p in planes if "level_px" in p]
    if not done:
        return f"{_counted(len(planes))} copied"
    levels = sorted(p["level_px"] for p in done)
    shifts = sorted(p["shift_px"] + 0.0 for p in done)  # not -0
    spread = f"{levels[0]:.1f}" if levels[0] == levels[-1] else f"{levels[0]:.1f} to {levels[-1]:.1f}"
    moved = f"{shifts[0]:+.1f}" if shifts[0] == shifts[-1] else f"{shifts[0]:+.1f} to {shifts[-1]:+.1f}"
    sure = [p["confidence"] for p in done if "confidence" in p]
    origin = done[0]["level"] + (f", {how_sure(*sure)}" if sure else "")
    text = f"{_counted(len(done))}, blur level {spread} px ({origin}), shift {moved} px"
    for count, what in ((provenance["saturated_pixels"], "saturated"), (provenance["darkened_pixels"], "cut off at 0")):
        text += f", {count} pixels {what}" if count else ""
    return text


def _counted(planes: int) -> str:
    return f"{planes} plane{'s' if planes != 1 else ''}"


def _one(
    job: Job,
    place: int,
    total: int,
    request: RefocusRequest,
    engine: Engine,
    overwrite: bool,
    keep_nan: bool,
    tile: int,
) -> Generator[BatchProgress, None, dict[str, Any]]:
    stack = job.open()
    taken = job.input()
    if job.source is not None and job.target.exists() and place_of(job.target) == place_of(job.source):
        raise OutputError(f"{job.target} is the input itself: write to another folder or name.")
    with _made(job.target.parent), writer_of(job.target, stack, overwrite=overwrite) as writer:
        writer.aside = {"input": taken}
        steps = refocus_steps(stack, request, engine, writer.array, keep_nan=keep_nan, tile=tile)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                writer.provenance = end.value
                return dict(end.value)
            yield BatchProgress(place + step.done / step.total, total)


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; if what follows fails, unmake what is new and empty of it."""
    fresh = [p for p in (folder, *folder.parents) if not p.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        for path in fresh:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
