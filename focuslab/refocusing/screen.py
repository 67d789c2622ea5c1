"""Quality control of a screen: how far out of focus every field of a plate is."""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from focuslab.errors import FocusLabError, ImageError, RequestError
from focuslab.io import well_of
from focuslab.io.pattern import regex_of
from focuslab.models.bundle import Model
from focuslab.refocusing.batch import Job, unexpected
from focuslab.refocusing.survey import PlaneFocus, focus_curve_steps

__all__ = ["COLUMNS", "FieldFocus", "Wells", "estimate_steps", "of_wells"]

_WELL = re.compile(
    r"(?<![A-Za-z0-9])(?P<well>[A-Pa-p]\d{1,2})(?![A-Za-z0-9])"  # a letter of a 384-well plate and a number
    r"(?:.*?(?<![A-Za-z])(?:s|f|field|site)_?(?P<field>\d+))?"
)


@dataclass(frozen=True, slots=True)
class FieldFocus:
    """One plane of one field; what is not known is None.

    Attributes
    ----------
    file, well, field
        Which field; well and field from the file's name.
    c, z, t
        Which plane.
    level_um, level_px
        Distance from focus and blur radius; None where there is no structure.
    sharpness
        Variance of the Laplacian, squared counts.
    structure, confidence
        Odds that there is structure, and that the level is right to a quarter.
    """

    file: str
    well: str | None
    field: str | None
    c: int
    z: int
    t: int
    level_um: float | None
    level_px: float | None
    sharpness: float
    structure: float
    confidence: float | None


COLUMNS = tuple(f.name for f in fields(FieldFocus))


class Wells:
    """Reads well and field from file names, or from the plate that holds the field.

    Parameters
    ----------
    pattern
        File name with ``{well}`` and perhaps ``{field}``, ``{}`` for anything; the usual ways (``..._a01_s1_...``,
        ``B12-field3``) if not given.

    Raises
    ------
    RequestError
        If the pattern names no well.
    """

    def __init__(self, pattern: str | None = None) -> None:
        if pattern is None:
            self._pattern = _WELL
            return
        if "{well}" not in pattern:
            raise RequestError(
                f"A pattern of wells names a {{well}}, for instance '{{well}}_s{{field}}.tif'; got {pattern!r}."
            )
        self._pattern = re.compile(regex_of(pattern, _of_field))

    def of_job(self, job: Job) -> tuple[str | None, str | None]:
        """Well, such as ``B03``, and field of a job; None where nothing says which."""
        return (well_of(job.source) if job.source else None) or self.of(job.name)

    def of(self, name: str) -> tuple[str | None, str | None]:
        """Well and field of a file name; None where it says none."""
        found = self._pattern.search(name) if self._pattern is not _WELL else self._usual(name)
        if found is None:
            return None, None
        said = found.groupdict()
        well = said["well"].upper()
        if match := re.fullmatch(r"([A-Z]+)0*(\d+)", well):
            well = f"{match[1]}{int(match[2]):02d}"
        return well, said.get("field")

    @staticmethod
    def _usual(name: str) -> re.Match[str] | None:
        """First well in the name of a file, else in that of its folder, and so on."""
        return next((found for part in reversed(name.split("/")) if (found := _WELL.search(part))), None)


def estimate_steps(
    jobs: Sequence[Job], model: Model, wells: Wells
) -> Generator[tuple[int, int, list[FieldFocus], FocusLabError | None], None, None]:
    """Read the level of every plane of every file; yields files done, of all, and the rows of one or its error."""
    for i, job in enumerate(jobs):
        rows: list[FieldFocus] = []
        error: FocusLabError | None = None
        try:
            stack = job.open()
            well, field = wells.of_job(job)
            for plane in focus_curve_steps(stack, list(stack.planes()), model):
                place = {axis.lower(): stack.position(plane.index, axis) for axis in "CZT"}
                rows.append(_row(job.name, well, field, place, plane))
        except FocusLabError as failure:
            error, rows = failure, []
        except OSError as failure:  # a share that is gone
            error, rows = ImageError(f"{job.name} cannot be read: {failure}."), []
        except Exception as failure:  # a file like no other; the next ones are not to suffer
            error, rows = unexpected(job.name, failure), []
        yield i + 1, len(jobs), rows, error


def of_wells(rows: Sequence[FieldFocus]) -> dict[str, float | None]:
    """Median level of every well, um or px, over its planes with structure; None for a well without any."""
    um = any(row.level_um is not None for row in rows)
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.well is not None:
            levels = found.setdefault(row.well, [])
            level = row.level_um if um else row.level_px
            levels += [] if level is None else [level]
    return {well: float(np.median(levels)) if levels else None for well, levels in found.items()}


def _row(name: str, well: str | None, field: str | None, place: dict[str, int], plane: PlaneFocus) -> FieldFocus:
    said = plane.estimate
    return FieldFocus(
        file=name,
        well=well,
        field=field,
        **place,
        level_um=None if plane.level_um is None else round(plane.level_um, 4),
        level_px=round(said.level_px, 4) if said.found else None,
        sharpness=float(f"{plane.sharpness:.6g}"),
        structure=round(said.structure, 4),
        confidence=round(said.confidence, 4) if said.found else None,
    )


def _of_field(name: str) -> str:
    return "[A-Za-z0-9]+" if name in ("well", "field") else ".*?"
