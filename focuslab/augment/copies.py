"""Which copies are made of which image, decided before anything is computed.

What happens to copy k of an image follows from the seed, the image's place in its data set and k: not from the order
in which images are worked on, nor from who works on them.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from focuslab.augment.sources import Source, stem_of
from focuslab.errors import RequestError
from focuslab.io import plate_of
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

    def __post_init__(self) -> None:
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
    """All copies of one image; `level_px` where it is known already, as in a manifest."""

    source: Source
    copies: tuple[Copy, ...]
    level: Literal["read", "sharp"]


def plan_copies(sources: Sequence[Source], request: AugmentRequest) -> list[Task]:
    """Draw what is done to every image."""
    return [
        Task(source, tuple(_copy(source, k, request) for k in range(request.copies)), request.level)
        for source in sources
    ]


def _copy(source: Source, number: int, request: AugmentRequest) -> Copy:
    random = np.random.default_rng([request.seed, zlib.crc32(source.place.encode()), number])
    shift = round(float(random.uniform(*request.blur)), 4)
    drawn: Way = "model" if random.integers(2) else "optics"
    way: Way = drawn if request.way == "mixed" else request.way
    place = Path(source.place)
    whole = plate_of(place) or place  # a copy of a plate is a plate
    name = f"{stem_of(whole)}_defocus{number:02d}{whole.name[len(stem_of(whole)) :]}"
    output = whole.parent / name / place.relative_to(whole)
    return Copy(number, output.as_posix(), shift, request.unit, way, request.seed)
