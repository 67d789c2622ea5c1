"""From what a user says of a folder to a source of focal stacks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from focuslab.errors import RequestError
from focuslab_training.data.specimens import SpecimenPool, load_specimens
from focuslab_training.recipe import Recipe
from focuslab_training.sections import ImageSource, PhantomSource, StackSource

__all__ = ["source_of", "specimens_in"]


def source_of(data: Path, *, layout: str, planes: str | None, columns: str, **said: Any) -> StackSource:
    """Source of the stacks in a folder; the layout ``auto`` is told from what lies there.

    Parameters
    ----------
    data
        The folder.
    layout
        As in `StackSource`, or ``auto``.
    planes
        ``first:last:step``.
    columns
        ``first:last``, shares of the width.
    said
        Other fields of `StackSource`.

    Raises
    ------
    RequestError
        If a value does not fit.
    """
    if layout == "auto":
        bbbc006 = any(data.glob("BBBC006_v1_images_z_*"))
        layout = "bbbc006" if bbbc006 else "pattern" if said.get("pattern") else "stacks"
    try:
        return StackSource(
            layout=layout,  # type: ignore[arg-type]
            planes=_numbers(planes, int, "planes", 3) if planes else None,
            columns=_numbers(columns, float, "columns", 2),
            **said,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()) from error


def specimens_in(source: StackSource, data: Path, files: str) -> SpecimenPool:
    """Sharp images of a folder, for stacks that are to be simulated; none for stacks that are there."""
    if source.layout != "simulated":
        return SpecimenPool(())
    images = ImageSource(name=data.name, files=files, licence="the user's")
    pool = load_specimens(Recipe(name="evaluation", images=(images,), phantoms=PhantomSource(count=0)), data)
    # A recipe gives its images another first name: they are known by their files.
    groups = [(w, tuple(replace(s, name=s.name.partition("/")[2]) for s in group)) for w, group in pool.groups]
    return replace(pool, groups=tuple(groups))


def _numbers(text: str, kind: type, what: str, count: int) -> tuple[Any, ...]:
    try:
        found = tuple(kind(part) for part in text.split(":"))
    except ValueError:
        found = ()
    if len(found) != count:
        raise RequestError(f"--{what} needs {count} numbers between colons, got {text!r}.")
    return found
