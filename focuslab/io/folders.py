"""Images of a folder, by what their names end in."""

from pathlib import Path

from focuslab.errors import RequestError
from focuslab.files import stem_of
from focuslab.io.ome_sets import without_parts
from focuslab.io.ome_zarr import images_in, is_zarr
from focuslab.io.plates import fields_of, is_plate, plate_of

__all__ = ["EXPORT", "MAKERS", "TIFF_ENDINGS", "images_of", "numbered", "written_name"]

TIFF_ENDINGS = (".tif", ".tiff", ".tf8", ".btf", ".stk", ".lsm")  # of files that are read, all of them TIFF inside
MAKERS = (".czi", ".dv", ".ims", ".lif", ".nd2", ".oib", ".oif", ".oir", ".vsi")  # not read here
EXPORT = "Export it as OME-TIFF, for instance by Bio-Formats in Fiji, and open that."


def images_of(folder: Path, files: str = "**/*") -> list[Path]:
    """Images of a folder whose paths match a glob, sorted: TIFF files, OME-Zarr images, the fields of its plates.

    An OME-TIFF in several files is one image, by the name of the first of them.

    Raises
    ------
    RequestError
        If the glob is none, or matches only images that must be exported first.
    """
    try:
        matching = list(folder.glob(files))
    except (ValueError, NotImplementedError, IndexError) as error:
        raise RequestError(
            f"{files!r} is no pattern of files below a folder: give one such as '*.tif' or '**/*.tif' ({error})."
        ) from error
    found = [p for p in matching if p.suffix.lower() in (*TIFF_ENDINGS, ".zarr") and not p.name.startswith(".")]
    foreign = [p.name for p in matching if p.suffix.lower() in MAKERS]
    if foreign and not found:
        raise RequestError(f"{folder} holds images in a format of the microscope's maker ({foreign[0]}). {EXPORT}")
    whole = sorted(p for p in found if plate_of(p.relative_to(folder)) is None and (p.is_file() or is_zarr(p)))
    whole = [image for p in whole for image in (images_in(p) if p.is_dir() else [p])]
    whole = without_parts(whole)
    return [image for p in whole for image in (fields_of(p) if is_plate(p) else [p])]


def written_name(path: Path) -> str:
    """Name that what is made of an image is written under: its own, or another ending where its format is only read."""
    if path.suffix.lower() in (".tif", ".tiff", ".zarr") or plate_of(path) is not None:
        return path.name
    if path.is_dir():  # a Zarr image is called anything
        return f"{path.name}.ome.zarr"
    return f"{path.stem.removesuffix('.ome')}.ome.tif"


def numbered(path: Path, series: int) -> Path:
    """Where the result of one image of several in a file goes: ``a.ome.tif``, image 1, to ``a_s1.ome.tif``."""
    stem = stem_of(path)
    return path.with_name(f"{stem}_s{series}{path.name[len(stem) :]}")
