"""What a data set is made of: images, and what goes with each of them: labels, tables, other files of its name."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tifffile
from PIL import Image

from focuslab.errors import FocusLabError, ImageError, RequestError
from focuslab.io import fields_of, images_of, is_plate, read
from focuslab.io.folders import TIFF_ENDINGS
from focuslab.io.ome_zarr import is_zarr
from focuslab.io.pattern import files_of_pattern, stack_of_files
from focuslab.stack import FocalStack

__all__ = ["Companion", "Source", "check_label", "find_sources", "stem_of"]

_LABELS = (".tif", ".tiff", ".png", ".npy", ".csv", ".json", ".txt")


@dataclass(frozen=True, slots=True)
class Companion:
    """A file that goes with an image; `place` is where its copies lie below the destination, without their names."""

    path: Path
    place: str
    is_label: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """An image and what goes with it; `place` is its path below the data set, with forward slashes.

    A stack of one file per plane has its files in `planes`, by their place along `axes`; `path` is the first of them.
    """

    path: Path
    place: str
    companions: tuple[Companion, ...] = ()
    error: FocusLabError | None = None
    planes: dict[tuple[int, ...], Path] | None = None
    axes: str = ""

    @property
    def changed(self) -> float:
        """When it was last written, in seconds."""
        files = list(self.planes.values()) if self.planes is not None else [self.path]
        written = [path / "zarr.json" if (path / "zarr.json").exists() else path for path in files]
        return max(path.stat().st_mtime for path in written)

    def open(self, optics: dict[str, Any], reading: dict[str, Any]) -> FocalStack:
        """Open it, lazily, with what is said of its optics and of how its file is to be understood."""
        pixel = optics.get("pixel_size_um")
        if self.planes is not None:
            return stack_of_files(self.place, self.planes, self.axes, pixel_size_um=pixel).calibrated(**optics)
        return read(self.path, pixel_size_um=pixel, **reading).calibrated(**optics)


def find_sources(
    source: Path,
    files: str = "**/*",
    *,
    pattern: str | None = None,
    labels: Path | None = None,
    labels_missing: str = "fail",
) -> list[Source]:
    """Images of a data set.

    Parameters
    ----------
    source
        A folder, one file, or a CSV whose first column names files beside it.
    files
        Which files of a folder: a glob; of those, the ones that are TIFF or OME-Zarr.
    pattern
        Images are stacks of one file per plane, as `focuslab.io.read_pattern` gathers them.
    labels
        Folder of label images or tables, named like their images; where a name is there twice, in the same
        subfolders (``images/train/a.tif`` and ``masks/train/a.png``).
    labels_missing
        ``fail`` reports an image without a label, ``skip`` leaves it out silently.

    Raises
    ------
    RequestError
        If there is nothing to do.
    """
    if labels is not None and source.resolve().is_relative_to(labels.resolve()):
        raise RequestError(f"The labels lie among the images, in {labels}: put them into a folder of their own.")
    root, images = _listed(source, files) if pattern is None else (source, _stacks(source, pattern))
    images = [i for i in images if labels is None or labels.resolve() not in i.path.resolve().parents]
    if not images:
        raise RequestError(f"No image in {source} matches {pattern or files!r}: choose another folder or pattern.")
    if labels is None:
        return images
    known, found = _by_stem(labels), []
    called = Counter(key for keys in {_keys(image) for image in images} for key in keys)
    for image in images:
        whole, *shorter = _keys(image)
        own_keys = (whole, *(key for key in shorter if called[key] == 1))  # a label is of one image
        if named := next((known[key] for key in own_keys if key in known), []):
            own = [Companion(n, _label_place(n, labels, root), True) for n in named]
            found.append(replace(image, companions=(*image.companions, *own)))
        elif labels_missing == "fail":
            error = RequestError(f"There is no label for it in {labels}: add one, or leave it out (skip).")
            found.append(replace(image, error=error))
    if not found:
        raise RequestError(f"No image in {source} has a label in {labels}: labels are named like their images.")
    return found


def _keys(image: Source) -> tuple[str, ...]:
    """Names that a label of an image may have: its path without ending, and ever less of its folders."""
    place = Path(image.place)
    parts = (*place.parent.parts, stem_of(place))
    return tuple("/".join(parts[i:]) for i in range(len(parts)))


def _stacks(folder: Path, pattern: str) -> list[Source]:
    """Stacks of one file per plane."""
    axes, groups = files_of_pattern(folder, pattern)
    return [Source(planes[min(planes)], f"{name}.ome.tif", planes=planes, axes=axes) for name, planes in groups.items()]


def _file(path: Path, root: Path) -> Source:
    """An image of its own, with the tables beside it that have its name."""
    place = path.relative_to(root)
    beside = [
        Companion(other, place.parent.as_posix())
        for other in sorted(path.parent.glob(f"{_escaped(stem_of(path))}.*"))
        if other != path
        and other.suffix.lower() in (".csv", ".json", ".txt")
        and not other.name.endswith(".focuslab.json")  # what was done to the image: its copies have their own
    ]
    return Source(path, place.as_posix(), tuple(beside))


def check_label(label: Path, shape: tuple[int, int]) -> None:
    """Refuse a label image of another size than its image (Y, X); tables are not looked at.

    Raises
    ------
    ImageError
        If it is of another size, or cannot be read.
    """
    try:
        if label.suffix.lower() in (".tif", ".tiff"):
            with tifffile.TiffFile(label) as tiff:
                size = tuple(tiff.pages.first.shape[:2])
        elif label.suffix.lower() == ".png":
            with Image.open(label) as png:
                size = png.size[::-1]
        else:
            return
    except (OSError, ValueError, tifffile.TiffFileError, Image.DecompressionBombError) as error:
        raise ImageError(f"Its label {label.name} cannot be read: {error}.") from error
    if size != shape:
        raise ImageError(f"Its label {label.name} has {size[0]} x {size[1]} px, the image {shape[0]} x {shape[1]}.")


def stem_of(path: Path) -> str:
    """Name without its ending, ``.ome.tif`` being one."""
    name = path.name
    for ending in (".ome.tiff", ".ome.tif", ".ome.zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


def _listed(source: Path, files: str) -> tuple[Path, list[Source]]:
    """Root of a data set and its images."""
    root, paths = _paths(source, files)
    return root, [_file(path, root) for path in paths]


def _paths(source: Path, files: str) -> tuple[Path, list[Path]]:
    if source.is_dir() and not is_zarr(source):
        return source, images_of(source, files)
    if source.suffix.lower() == ".csv" and source.is_file():
        return source.parent, _of_list(source)
    if source.exists():
        return source.parent, fields_of(source) if is_plate(source) else [source]
    raise RequestError(f"There is no data set {source}: give a folder, a file, or a CSV that lists files.")


def _of_list(table: Path) -> list[Path]:
    """Images named in the first column of a CSV, in or below its folder."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RequestError(f"{table.name} is not UTF-8: save it as 'CSV UTF-8', which Excel offers.") from error
    rows = list(dict.fromkeys(row[0].strip() for row in csv.reader(lines) if row and row[0].strip()))
    if rows and Path(rows[0]).suffix.lower() not in (*TIFF_ENDINGS, ".zarr"):
        rows = rows[1:]  # a header
    paths = [Path(os.path.normpath(table.parent / row)) for row in rows]
    if missing := [p for p in paths if not p.exists()]:
        raise RequestError(f"{table.name} lists {missing[0]}, which is not there ({len(missing)} are missing).")
    if outside := [p for p in paths if not p.is_relative_to(os.path.normpath(table.parent))]:
        raise RequestError(
            f"{table.name} lists {outside[0]}, which is not below its folder, so that its copies have no place below "
            "the destination: move the list to a folder that holds all of its images."
        )
    return [table.parent / p.relative_to(os.path.normpath(table.parent)) for p in paths]


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """Label files by their path without ending, and by their bare stem where only one folder has it."""
    if not folder.is_dir():
        raise RequestError(f"There is no folder of labels {folder}.")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in _LABELS)
    named: dict[str, list[Path]] = {}
    stems: dict[str, list[Path]] = {}
    for path in files:
        named.setdefault((path.relative_to(folder).parent / stem_of(path)).as_posix(), []).append(path)
        stems.setdefault(stem_of(path), []).append(path)
    return {**{stem: paths for stem, paths in stems.items() if len({p.parent for p in paths}) == 1}, **named}


def _label_place(label: Path, labels: Path, root: Path) -> str:
    """Where copies of a label lie below the destination: as below the source, or below what both share."""
    here, there = root.resolve(), labels.resolve()
    try:
        folder = there.relative_to(here if there.is_relative_to(here) else os.path.commonpath([here, there]))
    except ValueError:  # on another drive
        folder = Path(labels.name)
    return (folder / label.relative_to(labels).parent).as_posix()


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def tables_of(root: Path, sources: Sequence[Source]) -> list[Path]:
    """CSV tables of a data set that belong to no single image."""
    taken = {companion.path for source in sources for companion in source.companions}
    return [p for p in sorted(root.rglob("*.csv")) if p not in taken] if root.is_dir() else []
