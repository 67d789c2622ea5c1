"""Open an image file as a `FocalStack`.

Plain and multi-page TIFF, ImageJ hyperstacks, OME-TIFF (also in several files) and BigTIFF, by tifffile; OME-Zarr (see
`ome_zarr`). The pixels stay in the file until they are asked for.
"""

import contextlib
import json
import logging
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile

from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError, ImageError
from focuslab.io.folders import EXPORT, MAKERS, TIFF_ENDINGS
from focuslab.io.metamorph import metamorph_calibration
from focuslab.io.ome_sets import metadata_file
from focuslab.io.ome_zarr import is_zarr, open_zarr
from focuslab.io.plates import is_plate
from focuslab.io.tiff_metadata import completed, imagej_calibration, ome_calibration, own_notes
from focuslab.io.tiff_pixels import TiffPixels
from focuslab.pixels import Pixels, Reordered
from focuslab.stack import AXES, FocalStack

__all__ = ["read"]

_PREVIEW = re.compile(r"\b(thumbnail|preview|label|macro|overview)\b")  # in the names of images that are none
_PRIVATE_TAG = re.compile(r"TiffTag (3[3-9]|[4-6]\d)\d{3} ")  # of some program, not needed for the pixels
_OPENING = threading.Lock()  # while a file is opened, what tifffile logs is ours


def read(
    path: str | Path,
    *,
    axes: str | None = None,
    focus_axis: str | None = None,
    rgb: Literal["refuse", "per-channel"] = "refuse",
    series: int | None = None,
    pixel_size_um: float | None = None,
) -> FocalStack:
    """Open an image file lazily.

    Parameters
    ----------
    path
        TIFF file of any dialect, or folder of an OME-Zarr image.
    axes
        Letters of the file's dimensions in the file's order, for instance ``ZCYX``, where the file does not name
        them or names them wrongly.
    focus_axis
        Letter of the file's axis that is the focus axis, where the file calls it otherwise (``T``, ``C``, or an
        unnamed ``I`` or ``Q``).
    rgb
        What to do with colour samples: refuse them, or take red, green and blue as three channels.
    series
        Which image of a TIFF that holds several, for instance the positions of a stage; from 0.
    pixel_size_um
        Goes before what the file says, which may then be in a unit that is not known.

    Returns
    -------
    FocalStack
        Axes in the order TCZYX, calibration as far as the file has it.

    Raises
    ------
    ImageError
        If the file is not a TIFF, is damaged, holds several images, or its axes are not known.
    CalibrationError
        If the file says a unit or pixel shape that cannot be used.
    """
    path = Path(path)
    if path.is_dir() and is_zarr(path):
        if axes or focus_axis or series is not None:
            raise ImageError(
                f"{path.name} is an OME-Zarr, which names its axes itself and holds one image: leave out --axes, "
                "--focus-axis and --series."
            )
        if is_plate(path):
            raise ImageError(f"{path.name} is a plate: name one of its fields, for instance {path.name}/B/3/0.")
        stack = open_zarr(path)
        return stack if pixel_size_um is None else stack.calibrated(pixel_size_um=pixel_size_um)
    if not path.is_file():
        raise ImageError(f"{path} is a folder: name a file in it." if path.is_dir() else f"There is no file {path}.")
    if path.suffix.lower() in MAKERS:
        raise ImageError(f"{path.name} is in a format of the microscope's maker. {EXPORT}")
    with _complaints() as complaints:
        try:
            tiff = tifffile.TiffFile(path)
            if not tiff.series:
                tiff.close()
                raise ValueError("it holds no image")
        except Exception as error:  # tifffile raises errors of many kinds on damaged files
            raise ImageError(f"{path.name} cannot be read as a TIFF: {error}.") from error
    try:
        if any("offset" in said and not _PRIVATE_TAG.search(said) for said in complaints):
            raise ImageError(f"{path.name} is truncated: it points beyond its own end. Copy it again from its source.")
        if main := metadata_file(tiff.pages.first.description):
            whole = path.with_name(main)
            if not whole.is_file() or whole.samefile(path) or whole.suffix.lower() not in TIFF_ENDINGS:
                raise ImageError(
                    f"{path.name} is a part of an OME-TIFF that has its metadata in {main}, which is not there, or no "
                    "TIFF: let Bio-Formats write the image as one OME-TIFF, for instance in Fiji."
                )
            tiff.close()
            return read(whole, axes=axes, focus_axis=focus_axis, rgb=rgb, series=series, pixel_size_um=pixel_size_um)
        if series is None:
            tiff = _as_pages(tiff, path, axes)
        stack = _open(path, tiff, _one_of(path, tiff, series), axes, focus_axis, rgb, pixel_size_um)
        return stack if pixel_size_um is None else stack.calibrated(pixel_size_um=pixel_size_um)
    except CalibrationError as error:
        tiff.close()
        raise CalibrationError(f"{path.name}: {error}") from error
    except Exception:
        tiff.close()
        raise


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile logs, which is how it speaks of damage that it reads around."""
    said: list[str] = []

    here = threading.get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == here:  # another one may be reading another file
                said.append(record.getMessage())

    logger, handler = logging.getLogger("tifffile"), Collector()
    with _OPENING:
        propagated = logger.propagate
        logger.addHandler(handler)
        logger.propagate = False
        try:
            yield said
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagated


def _one_of(path: Path, tiff: tifffile.TiffFile, asked: int | None) -> int:
    """Number of the image to open: the one asked for, or the only one; a smaller preview beside it is none."""
    if asked is not None:
        if not 0 <= asked < len(tiff.series):
            raise ImageError(f"{path.name} holds {len(tiff.series)} images, numbered from 0; there is no {asked}.")
        return asked
    if any(not _previews(s, tiff.series[0], named=bool(tiff.is_ome)) for s in tiff.series[1:]):
        shapes = ", ".join(" x ".join(map(str, s.shape)) for s in tiff.series[:4])
        raise ImageError(
            f"{path.name} holds {len(tiff.series)} images ({shapes}{', ...' if len(tiff.series) > 4 else ''}), for "
            "instance positions of a stage: choose one with --series, from 0, or export one per file. If they "
            "are the planes of one stack, say so with --axes ZYX."
        )
    return 0


def _previews(series: tifffile.TiffPageSeries, first: tifffile.TiffPageSeries, *, named: bool) -> bool:
    """Whether an image only shows another one smaller, or the slide that it is from."""
    if series.keyframe is None:
        return True
    if _PREVIEW.search((series.name or "").lower().replace("_", " ")) and series.shape != first.shape:
        return True
    (height, width), (tall, wide) = series.keyframe.shape[:2], first.keyframe.shape[:2]
    alike = abs(height * wide - width * tall) <= max(tall, wide)  # in proportion, but for a pixel
    return not named and height < tall and width < wide and alike


def _as_pages(tiff: tifffile.TiffFile, path: Path, axes: str | None) -> tifffile.TiffFile:
    """The same file, its pages one stack: what was written page by page calls each an image of its own."""
    every = tiff.series
    if not axes or len(every) == 1 or len(axes) <= every[0].ndim or not tiff.is_shaped:
        return tiff
    if len({(s.shape, s.dtype) for s in every}) > 1:
        return tiff
    tiff.close()
    return tifffile.TiffFile(path, is_shaped=False)


def _open(
    path: Path,
    tiff: tifffile.TiffFile,
    number: int,
    axes: str | None,
    focus_axis: str | None,
    rgb: str,
    pixel_size_um: float | None,
) -> FocalStack:
    series = tiff.series[number]
    names = _axes(path, series, axes, focus_axis)
    if 0 in series.shape:
        raise ImageError(f"{path.name} is empty: its shape is {series.shape}.")
    if series.dtype is None or np.dtype(series.dtype).kind not in "uif":
        raise ImageError(f"{path.name} holds {series.dtype} pixels; whole or real numbers are needed.")
    pixels: Pixels = TiffPixels(path, tiff, series)
    if "S" in names:
        if rgb == "refuse":
            raise ImageError(
                f"{path.name} is a colour (RGB) image. Refocus each colour as a channel with --rgb per-channel "
                "(in Python rgb='per-channel'), or "
                "convert it to grey first."
            )
        names = names.replace("S", "C")
    wanted = "".join(a for a in AXES if a in names)
    if wanted != names:
        pixels = Reordered(pixels, [names.index(a) for a in wanted])
    if len(series.shape) != len(wanted):
        raise ImageError(f"{path.name} has {len(series.shape)} dimensions, its axes {names!r} name {len(names)}.")
    calibration, family, provenance = _described(tiff, number, any_unit=pixel_size_um is not None)
    return FocalStack(pixels, wanted, calibration, provenance, family)


def _axes(path: Path, series: tifffile.TiffPageSeries, given: str | None, focus_axis: str | None) -> str:
    found = str(series.axes)
    names = (given or found).upper()
    if focus_axis is not None:
        letter = focus_axis.upper()
        if letter not in names or letter in "YXS" or ("Z" in names and letter != "Z"):
            raise ImageError(f"{path.name} has axes {names}: {focus_axis!r} cannot be its focus axis.")
        names = names.replace(letter, "Z")
    if len(names) != len(found):
        raise ImageError(f"{path.name} has {len(found)} dimensions {series.shape}, --axes {names} names {len(names)}.")
    if "S" in found and "S" not in names:
        names = names.replace("C", "S") if names.endswith("C") else names
    unknown = [a for a in names if a not in AXES + "S"]
    if unknown or len(set(names)) != len(names) or not {"Y", "X"} <= set(names) or ("S" in names and "C" in names):
        raise ImageError(
            f"{path.name} has shape {series.shape} with axes {names!r}; T, C, Z, Y and X are known. Say what they are, "
            f"for instance --axes {'ZYX' if len(found) == 3 else AXES[-len(found) :]} (in Python axes=)."
        )
    return names


def _described(tiff: tifffile.TiffFile, number: int, *, any_unit: bool) -> tuple[Calibration, str, dict[str, Any]]:
    """Calibration, family and provenance of an image; of `any_unit`, lengths in unknown units are not known."""
    if tiff.is_ome and tiff.ome_metadata:
        xml = tiff.ome_metadata
        said = _ome_notes(xml)
        return completed(ome_calibration(xml, number, any_unit=any_unit), said), "ome", said.get("provenance", {})
    if tiff.is_imagej:
        said = own_notes(str((tiff.imagej_metadata or {}).get("focuslab", "")))
        return completed(imagej_calibration(tiff, any_unit=any_unit), said), "imagej", said.get("provenance", {})
    if tiff.is_metaseries or tiff.is_stk:
        return metamorph_calibration(tiff, any_unit=any_unit), "tiff", {}
    said = own_notes(tiff.pages.first.description, "focuslab")
    return completed(Calibration(), said), "tiff", said.get("provenance", {})


def _ome_notes(xml: str) -> dict[str, Any]:
    """What FocusLab wrote of provenance and calibration into the annotation of an OME-XML document."""
    try:
        root = ET.fromstring(xml)
    except ET.ParseError:  # of another program; its pixels are read all the same
        return {}
    notes: dict[str, Any] = {}
    for annotation in root.iter():
        if annotation.tag.endswith("}MapAnnotation") and annotation.get("Namespace") == "focuslab":
            for element in annotation.iter():
                if element.get("K") in ("focuslab", "calibration") and element.text:
                    try:
                        said = json.loads(element.text)
                    except ValueError:
                        continue
                    key = "provenance" if element.get("K") == "focuslab" else "calibration"
                    notes[key] = said if isinstance(said, dict) else {}
    return notes
