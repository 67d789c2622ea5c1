"""Where results go: names, room on the disk, what is refused before any work is done."""

import math
import shutil
from pathlib import Path
from uuid import uuid4

from focuslab.errors import OutputError
from focuslab.files import check_free, stem_of
from focuslab.stack import FocalStack

__all__ = ["check_destination", "check_room", "sidecar_path"]


_ENDINGS = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".ome.zarr", ".zarr")


def sidecar_path(path: Path) -> Path:
    """`<name>.focuslab.json` beside an image."""
    return path.with_name(f"{stem_of(path)}.focuslab.json")


def check_destination(path: Path, *, overwrite: bool, folder: bool = False) -> None:
    """Refuse a destination before any work is done; `folder` says that the format is one.

    Raises
    ------
    OutputError
        If the file exists, or its folder is missing or cannot be written to.
    """
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already: give another name, or --overwrite (in Python overwrite=True) to replace it."
        )
    check_free(path)
    image = path.name.lower().endswith(_ENDINGS)
    beside = [path.with_name(stem_of(path) + ending) for ending in _ENDINGS] if image else []
    if not overwrite and sidecar_path(path).exists() and (there := [p.name for p in beside if p.exists()]):
        raise OutputError(
            f"{path.name} would share its record, {sidecar_path(path).name}, with {there[0]}: give another name, or "
            "--overwrite to replace the record."
        )
    if path.is_dir() and not folder:
        raise OutputError(f"{path} is a folder, a file name is needed.")
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist.")
    probe = path.parent / f".{uuid4().hex}.part"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"The folder {path.parent} cannot be written to: {error.strerror}.") from error


def check_room(path: Path, like: FocalStack) -> int:
    """Bytes of a stack's pixels, refused where the disk has no room for them.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    nbytes = math.prod(like.shape) * like.dtype.itemsize
    if shutil.disk_usage(path.parent).free < nbytes + 2**20:
        raise OutputError(
            f"The disk of {path.parent} is full: {nbytes} bytes are needed. Free some, or write elsewhere."
        )
    return nbytes
