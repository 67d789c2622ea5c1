"""Which copies are made of which image, decided before anything is computed.

What happens to copy k of an image follows from the seed, the image's place in its data set and k: not from the order
in which images are worked on, nor from who works on them.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from focuslab.augment.sources import Source
from focuslab.errors import RequestError, check_choices
from focuslab.files import stem_of
from focuslab.io import plate_of
from focuslab.io.destination import sidecar_path
from focuslab.io.folders import written_name
from focuslab.refocusing.request import Way

__all__ = ["AugmentRequest", "Copy", "Task", "plan_copies"]


@dataclass(frozen=True, slots=True)
class AugmentRequest:
    """What is done to a data set.

    Parameters
    ----------
    copies
        Of every image.
    blur
        Range of the distance from focus (um) or blur radius (px) that is added, drawn evenly.
    unit
        ``um`` or ``px``.
    way
        ``model``, ``optics``, or ``mixed``: either at random.
    level
        Whether images are taken as in focus (``sharp``), or their own blur is ``read``: once per field, for all its
        channels and time points.
    seed
        The same seed makes the same copies.
    format
        Of the copies: ``tiff``, ``ome-zarr``, or each image's own (``same``).

    Raises
    ------
    RequestError
        If it cannot be done.
    """

    copies: int
    blur: tuple[float, float]
    unit: Literal["um", "px"] = "px"
    way: Literal["model", "optics", "mixed"] = "mixed"
    level: Literal["read", "sharp"] = "read"
    seed: int = 0
    format: Literal["same", "tiff", "ome-zarr"] = "same"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.copies < 1:
            raise RequestError(f"At least one copy of every image is made, got {self.copies}.")
        if not 0 <= self.blur[0] <= self.blur[1] < float("inf"):
            raise RequestError(f"A range of blur has two ascending numbers from 0 on, got {self.blur}.")


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of an image.

    Attributes
    ----------
    number
        From 0.
    output
        Path below the destination, with forward slashes.
    shift, unit
        Blur that is added.
    way
        By the model or by optics.
    seed
        That it was drawn from.
    """

    number: int
    output: str
    shift: float
    unit: Literal["um", "px"]
    way: Way
    seed: int

    def record(self) -> dict[str, Any]:
        """As a manifest says it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Task:
    """All copies of one image, and whether its own level is read."""

    source: Source
    copies: tuple[Copy, ...]
    level: Literal["read", "sharp"]


def plan_copies(sources: Sequence[Source], request: AugmentRequest) -> list[Task]:
    """Draw what is done to every image; one whose copies would have the names of another's gets an error instead."""
    tasks, owners = [], dict[Path, str]()
    for source in sources:
        copies = tuple(_copy(source, k, request) for k in range(request.copies))
        owner = owners.setdefault(sidecar_path(Path(copies[0].output)), source.place)
        if owner != source.place:
            error = RequestError(f"Its copies would have the names of those of {owner}: rename one of the two.")
            source = replace(source, error=error)
        tasks.append(Task(source, copies, request.level))
    return tasks


def _copy(source: Source, number: int, request: AugmentRequest) -> Copy:
    random = np.random.default_rng([request.seed, zlib.crc32(source.place.encode()), number])
    shift = round(float(random.uniform(*request.blur)), 4)
    drawn: Way = "model" if random.integers(2) else "optics"
    way: Way = drawn if request.way == "mixed" else request.way
    output = _output(source, number, request.format)
    return Copy(number, output.as_posix(), shift, request.unit, way, request.seed)


def _output(source: Source, number: int, wanted: str) -> Path:
    """Where a copy lies: a copy of a plate is a plate, or a folder of the files of its fields."""
    place = Path(source.place)
    plate = plate_of(place)
    whole = plate or (place if source.planes is not None else place.with_name(written_name(source.path)))
    name = f"{stem_of(whole)}_defocus{number:02d}"
    zarr = whole.suffix.lower() == ".zarr"
    if plate is not None and wanted == "tiff":
        field = place.relative_to(plate)
        return plate.parent / name / field.with_name(f"{field.name}.ome.tif")
    if wanted == "same" or zarr == (wanted == "ome-zarr"):
        ending = whole.name[len(stem_of(whole)) :]
    else:
        ending = ".ome.tif" if zarr else ".ome.zarr"
    return whole.parent / f"{name}{ending}" / (place.relative_to(plate) if plate is not None else "")
