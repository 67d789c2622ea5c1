"""What a data set is made of: images, and what goes with each of them: labels, tables, other files of its name."""

import csv
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from focuslab.errors import FocusLabError, ImageError, RequestError
from focuslab.files import state_of, stem_of
from focuslab.io import fields_of, images_of, is_plate, plate_of, read
from focuslab.io.folders import TIFF_ENDINGS
from focuslab.io.ome_zarr import is_zarr
from focuslab.io.pattern import files_of_pattern, stack_of_files
from focuslab.stack import FocalStack

__all__ = ["Companion", "Source", "check_label", "find_sources"]

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

    def state(self) -> dict[str, int]:
        """What tells its files from others of the same names, see `focuslab.files.state_of`."""
        return state_of(self.planes.values() if self.planes is not None else [self.path])

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
    root, every = _listed(source, "**/*") if pattern is None else (source, _stacks(source, pattern))
    images = every if pattern is not None or files == "**/*" else _listed(source, files)[1]
    if labels is not None:
        every, images = ([i for i in s if labels.resolve() not in i.path.resolve().parents] for s in (every, images))
    if not images:
        raise RequestError(f"No image in {source} matches {pattern or files!r}: choose another folder or pattern.")
    if labels is None:
        return images
    (by_path, alone), found = _label_names(labels), []
    in_no_folder = {**alone, **by_path}
    # Those that are not asked for have labels as well.
    called = Counter(key for keys in {_keys(image) for image in every} for key in keys)
    for image in images:
        whole, *shorter = _keys(image)
        own_keys = (whole, *(key for key in shorter if called[key] == 1))  # a label is of one image
        known = by_path if shorter else in_no_folder
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
        and (stem_of(other) == stem_of(path) or not _image_called(stem_of(other), path.parent))
        and other.suffix.lower() in (".csv", ".json", ".txt")
        and not other.name.endswith(".focuslab.json")  # what was done to the image: its copies have their own
    ]
    return Source(path, place.as_posix(), tuple(beside))


def _image_called(stem: str, folder: Path) -> bool:
    """Whether an image in a folder has a name, so that ``a.1.csv`` belongs to ``a.1.tif`` and not to ``a.tif``."""
    return any((folder / f"{stem}{ending}").exists() for ending in (*TIFF_ENDINGS, ".ome.tif", ".ome.tiff", ".zarr"))


def check_label(label: Path, image: FocalStack) -> None:
    """Refuse a label of another size than its image, or of another number of planes; tables are not looked at.

    Raises
    ------
    ImageError
        If it is, or cannot be read.
    """
    try:
        if label.suffix.lower() in (".tif", ".tiff"):
            with tifffile.TiffFile(label) as tiff:
                size, pixels = tuple(tiff.pages.first.shape[:2]), math.prod(tiff.series[0].shape)
                samples = tiff.pages.first.samplesperpixel
        elif label.suffix.lower() == ".npy":
            whole = np.load(label, mmap_mode="r").shape
            size, pixels, samples = whole[-2:], math.prod(whole), 1
        elif label.suffix.lower() == ".png":
            with Image.open(label) as png:
                size, pixels, samples = png.size[::-1], math.prod(png.size), 1
        else:
            return
    except Exception as error:  # readers raise errors of many kinds on damaged files
        raise ImageError(f"Its label {label.name} cannot be read: {error}.") from error
    shape = image.plane_shape
    if size != shape:
        raise ImageError(
            f"Its label {label.name} has {' x '.join(map(str, size))} px, the image {shape[0]} x {shape[1]}."
        )
    planes, lead = pixels // (math.prod(shape) * samples), image.shape[:-2]
    if planes not in {math.prod(some) for n in range(len(lead) + 1) for some in combinations(lead, n)}:
        raise ImageError(f"Its label {label.name} has {planes} planes, the image {image.shape} in {image.axes}.")


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
        plate = plate_of(source)
        root = source.parent if plate is None else plate.parent
        return root, fields_of(source) if is_plate(source) else [source]
    raise RequestError(f"There is no data set {source}: give a folder, a file, or a CSV that lists files.")


def _of_list(table: Path) -> list[Path]:
    """Images named in the first column of a CSV, in or below its folder."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RequestError(f"{table.name} is not UTF-8: save it as 'CSV UTF-8', which Excel offers.") from error
    rows = list(dict.fromkeys(row[0].strip() for row in csv.reader(lines) if row and row[0].strip()))
    if rows and Path(rows[0]).suffix.lower() not in (*TIFF_ENDINGS, ".zarr") and not (table.parent / rows[0]).exists():
        rows = rows[1:]  # a header
    paths = [Path(os.path.normpath(table.parent / row)) for row in rows]
    paths = [field for path in paths for field in (fields_of(path) if is_plate(path) else [path])]
    if missing := [p for p in paths if not p.exists()]:
        raise RequestError(f"{table.name} lists {missing[0]}, which is not there ({len(missing)} are missing).")
    if outside := [p for p in paths if not p.is_relative_to(os.path.normpath(table.parent))]:
        raise RequestError(
            f"{table.name} lists {outside[0]}, which is not below its folder, so that its copies have no place below "
            "the destination: move the list to a folder that holds all of its images."
        )
    return [table.parent / p.relative_to(os.path.normpath(table.parent)) for p in paths]


def _label_names(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Label files by their path without ending; and by their bare stem where only one folder has it.

    The second is for images that lie in no folder themselves: ``train/a`` and ``test/a`` are two.
    """
    if not folder.is_dir():
        raise RequestError(f"There is no folder of labels {folder}.")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in _LABELS)
    named: dict[str, list[Path]] = {}
    stems: dict[str, list[Path]] = {}
    for path in files:
        named.setdefault((path.relative_to(folder).parent / stem_of(path)).as_posix(), []).append(path)
        stems.setdefault(stem_of(path), []).append(path)
    return named, {stem: paths for stem, paths in stems.items() if len({p.parent for p in paths}) == 1}


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
