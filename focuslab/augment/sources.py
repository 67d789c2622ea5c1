"""What a data set is made of: images, and what goes with each of them: labels, tables, other files of its name."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile
from PIL import Image

from focuslab.errors import FocusLabError, ImageError, RequestError
from focuslab.io import fields_of, images_of, is_plate
from focuslab.io.ome_zarr import is_zarr

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
    """An image and what goes with it; `place` is its path below the data set, with forward slashes."""

    path: Path
    place: str
    companions: tuple[Companion, ...] = ()
    error: FocusLabError | None = None


def find_sources(
    source: Path, files: str = "**/*", *, labels: Path | None = None, labels_missing: str = "fail"
) -> list[Source]:
    """Images of a data set.

    Parameters
    ----------
    source
        A folder, one file, or a CSV whose first column names files beside it.
    files
        Which files of a folder: a glob; of those, the ones that are TIFF or OME-Zarr.
    labels
        Folder of label images or tables, named like their images, in the same subfolders.
    labels_missing
        ``fail`` reports an image without a label, ``skip`` leaves it out silently.

    Raises
    ------
    RequestError
        If there is nothing to do.
    """
    root, paths = _listed(source, files)
    inside = labels.resolve() if labels is not None else None
    images = [p for p in paths if inside is None or inside not in p.resolve().parents]
    if not images:
        raise RequestError(f"No image in {source} matches {files!r}: choose another folder or another pattern.")
    known = _by_stem(labels) if labels is not None else {}
    found = []
    for path in images:
        place = path.relative_to(root).as_posix()
        beside = [
            Companion(other, Path(place).parent.as_posix())
            for other in sorted(path.parent.glob(f"{_escaped(stem_of(path))}.*"))
            if other != path and other.suffix.lower() in (".csv", ".json", ".txt")
        ]
        if labels is None:
            found.append(Source(path, place, tuple(beside)))
            continue
        key = (Path(place).parent / stem_of(path)).as_posix()
        label = known.get(key) or known.get(stem_of(path))
        if label is not None:
            where = Path(_label_folder(labels, root)) / label.relative_to(labels).parent
            found.append(Source(path, place, (*beside, Companion(label, where.as_posix(), True))))
        elif labels_missing == "fail":
            error = RequestError(f"There is no label for it in {labels}: add one, or leave it out (skip).")
            found.append(Source(path, place, (), error))
    if not found:
        raise RequestError(f"No image in {source} has a label in {labels}: labels are named like their images.")
    return found


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
    except (OSError, ValueError, tifffile.TiffFileError) as error:
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


def _listed(source: Path, files: str) -> tuple[Path, list[Path]]:
    """Root of a data set and its images."""
    if source.is_dir() and not is_zarr(source):
        return source, images_of(source, files)
    if source.suffix.lower() == ".csv" and source.is_file():
        rows = [row[0].strip() for row in csv.reader(source.read_text().splitlines()) if row and row[0].strip()]
        paths = [source.parent / row for row in rows]
        if paths and not paths[0].exists():
            paths = paths[1:]  # a header
        if missing := [p for p in paths if not p.exists()]:
            raise RequestError(f"{source.name} lists {missing[0]}, which is not there ({len(missing)} are missing).")
        return source.parent, paths
    if source.exists():
        return source.parent, fields_of(source) if is_plate(source) else [source]
    raise RequestError(f"There is no data set {source}: give a folder, a file, or a CSV that lists files.")


def _by_stem(folder: Path) -> dict[str, Path]:
    """Label files by their path without ending, and by their bare stem where that is unique."""
    if not folder.is_dir():
        raise RequestError(f"There is no folder of labels {folder}.")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in _LABELS)
    named: dict[str, Path] = {}
    stems: dict[str, list[Path]] = {}
    for path in files:
        named[(path.relative_to(folder).parent / stem_of(path)).as_posix()] = path
        stems.setdefault(stem_of(path), []).append(path)
    return {**{stem: paths[0] for stem, paths in stems.items() if len(paths) == 1}, **named}


def _label_folder(labels: Path, root: Path) -> str:
    """Where labels lie below the destination: as below the source, or in a folder of their own name."""
    try:
        return labels.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return labels.name


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def tables_of(root: Path, sources: Sequence[Source]) -> list[Path]:
    """CSV tables of a data set that belong to no single image."""
    taken = {companion.path for source in sources for companion in source.companions}
    return [p for p in sorted(root.rglob("*.csv")) if p not in taken] if root.is_dir() else []
