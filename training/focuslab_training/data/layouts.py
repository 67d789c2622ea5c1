"""What lies in a data set: the layouts that focal stacks are stored in, and stacks that are simulated.

A candidate is a stack that is named but not read: opening it may fail.

References
----------
.. [1] V. Ljosa et al., "Annotated high-throughput microscopy image sets for validation", Nat. Methods 9, 637 (2012),
       doi 10.1038/nmeth.2083: BBBC006.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import ImageError, RequestError
from focuslab.io import images_of, read, well_of
from focuslab.io.pattern import files_of_pattern, stack_of_files, well_in
from focuslab.optics import Optics
from focuslab.pixels import LazyPixels, Region
from focuslab.refocusing.screen import Wells
from focuslab.simulation import simulate_stack
from focuslab.stack import FocalStack
from focuslab_training.data.specimens import Specimen, SpecimenPool
from focuslab_training.data.split import NUMBERED
from focuslab_training.sections import StackSource

__all__ = ["Candidate", "chosen_planes", "list_candidates"]

_BBBC006_FILE = re.compile(r"mcf-z-stacks-\d+_(?P<well>[a-p]\d\d)_s(?P<site>\d)_w(?P<w>\d).*\.tif", re.IGNORECASE)
_BBBC006_FOLDER = re.compile(r"BBBC006_v1_images_z_(?P<z>\d+)", re.IGNORECASE)
_KEPT = 64  # simulated stacks held in memory


@dataclass(frozen=True, slots=True)
class Candidate:
    """A focal stack of a data set: its name, what must stay on one side of a split, its channel, and how to open it."""

    name: str
    unit: str
    well: str | None
    channel: int
    open: Callable[[], FocalStack]


def list_candidates(source: StackSource, data: Path | None, specimens: SpecimenPool | None = None) -> list[Candidate]:
    """Find the stacks of a source.

    Raises
    ------
    RequestError
        If files are asked for and there is no such folder.
    """
    if source.layout == "simulated":
        return list(_simulated(source, specimens or SpecimenPool(())))
    if data is None:
        raise RequestError("Focal stacks need a folder: name it with --data.")
    if not data.is_dir():
        raise RequestError(f"Focal stacks need a folder, {data} is {'a file' if data.exists() else 'not there'}.")
    return list({"bbbc006": _bbbc006, "stacks": _stacks, "pattern": _pattern}[source.layout](source, data))


def chosen_planes(source: StackSource, count: int | None) -> range:
    """Planes that a source asks for, of a stack of `count`, if that is known.

    Raises
    ------
    ImageError
        If the stack has fewer.
    """
    first, last, step = source.planes or (0, (count or 1) - 1, 1)
    if count is not None and last >= count:
        raise ImageError(f"Planes up to {last} are asked for, the stack has {count}.")
    return range(first, last + 1, step)


def _bbbc006(source: StackSource, data: Path) -> Iterator[Candidate]:
    """Folders BBBC006_v1_images_z_00 to _33; the uuid in a file's name differs from plane to plane [1]_."""
    found: dict[tuple[str, str], dict[int, Path]] = {}
    for folder in sorted(data.iterdir()):
        plane = _BBBC006_FOLDER.fullmatch(folder.name)
        if plane is None or not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            file = _BBBC006_FILE.fullmatch(path.name)
            if file and int(file["w"]) == source.channel + 1:
                found.setdefault((file["well"].lower(), file["site"]), {})[int(plane["z"])] = path
    every = sorted({z for files in found.values() for z in files})
    for (well, site), files in sorted(found.items()):
        name = f"{well}_s{site}"
        yield Candidate(name, name, well, 0, partial(_joined, name, files, every, source.channel))


def _joined(name: str, files: dict[int, Path], every: list[int], channel: int) -> FocalStack:
    if lacking := [z for z in every if z not in files]:
        raise ImageError(f"The stack lacks {len(lacking)} of {len(every)} planes, the first at z = {lacking[0]}.")
    if every != list(range(len(every))):
        gap = next(i for i, z in enumerate(every) if i != z)
        raise ImageError(f"The data set lacks its plane z = {gap}.")
    stack = stack_of_files(name, {(z,): files[z] for z in every}, "Z")
    hoechst = (0.461,) if channel == 0 else ()  # of the phalloidin of w2 the data set does not say
    return replace(
        stack, calibration=Calibration(pixel_size_um=0.645, z_step_um=2.0, na=0.5, index=1.0, wavelengths_um=hoechst)
    )


def _stacks(source: StackSource, data: Path) -> Iterator[Candidate]:
    for path in images_of(data, source.files):
        name = path.relative_to(data).as_posix()
        well = (well_of(path) or Wells().of(path.name))[0]
        yield Candidate(name, name, well, source.channel, partial(read, path))


def _pattern(source: StackSource, data: Path) -> Iterator[Candidate]:
    axes, stacks = files_of_pattern(data, source.pattern or "")
    opened = partial(stack_of_files, pixel_size_um=source.pixel_size_um)
    for name, files in stacks.items():
        well = well_in(name, source.pattern or "")
        yield Candidate(name, name, well, source.channel, partial(opened, name, files, axes))


def _simulated(source: StackSource, pool: SpecimenPool) -> Iterator[Candidate]:
    optics = Optics(
        na=source.na,
        wavelength_um=source.wavelength_um,
        pixel_size_um=source.pixel_size_um,
        index=source.index or 1.0,
        thickness_um=source.thickness_um or 0.0,
    )
    distances = [(z - source.focus) * source.z_step_um for z in chosen_planes(source, None)]  # type: ignore[operator]
    number = 0
    for _, group in pool.groups:
        for specimen in group:
            name, number = f"{specimen.name}{NUMBERED}{number}", number + 1
            pixels = _Simulated(specimen, optics, distances, source, number)
            said = Calibration.of(optics, z_step_um=source.z_step_um)
            yield Candidate(name, specimen.name, None, 0, partial(_imaged, specimen, pixels, said))


def _imaged(specimen: Specimen, pixels: "_Simulated", said: Calibration) -> FocalStack:
    if not specimen.light.any():
        raise ImageError("The image is blank: there is nothing in it to be imaged.")
    return FocalStack(pixels, "ZYX", said)


class _Simulated(LazyPixels):
    """Pixels of a simulated focal stack, made when they are first asked for."""

    def __init__(
        self, specimen: Specimen, optics: Optics, distances: list[float], source: StackSource, seed: int
    ) -> None:
        self._made = (specimen, optics, tuple(distances), source.photons, source.read_noise, seed)
        self.shape, self.dtype = (len(distances), *specimen.shape), np.dtype(np.uint16)

    def _read(self, region: Region) -> NDArray[Any]:
        return _simulate(self)[region]

    def make(self) -> NDArray[np.uint16]:
        specimen, optics, distances, photons, read_noise, seed = self._made
        noisy, _ = simulate_stack(
            specimen.light, optics, distances_um=distances, photons=photons, read_noise=read_noise, seed=seed
        )
        return np.asarray(noisy.array)


@lru_cache(maxsize=_KEPT)
def _simulate(pixels: _Simulated) -> NDArray[np.uint16]:
    return pixels.make()
