"""Write stacks as TIFF, region by region, in the family of their input.

The file is laid out first and then filled through a memory map under a temporary name, so memory stays bounded and a
cancelled run leaves nothing behind. Provenance goes into the image description (OME-XML map annotation, ImageJ
`Info`, or plain JSON) and into a `<name>.focuslab.json` sidecar.
"""

import contextlib
import errno
import json
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import NAMESPACE_URL, uuid4, uuid5
from xml.sax.saxutils import escape

import numpy as np
import tifffile
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import ImageError, OutputError
from focuslab.files import take_place
from focuslab.io.destination import check_destination, check_room, sidecar_path
from focuslab.io.ome_zarr import ZarrWriter
from focuslab.io.plates import plate_of
from focuslab.io.tiff_metadata import ome_cannot_say, ome_metadata, with_objective
from focuslab.stack import FocalStack, as_stack

__all__ = ["StackWriter", "ome_can_hold", "write", "write_planes", "writer_of"]

_IMAGEJ_ORDER = "TZCYX"
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_NOT_OME = ("int64", "uint64", "float16")  # types of pixels that OME-XML has no name for
_CLASSIC_LIMIT = 2**32 - 2**25  # bytes


def write(path: str | Path, image: FocalStack | NDArray[Any], *, overwrite: bool = False) -> Path:
    """Write an image as TIFF, plane by plane.

    Parameters
    ----------
    path
        Destination; OME-Zarr is written for names that end in ``.zarr``, OME-TIFF for ``.ome.tif``, otherwise the
        stack's family of TIFF.
    image
        Stack, or array as `focuslab.refocus` takes it.
    overwrite
        Replace an existing file.

    Raises
    ------
    OutputError
        If the file exists, or its folder cannot be written to or is full.
    """
    for _ in write_planes(path, as_stack(image), overwrite=overwrite):
        pass
    return Path(path)


def write_planes(path: str | Path, stack: FocalStack, *, overwrite: bool = False) -> Iterator[None]:
    """Write a stack as `write` does; yields after every plane, and leaves no file if it is left there."""
    with writer_of(path, stack, overwrite=overwrite) as writer:
        for index in stack.planes():
            writer.array[index] = stack.plane(index)
            yield
        writer.provenance = stack.provenance


def ome_can_hold(dtype: np.dtype[Any]) -> bool:
    """Whether OME-TIFF knows a type of pixels."""
    return dtype.name not in _NOT_OME


def writer_of(path: str | Path, like: FocalStack, *, overwrite: bool = False) -> "StackWriter | ZarrWriter":
    """Writer of the format that a name stands for."""
    zarr = Path(path).suffix.lower() == ".zarr" or plate_of(Path(path)) is not None
    return (ZarrWriter if zarr else StackWriter)(path, like, overwrite=overwrite)


class _Draft:
    """Pixels of a file that is being written, set through a memory map.

    Whoever still holds this when the file is complete or given up, a traceback or a suspended generator, does not hold
    the map: on Windows a file that is mapped can neither be moved nor removed.
    """

    def __init__(self, file: np.memmap[Any, Any], shape: Sequence[int], order: Sequence[int]) -> None:
        self._file = file
        self._pixels = np.asarray(file).reshape(shape).transpose(order)
        self.shape, self.dtype = self._pixels.shape, self._pixels.dtype

    def __setitem__(self, index: Any, values: Any) -> None:
        self._pixels[index] = values

    def flush(self) -> None:
        """Have the system write what was set."""
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        del self._file, self._pixels


class StackWriter:
    """Context manager that lays out a TIFF like `like`, offers it as `array`, and keeps it on success only.

    Attributes
    ----------
    array
        Pixels to be set, with the axes of `like`.
    provenance
        Set it before the context ends.
    aside
        What goes into the sidecar alone, for it would make another file of the same picture.
    """

    def __init__(self, path: str | Path, like: FocalStack, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.provenance: dict[str, Any] = {}
        self.aside: dict[str, Any] = {}
        self._like = like
        self._family = _family(self.path, like)
        check_destination(self.path, overwrite=overwrite)
        self._draft = self.path.with_name(f".{self.path.name}.{uuid4().hex[:8]}.part")

    def __enter__(self) -> Self:
        try:
            nbytes = check_room(self.path, self._like)
            self.array = self._lay_out(nbytes)
        except OutputError:
            raise
        except BaseException as error:
            self._discard()
            if isinstance(error, OSError | ValueError):
                raise OutputError(f"{self.path} cannot be written: {error}.") from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.array.close()
            self._discard()
            return
        try:
            try:
                self.array.flush()
            finally:
                self.array.close()
            self._describe()
            sidecar = sidecar_path(self.path)
            sidecar_draft = self._draft.with_name(f"{self._draft.name}.json")
            record = json.dumps({**self.provenance, **self.aside}, indent=1, default=str)
            sidecar_draft.write_text(record + "\n", encoding="utf-8")
            take_place(self._draft, self.path)
            take_place(sidecar_draft, sidecar)
        except BaseException as failure:
            self._discard()
            if isinstance(failure, OSError):
                raise OutputError(f"{self.path} cannot be written: {failure}.") from failure
            raise

    def _discard(self) -> None:
        for leftover in (self._draft, self._draft.with_name(f"{self._draft.name}.json")):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)

    def _lay_out(self, nbytes: int) -> "_Draft":
        """Map of the draft, whose room on the disk is taken: a disk that fills up later would kill the process."""
        array = self._map(nbytes)
        if hasattr(os, "posix_fallocate"):
            with self._draft.open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, self._draft.stat().st_size)
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a share that cannot
                        raise
        return array

    def _map(self, nbytes: int) -> "_Draft":
        like, calibration = self._like, self._like.calibration
        common: dict[str, Any] = {"dtype": like.dtype.newbyteorder("="), "photometric": "minisblack"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tifffile about metadata of exotic shapes
            if self._family == "imagej":
                names = "".join(a for a in _IMAGEJ_ORDER if a in like.axes)
                shape = tuple(like.size(a) for a in names)
                array = tifffile.memmap(
                    self._draft, shape=shape, imagej=True, **common, **_imagej_layout(calibration, names)
                )
                return _Draft(array, shape, [names.index(a) for a in like.axes])
            if self._family == "ome":
                said = ome_metadata(calibration, like.axes, tuple(like.shape))
                array = tifffile.memmap(
                    self._draft,
                    shape=like.shape,
                    ome=True,
                    metadata=said,
                    bigtiff=nbytes > _CLASSIC_LIMIT,
                    **common,
                )
            else:
                array = tifffile.memmap(
                    self._draft,
                    shape=like.shape,
                    metadata={"axes": like.axes},
                    bigtiff=nbytes > _CLASSIC_LIMIT,
                    **common,
                )
        return _Draft(array, like.shape, range(len(like.shape)))

    def _describe(self) -> None:
        said = json.dumps(self.provenance, default=str)
        notes = {"provenance": self.provenance, "calibration": self._like.calibration.model_dump(mode="json")}
        with tifffile.TiffFile(self._draft) as tiff:
            old = tiff.pages.first.description
        if self._family == "ome":
            xml = with_objective(old, self._like.calibration)
            unsaid = json.dumps(ome_cannot_say(self._like.calibration))
            note = (
                '<StructuredAnnotations><MapAnnotation ID="Annotation:focuslab" Namespace="focuslab"><Value>'
                f'<M K="focuslab">{escape(said)}</M><M K="calibration">{escape(unsaid)}</M>'
                "</Value></MapAnnotation></StructuredAnnotations></OME>"
            )
            new = xml.replace("</OME>", note).encode()
            if self.provenance:  # the same picture, made again, is the same file
                own = f"urn:uuid:{uuid5(NAMESPACE_URL, self.path.name + said)}"
                new = re.sub(rb"urn:uuid:[0-9a-f-]{36}", own.encode(), new)
        elif self._family == "imagej":
            new = (old.rstrip("\n") + f"\nfocuslab={json.dumps(notes, default=str)}\n").encode(
                "ascii", "backslashreplace"
            )
        else:
            layout = json.loads(old) if old.startswith("{") else {}
            new = json.dumps({**layout, "focuslab": notes}, default=str).encode("ascii")
        tifffile.tiffcomment(self._draft, new)


def _family(path: Path, stack: FocalStack) -> str:
    named = ome_can_hold(stack.dtype)
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        if not named:
            raise ImageError(
                f"OME-TIFF has no pixels of type {stack.dtype}: let the name of {path.name} end in .tif or .zarr, or "
                "convert the image to float32 or to integers of 32 bits."
            )
        return "ome"
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ImageError(f"Images are written as TIFF: {path.name} must end in .tif, .tiff, .ome.tif or .zarr.")
    if not named:
        return "tiff"
    nbytes = math.prod(stack.shape) * stack.dtype.itemsize
    if stack.family == "zarr":
        return "ome"
    if stack.family == "imagej" and (stack.dtype.name not in _IMAGEJ_TYPES or nbytes > _CLASSIC_LIMIT):
        return "ome"  # ImageJ's own format has neither the type nor the room
    return stack.family


def _ramp(colour: str) -> NDArray[np.uint8]:
    """Colour table of ImageJ (3, 256) from black to a colour, RRGGBB."""
    return (np.linspace(0, 1, 256) * np.array(list(bytes.fromhex(colour)))[:, None]).round().astype(np.uint8)


def _imagej_layout(calibration: Calibration, axes: str) -> dict[str, Any]:
    said: dict[str, Any] = {"axes": axes}
    layout: dict[str, Any] = {"metadata": said}
    if calibration.pixel_size_um:
        said["unit"] = "um"
        layout["resolution"] = (1 / calibration.pixel_size_um, 1 / calibration.pixel_size_um)
        if calibration.z_step_um:  # with a unit, but no pixel size, a pixel would be 1 um
            said["spacing"] = calibration.z_step_um
    if calibration.time_step_s:
        said["finterval"] = calibration.time_step_s
    if calibration.channel_names:
        said["Labels"] = list(calibration.channel_names)
    if len(calibration.channel_colours) > 1:
        said |= {"mode": "composite", "LUTs": [_ramp(colour) for colour in calibration.channel_colours]}
    return layout
