"""Fields of a data set, from the layouts that focal stacks are stored in.

A stack that cannot be used (unreadable, a plane missing, no focus, another number of planes or type than the rest of
its data set) is skipped and listed, or refused, as the recipe says. Images may differ in size: crops are learned from.

References
----------
.. [1] V. Ljosa et al., "Annotated high-throughput microscopy image sets for validation", Nat. Methods 9, 637 (2012),
       doi 10.1038/nmeth.2083: BBBC006.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.errors import CalibrationError, FocusLabError, ImageError, RequestError
from focuslab.io import read
from focuslab.io.pattern import files_of_pattern, stack_of_files, well_in
from focuslab.models.zoo import load_model
from focuslab.optics import Optics
from focuslab.refocusing.levels import estimate_level
from focuslab.refocusing.screen import Wells
from focuslab.simulation import simulate_stack
from focuslab.stack import Calibration, FocalStack
from focuslab_training.data.field import Field, fit_levels, focus_of, selected
from focuslab_training.data.specimens import Specimen, SpecimenPool
from focuslab_training.recipe import StackSource

__all__ = ["Gathered", "gather_fields"]

_BBBC006_FILE = re.compile(r"mcf-z-stacks-\d+_(?P<well>[a-p]\d\d)_s(?P<site>\d)_w(?P<w>\d).*\.tif", re.IGNORECASE)
_BBBC006_FOLDER = re.compile(r"BBBC006_v1_images_z_(?P<z>\d+)", re.IGNORECASE)
_KEPT = 64  # simulated stacks held in memory


@dataclass(slots=True)
class Gathered:
    """Fields that can be used, and one sentence for each that cannot."""

    fields: list[Field] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    unit: str
    well: str | None
    channel: int
    open: Callable[[], FocalStack]


def gather_fields(source: StackSource, data: Path | None, specimens: SpecimenPool | None = None) -> Gathered:
    """Find all fields of a source.

    Parameters
    ----------
    source
        Layout, optics, focus.
    data
        Folder that holds the files.
    specimens
        What simulated stacks show.

    Raises
    ------
    RequestError
        If there is no usable field.
    ImageError
        If a stack cannot be used and the source says to refuse.
    """
    if source.layout == "simulated":
        candidates = list(_simulated(source, specimens or SpecimenPool(())))
    elif data is None or not data.is_dir():
        raise RequestError(f"Focal stacks need a folder, got {data}: name it with --data.")
    else:
        candidates = list({"bbbc006": _bbbc006, "stacks": _stacks, "pattern": _pattern}[source.layout](source, data))
    found, failed = Gathered(), None
    for candidate in candidates:
        try:
            found.fields.append(_field(candidate, source))
        except (FocusLabError, OSError) as error:
            if source.on_bad == "refuse":
                raise
            failed = failed or error
            found.skipped.append(f"{candidate.name}: {error}")
    _keep_alike(found, source)
    if not found.fields:
        if isinstance(failed, CalibrationError):  # what is not known of the microscope is not known of any stack
            raise failed
        reasons = f" The first of {len(found.skipped)}: {found.skipped[0]}" if found.skipped else ""
        raise RequestError(f"No usable focal stack in {data} for layout {source.layout!r}.{reasons}")
    return found


def _field(candidate: _Candidate, source: StackSource) -> Field:
    stack = candidate.open()
    if candidate.channel >= stack.size("C"):
        raise ImageError(f"There is no channel {candidate.channel}: the stack has {stack.size('C')}.")
    if stack.size("Z") < 2:
        raise ImageError(f"A focal stack has at least two planes along Z, got axes {stack.axes} {stack.shape}.")
    planes = _chosen(source, stack.size("Z")) if source.layout != "simulated" else None
    optics, step = _optics(stack.calibration, source)
    focus_plane = source.focus
    if focus_plane is not None and planes is not None:
        if focus_plane not in planes:
            raise ImageError(f"The plane in focus, {focus_plane}, is not among the planes {list(planes)}.")
        focus_plane = planes.index(focus_plane)
    elif focus_plane is not None:
        focus_plane = list(_chosen(source, None)).index(focus_plane)
    part = selected(stack, channel=candidate.channel, planes=planes, columns=source.columns)
    if min(part.plane_shape) < 64:
        raise ImageError(f"Planes of {part.plane_shape} px are too small: at least 64 x 64 are needed.")
    if source.layout != "simulated":
        for index in part.planes():  # every plane can be read, and is like the first
            part.array[(*index, slice(0, 1), slice(0, 1))]
    focus_plane = focus_of(part) if focus_plane is None else focus_plane
    if source.levels == "fitted":
        levels = fit_levels(part, focus_plane, optics, _focus_px(part, focus_plane, optics, source))
    else:
        stride = step * (source.planes[2] if source.planes else 1)
        levels = tuple(optics.radius_px(stride * (i - focus_plane)) for i in range(part.shape[0]))
    shares = "" if source.columns == (0.0, 1.0) else "[{:g}:{:g}]".format(*source.columns)
    return Field(candidate.name + shares, candidate.unit, candidate.well, part, focus_plane, levels, optics)


def _focus_px(stack: FocalStack, focus: int, optics: Optics, source: StackSource) -> float:
    """Blur level of the plane in focus: said, or read by the bundled model."""
    if source.focus_px != "read":
        return source.focus_px
    model = load_model("default")
    found = estimate_level([stack.plane((focus,))], model, optics)
    return found.level_px if found.found else 0.0


def _keep_alike(found: Gathered, source: StackSource) -> None:
    """Skip, or refuse, stacks that are not like most of their data set: in number of planes and type of pixels."""
    every, kinds = found.fields, Counter(_kind(one) for one in found.fields)
    common = max(kinds, key=kinds.__getitem__, default=None)
    found.fields = [one for one in every if _kind(one) == common]
    for one in every:
        if common is None or _kind(one) == common:
            continue
        planes, pixels = common
        error = ImageError(
            f"All stacks of a data set are alike: most have {planes} planes of {pixels}, this one {one.stack.shape[0]} "
            f"of {one.stack.dtype}."
        )
        if source.on_bad == "refuse":
            raise error
        found.skipped.append(f"{one.name}: {error}")


def _kind(one: Field) -> tuple[int, str]:
    return one.stack.shape[0], str(one.stack.dtype)


def _chosen(source: StackSource, count: int | None) -> range:
    first, last, step = source.planes or (0, (count or 1) - 1, 1)
    if step < 1 or last < first:
        raise RequestError(
            f"Planes are chosen as first, last, step with first <= last and step >= 1, got {source.planes}."
        )
    if count is not None and last >= count:
        raise ImageError(f"Planes up to {last} are asked for, the stack has {count}.")
    return range(first, last + 1, step)


def _optics(said: Calibration, source: StackSource) -> tuple[Optics, float]:
    """Optics and z step, what the source says before what the file says."""
    known = said.replace(
        pixel_size_um=source.pixel_size_um or said.pixel_size_um,
        z_step_um=source.z_step_um or said.z_step_um,
        na=source.na or said.na,
        index=source.index or said.index,
        wavelengths_um=(source.wavelength_um or said.wavelength_um(source.channel),),
    )
    optics = known.optics()
    missing = known.missing() + (["z step"] if known.z_step_um is None and source.levels == "z" else [])
    if optics is None or missing:
        raise CalibrationError(
            f"Blur levels need calibrated optics, unknown: {', '.join(missing)}. Say it under 'stacks' in the recipe "
            "or with --set stacks.na=0.75."
        )
    return optics, known.z_step_um or 0.0


def _bbbc006(source: StackSource, data: Path) -> Iterator[_Candidate]:
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
        yield _Candidate(name, name, well, 0, partial(_joined, name, files, every))


def _joined(name: str, files: dict[int, Path], every: list[int]) -> FocalStack:
    if lacking := [z for z in every if z not in files]:
        raise ImageError(f"The stack lacks {len(lacking)} of {len(every)} planes, the first at z = {lacking[0]}.")
    if every != list(range(len(every))):
        gap = next(i for i, z in enumerate(every) if i != z)
        raise ImageError(f"The data set lacks its plane z = {gap}.")
    stack = stack_of_files(name, {(z,): files[z] for z in every}, "Z")
    return replace(
        stack,
        calibration=Calibration(pixel_size_um=0.645, z_step_um=2.0, na=0.5, index=1.0, wavelengths_um=(0.461,)),
    )


def _stacks(source: StackSource, data: Path) -> Iterator[_Candidate]:
    for path in sorted(data.glob(source.files)):
        if path.is_file():
            name = path.relative_to(data).as_posix()
            yield _Candidate(name, name, Wells().of(path.name)[0], source.channel, partial(read, path))


def _pattern(source: StackSource, data: Path) -> Iterator[_Candidate]:
    axes, stacks = files_of_pattern(data, source.pattern or "")
    for name, files in stacks.items():
        well = well_in(name, source.pattern or "")
        yield _Candidate(name, name, well, source.channel, partial(stack_of_files, name, files, axes))


def _simulated(source: StackSource, pool: SpecimenPool) -> Iterator[_Candidate]:
    optics = Optics(
        na=source.na, wavelength_um=source.wavelength_um, pixel_size_um=source.pixel_size_um, index=source.index or 1.0
    )
    distances = [(z - source.focus) * source.z_step_um for z in _chosen(source, None)]  # type: ignore[operator]
    number = 0
    for _, group in pool.groups:
        for specimen in group:
            name, number = f"{specimen.name}#{number}", number + 1
            pixels = _Simulated(specimen, optics, distances, source, number)
            said = Calibration(
                pixel_size_um=optics.pixel_size_um,
                z_step_um=source.z_step_um,
                na=optics.na,
                index=optics.index,
                wavelengths_um=(optics.wavelength_um,),
            )
            yield _Candidate(name, specimen.name, None, 0, partial(FocalStack, pixels, "ZYX", said))


class _Simulated:
    """Pixels of a simulated focal stack, made when they are first asked for."""

    def __init__(
        self, specimen: Specimen, optics: Optics, distances: list[float], source: StackSource, seed: int
    ) -> None:
        self._made = (specimen, optics, tuple(distances), source.photons, source.read_noise, seed)
        self.shape, self.dtype = (len(distances), *specimen.shape), np.dtype(np.uint16)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return _simulate(self)[index]

    def make(self) -> NDArray[np.uint16]:
        specimen, optics, distances, photons, read_noise, seed = self._made
        noisy, _ = simulate_stack(
            specimen.light, optics, distances_um=distances, photons=photons, read_noise=read_noise, seed=seed
        )
        return np.asarray(noisy.array)


@lru_cache(maxsize=_KEPT)
def _simulate(pixels: _Simulated) -> NDArray[np.uint16]:
    return pixels.make()
