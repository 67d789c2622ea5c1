"""Fields of a data set: its stacks, opened and looked at.

A stack that cannot be used (unreadable, a plane missing, no focus, planes in no order of z, another number of planes or
type than the rest of its data set) is skipped and listed, or refused, as the recipe says. Images may differ in size:
crops are learned from.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError, FocusLabError, ImageError, RequestError
from focuslab.models.zoo import load_model
from focuslab.optics import Optics
from focuslab.quality.focus import disorder, find_focus
from focuslab.refocusing.levels import estimate_level
from focuslab.stack import FocalStack
from focuslab_training.data.field import Field, selected, sharpness_of
from focuslab_training.data.fits import fit_levels, fit_thickness
from focuslab_training.data.layouts import Candidate, chosen_planes, list_candidates
from focuslab_training.data.specimens import SpecimenPool
from focuslab_training.data.split import NUMBERED
from focuslab_training.sections import WIDEST_LEVEL, StackSource

__all__ = ["Gathered", "gather_fields"]

_OUT_OF_ORDER = 0.2  # see `disorder`: ordered stacks have up to 0.05, shuffled ones 0.3 to 0.5


@dataclass(slots=True)
class Gathered:
    """Fields that can be used, and one sentence for each that cannot."""

    fields: list[Field] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


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
    found, failed = Gathered(), None
    for candidate in list_candidates(source, data, specimens):
        try:
            found.fields += _fields(candidate, source)
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


def _fields(candidate: Candidate, source: StackSource) -> list[Field]:
    """Field of a focal stack, of a time series one for every time point; they stay on one side of a split."""
    stack = candidate.open()
    frames = stack.size("T")
    named = (
        [candidate]
        if frames == 1
        else [replace(candidate, name=f"{candidate.name}{NUMBERED}{t}") for t in range(frames)]
    )
    return [_field(one, stack.take(T=t), source) for t, one in enumerate(named)]


def _field(candidate: Candidate, stack: FocalStack, source: StackSource) -> Field:
    if candidate.channel >= stack.size("C"):
        raise ImageError(f"There is no channel {candidate.channel}: the stack has {stack.size('C')}.")
    if stack.size("Z") < 2:
        raise ImageError(f"A focal stack has at least two planes along Z, got axes {stack.axes} {stack.shape}.")
    simulated = source.layout == "simulated"  # and of the planes asked for
    planes = chosen_planes(source, None if simulated else stack.size("Z"))
    if source.focus is not None and source.focus not in planes:
        raise ImageError(f"The plane in focus, {source.focus}, is not among the planes {list(planes)}.")
    optics, step = _optics(stack.calibration, source)
    part = selected(stack, channel=candidate.channel, planes=None if simulated else planes, columns=source.columns)
    if min(part.plane_shape) < 64:
        raise ImageError(f"Planes of {part.plane_shape} px are too small: at least 64 x 64 are needed.")
    focus = _focus(part, planes, source)
    if source.levels == "fitted":
        focus_px = _focus_px(part, focus, optics, source)
        optics = fit_thickness(part, focus, optics, focus_px) if source.thickness_um == "fitted" else optics
        levels = fit_levels(part, focus, optics, focus_px)
    else:
        levels = tuple(optics.radius_px(step * (z - planes[focus])) for z in planes)
    if max(levels) > WIDEST_LEVEL:
        raise ImageError(
            f"Its planes are up to {max(levels):.0f} px of blur out of focus, more than {WIDEST_LEVEL:g} px, which are "
            "known: choose planes nearer to focus (stacks.planes of a recipe, --planes of evaluate), or bin the images."
        )
    shares = "" if source.columns == (0.0, 1.0) else "[{:g}:{:g}]".format(*source.columns)
    return Field(candidate.name + shares, candidate.unit, candidate.well, part, focus, levels, optics)


def _focus(stack: FocalStack, planes: range, source: StackSource) -> int:
    """Index of the plane in focus, said or found; levels from z need planes that follow one another in z."""
    said = None if source.focus is None else planes.index(source.focus)
    if source.layout == "simulated" and said is not None:  # a specimen has been looked at
        return said
    values = sharpness_of(stack)  # every plane can be read, and is like the first
    if not np.isfinite(values).all():
        raise ImageError(
            f"Plane {planes[int(np.argmin(np.isfinite(values)))]} holds pixels that are NaN or infinite: fill them "
            "first, nothing can be learned from them."
        )
    if max(values) == 0:
        raise ImageError("The stack is blank: all pixels of each plane are alike.")
    if min(values) == 0:
        raise ImageError(
            f"Plane {planes[values.index(0)]} is blank, all its pixels are alike: a frame that was dropped? Choose "
            "planes without it (stacks.planes of a recipe, --planes of evaluate)."
        )
    focus = find_focus(values) if said is None else said
    if source.levels == "z" and (share := disorder(values, focus)) > _OUT_OF_ORDER:
        raise ImageError(
            f"The planes are not in the order of z: on each side of focus, plane {planes[focus]}, sharpness should "
            f"fall, but in {share:.0%} of the pairs that differ clearly the farther plane is the sharper one. Sort "
            "them, name another plane in focus, or have levels read from the pixels (stacks.levels=fitted in a recipe, "
            "--levels fitted of evaluate)."
        )
    return focus


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


def _optics(said: Calibration, source: StackSource) -> tuple[Optics, float]:
    """Optics and z step, what the source says before what the file says."""
    known = said.replace(
        pixel_size_um=source.pixel_size_um or said.pixel_size_um,
        z_step_um=source.z_step_um or said.z_step_um,
        na=source.na or said.na,
        index=source.index or said.index,
        thickness_um=said.thickness_um if source.thickness_um in (None, "fitted") else source.thickness_um,
        wavelengths_um=(source.wavelength_um or said.wavelength_um(source.channel),),
    )
    optics = known.optics()
    missing = known.missing() + (["z step"] if known.z_step_um is None and source.levels == "z" else [])
    if optics is None or missing:
        raise CalibrationError(
            f"Blur levels need calibrated optics, unknown: {', '.join(missing)}. Say it under 'stacks' in the recipe, "
            "with --set stacks.na=0.75, or to evaluate with --na 0.75."
        )
    return optics, known.z_step_um or 0.0
