"""Files on any system: names that all of them take, whether two are one, and a draft that takes its place."""

import contextlib
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

from focuslab.errors import OutputError

__all__ = ["check_free", "drafted", "file_name", "make_folder", "place_of", "state_of", "stem_of", "take_place"]

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_CASE_MATTERS = sys.platform not in ("win32", "darwin")
_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8) if sys.platform == "win32" else ()


def file_name(text: str) -> str:
    """Text as the name of a file: what Windows, macOS or Linux do not take becomes a dash."""
    return _FORBIDDEN.sub("-", text).rstrip(" .") or "unnamed"


def place_of(path: Path) -> str:
    """Where a path leads, as a text that is the same for all paths to one file: Windows and macOS ignore case."""
    place = str(path.resolve())
    return place if _CASE_MATTERS else place.casefold()


def stem_of(path: Path) -> str:
    """Name without its ending, ``.ome.tif`` being one."""
    name = path.name
    for ending in (".ome.tiff", ".ome.tif", ".ome.zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


def state_of(files: Iterable[Path]) -> dict[str, int]:
    """Bytes of files together and when the last of them was written: with either, they are others.

    Of a folder, an OME-Zarr, it is its metadata.
    """
    inside = [next((p for n in ("zarr.json", ".zattrs") if (p := path / n).is_file()), path) for path in files]
    found = [path.stat() for path in inside]
    return {
        "files": len(found),
        "bytes": sum(one.st_size for one in found),
        "modified_ns": max((one.st_mtime_ns for one in found), default=0),
    }


def take_place(draft: Path, path: Path) -> None:
    """Put a draft under its name, over what was there.

    On Windows a file that somebody has open, be it a virus scanner for a moment, cannot be moved: it is tried again
    for a second and a half.
    """
    for wait in _WAITS_S:
        with contextlib.suppress(PermissionError):
            draft.replace(path)
            return
        time.sleep(wait)
    draft.replace(path)


@contextlib.contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Path of a draft, to be written in a ``with``, that takes the place of a file once it is whole, or goes."""
    draft = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield draft
        take_place(draft, path)
    finally:
        with contextlib.suppress(OSError):  # its folder may be none
            draft.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless they are there.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}.") from error


def check_free(path: Path) -> None:
    """Refuse a file that another program keeps open and that could not be replaced, before any work is done.

    Raises
    ------
    OutputError
        If so, which happens on Windows alone.
    """
    if path.is_file():
        try:
            take_place(path, path)
        except PermissionError as error:
            raise OutputError(f"{path} cannot be replaced: is it open in another program? Close it there.") from error
