"""OME-TIFF in several files: one of them, or all, say of which files the image consists."""

import re
from collections.abc import Sequence
from pathlib import Path

import tifffile

__all__ = ["metadata_file", "without_parts"]

_OME = (".ome.tif", ".ome.tiff")
_FILE = re.compile(r'FileName="([^"]+)"')
_ELSEWHERE = re.compile(r'<(?:\w+:)?BinaryOnly[^>]*MetadataFile="([^"]+)"')


def metadata_file(description: str) -> str | None:
    """Name of the file that holds the metadata of a part that has none itself; None where there is no such."""
    found = _ELSEWHERE.search(description)
    return found[1] if found else None


def without_parts(paths: Sequence[Path]) -> list[Path]:
    """Paths less those of files that are parts of an image which another one opens as a whole."""
    there, parts = set(paths), set[Path]()
    for path in paths:
        if path in parts or not path.name.lower().endswith(_OME) or not path.is_file():
            continue
        said = _description(path)
        if (main := metadata_file(said)) is not None and path.with_name(main) in there:
            parts.add(path)
        elif said.count("<Image ") == 1:  # several are several images, each of which is asked for by its number
            parts |= {path.with_name(name) for name in _FILE.findall(said)} - {path}
    return [path for path in paths if path not in parts]


def _description(path: Path) -> str:
    try:
        with tifffile.TiffFile(path) as tiff:
            return str(tiff.pages.first.description)
    except Exception:  # damaged: it is told when it is opened
        return ""
