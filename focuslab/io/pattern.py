"""Stacks stored as one file per plane and channel, named by a pattern such as ``{well}_z{z}_w{c}.tif``.

``{z}``, ``{c}`` and ``{t}`` are whole numbers and become axes, in ascending order; any other field names the
stack; ``{}`` matches text that is ignored.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import ImageError, RequestError
from focuslab.io.reading import read
from focuslab.pixels import LazyPixels, Region
from focuslab.stack import FocalStack

__all__ = ["files_of_pattern", "read_pattern", "regex_of", "stack_of_files", "well_in"]

_OPENED = 64  # files of a stack that are kept open, see `OpenFiles`


def read_pattern(folder: str | Path, pattern: str) -> dict[str, FocalStack]:
    """Gather the planes below a folder into stacks.

    Parameters
    ----------
    folder
        Where the files lie.
    pattern
        File name (or path below the folder) with fields in braces.

    Returns
    -------
    dict
        Stacks by name: the values of the naming fields joined with ``_``, sorted.

    Raises
    ------
    RequestError
        If the pattern has no axis field or nothing matches it.
    ImageError
        If a stack lacks planes, which are named, or its planes differ in size or type.
    """
    axes, groups = files_of_pattern(folder, pattern)
    return {name: stack_of_files(name, files, axes) for name, files in groups.items()}


def files_of_pattern(folder: str | Path, pattern: str) -> tuple[str, dict[str, dict[tuple[int, ...], Path]]]:
    """Axes that a pattern names, and the files of every stack by their place along these axes; none is opened.

    Raises
    ------
    RequestError
        As `read_pattern`.
    ImageError
        If two files would be the same plane.
    """
    fields = list(dict.fromkeys(re.findall(r"\{(\w*)\}", pattern)))
    axes = "".join(a for a in "TCZ" if a.lower() in fields)
    if not axes:
        raise RequestError(
            f"The pattern {pattern!r} needs a field {{z}}, {{c}} or {{t}}, for instance '{{well}}_z{{z}}.tif'."
        )
    expression = regex_of(pattern, _of_field)
    groups: dict[str, dict[tuple[int, ...], Path]] = {}
    root = Path(folder)
    for path in sorted(root.rglob("*")):
        place = path.relative_to(root)
        hidden = any(part.startswith(".") for part in place.parts)  # such as macOS leaves on shares
        match = re.fullmatch(expression, place.as_posix()) if path.is_file() and not hidden else None
        if match:
            found = match.groupdict()
            name = "_".join(found[f] for f in fields if f not in ("z", "c", "t", "")) or root.name
            stack, key = groups.setdefault(name, {}), tuple(int(found[a.lower()]) for a in axes)
            if key in stack:
                raise ImageError(
                    f"{stack[key].name} and {path.name} would be the same plane of the stack {name!r}: tell them "
                    f"apart by a field in the pattern {pattern!r}, {{c}} for channels or a name such as {{site}}."
                )
            stack[key] = path
    if not groups:
        raise RequestError(f"No file below {root} matches the pattern {pattern!r}.")
    return axes, dict(sorted(groups.items()))


def well_in(name: str, pattern: str) -> str | None:
    """Well in the name of a stack, None if the pattern names none or the name's parts cannot be told apart."""
    fields = dict.fromkeys(re.findall(r"\{(\w+)\}", pattern))
    naming = [field for field in fields if field not in ("z", "c", "t")]
    parts = name.split("_")
    return parts[naming.index("well")] if "well" in naming and len(parts) == len(naming) else None


def regex_of(pattern: str, of_field: Callable[[str], str]) -> str:
    """Regular expression of a pattern; a field that comes again says the same again.

    Parameters
    ----------
    pattern
        Text with fields in braces, ``{}`` for anything.
    of_field
        Expression of what a field may be, by its name.

    Raises
    ------
    RequestError
        If a field has an impossible name.
    """
    said: list[str] = []
    seen: set[str] = set()
    for part in re.split(r"(\{\w*\})", pattern):
        if not re.fullmatch(r"\{\w*\}", part):
            said.append(re.escape(part))
        elif not (field := part[1:-1]):
            said.append(".*?")
        elif not field.isidentifier():
            raise RequestError(f"A field of a pattern has a name that begins with a letter, {pattern!r} has {part}.")
        else:
            said.append(f"(?P={field})" if field in seen else f"(?P<{field}>{of_field(field)})")
            seen.add(field)
    return "".join(said)


def _of_field(field: str) -> str:
    return r"\d+" if field in ("z", "c", "t") else ".+?"


def stack_of_files(
    name: str, files: dict[tuple[int, ...], Path], axes: str, *, pixel_size_um: float | None = None
) -> FocalStack:
    """Lazy stack of one file per plane; `pixel_size_um` as for `read`.

    Raises
    ------
    ImageError
        If planes are missing or a file holds more than one.
    """
    values = [sorted({key[i] for key in files}) for i in range(len(axes))]
    shape = tuple(len(v) for v in values)
    grid = {where: tuple(v[i] for v, i in zip(values, where, strict=True)) for where in np.ndindex(*shape)}
    lacking = [dict(zip(axes.lower(), key, strict=True)) for key in grid.values() if key not in files]
    gaps = [{"z": z} for z in _gaps(values[axes.index("Z")])] if "Z" in axes else []
    if lacking := [*lacking, *gaps]:
        raise ImageError(
            f"The stack {name!r} lacks {len(lacking)} of {len(grid) + len(gaps)} planes, the first at {lacking[0]}."
        )
    first = read(files[grid[(0,) * len(axes)]], pixel_size_um=pixel_size_um)
    if first.axes != "YX":
        raise ImageError(f"The files of {name!r} must hold one plane each, got axes {first.axes}.")
    found = {where: files[key] for where, key in grid.items()}
    pixels = _Files(found, (*shape, *first.shape), first.dtype, pixel_size_um)
    said = first.calibration
    alike = said.replace(time_step_s=None, wavelengths_um=(), channel_names=())
    channels = [said, *_other_channels(files, grid, axes, pixel_size_um)]
    if said.position_um and "Z" in axes and shape[axes.index("Z")] > 1:
        next_plane = files[grid[tuple(int(axis == "Z") for axis in axes)]]
        above = read(next_plane, pixel_size_um=pixel_size_um).calibration.position_um or said.position_um
        step = above[0] - said.position_um[0]
        alike = alike.replace(z_step_um=abs(step) or alike.z_step_um, downwards=step < 0)
    waves = tuple(one.wavelengths_um[0] if len(one.wavelengths_um) == 1 else None for one in channels)
    names = tuple(one.channel_names[0] if len(one.channel_names) == 1 else "" for one in channels)
    alike = alike.replace(wavelengths_um=waves if any(waves) else (), channel_names=names if all(names) else ())
    return FocalStack(pixels, axes + "YX", alike, {}, "ome")


def _gaps(numbers: Sequence[int]) -> list[int]:
    """Numbers that are missing from a row that is to be even, such as 0, 1, 3."""
    step = math.gcd(*(b - a for a, b in pairwise(numbers))) if len(numbers) > 1 else 1
    return sorted(set(range(numbers[0], numbers[-1] + 1, step)) - set(numbers))


def _other_channels(
    files: dict[tuple[int, ...], Path],
    grid: dict[tuple[int, ...], tuple[int, ...]],
    axes: str,
    pixel_size_um: float | None,
) -> list[Calibration]:
    """What the first file of each channel but the first says of itself."""
    count = 1 + max(where[axes.index("C")] for where in grid) if "C" in axes else 1
    firsts = [tuple(c if axis == "C" else 0 for axis in axes) for c in range(1, count)]
    return [read(files[grid[where]], pixel_size_um=pixel_size_um).calibration for where in firsts]


class _Files(LazyPixels):
    """Pixels of one file per plane, each opened when it is needed."""

    def __init__(
        self,
        files: dict[tuple[int, ...], Path],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        pixel_size_um: float | None,
    ) -> None:
        self._files, self.shape, self.dtype = files, shape, dtype
        self._open = lru_cache(maxsize=_OPENED)(partial(read, pixel_size_um=pixel_size_um))

    def _read(self, region: Region) -> NDArray[Any]:
        picks = [range(n)[part] for n, part in zip(self.shape, region, strict=True)]
        planes = np.empty([len(p) for p in picks], self.dtype)
        for where in np.ndindex(planes.shape[:-2]):
            path = self._files[tuple(p[k] for p, k in zip(picks, where, strict=False))]
            stack = self._open(path)
            if stack.shape != self.shape[-2:] or stack.dtype != self.dtype:
                raise ImageError(
                    f"{path.name} is {stack.shape} {stack.dtype}, the first plane of its stack "
                    f"{self.shape[-2:]} {self.dtype}."
                )
            planes[where] = stack.array[region[-2:]]
        return planes
