"""Open and write OME-Zarr images (NGFF 0.5, and 0.4 to read), chunk by chunk, pyramids kept.

An image is a folder whose name ends in ``.zarr``. What NGFF has no word for, the optics and the provenance, lies in an
attribute ``focuslab``.

References
----------
.. [1] J. Moore et al., "OME-NGFF: a next-generation file format for expanding bioimaging data-access strategies", Nat.
       Methods 18, 1496 (2021), doi 10.1038/s41592-021-01326-w.
"""

import contextlib
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import FocusLabError, ImageError, OutputError, lacking
from focuslab.files import take_place
from focuslab.io.destination import check_destination, check_room, sidecar_path
from focuslab.io.units import seconds_per, square_pixels, um_per
from focuslab.pixels import LazyPixels, Region
from focuslab.stack import AXES, FocalStack

__all__ = ["ZarrWriter", "attributes_of", "images_in", "is_zarr", "open_for_writing", "open_zarr"]

_CHUNK = 512  # px
_BLOCK = 2048  # px that a pyramid is made by at once
_SMALLEST = 512  # px below which a pyramid has no further level
_COLOUR = re.compile(r"[0-9a-f]{6}")


def is_zarr(path: Path) -> bool:
    """Whether a path is that of an OME-Zarr image, or is to be one."""
    return path.suffix.lower() == ".zarr" or (path / "zarr.json").is_file() or (path / ".zattrs").is_file()


def open_zarr(path: Path) -> FocalStack:
    """Open the full resolution of an OME-Zarr image, lazily.

    Raises
    ------
    ImageError
        If it is not one, or its axes are not known.
    RequestError
        If zarr is not installed.
    """
    zarr = _zarr()
    if "bioformats2raw.layout" in attributes_of(path):
        raise ImageError(f"{path.name} holds images of its own: name one of them, for instance {path.name}/0.")
    try:
        group = zarr.open_group(str(path), mode="r")
        said = dict(group.attrs)
        image = said.get("ome", said)["multiscales"][0]
        array = group[image["datasets"][0]["path"]]
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ImageError(f"{path.name} is not an OME-Zarr image: it has no multiscales ({error}).") from error
    axes = "".join(str(a["name"] if isinstance(a, dict) else a).upper() for a in image.get("axes", ()))
    if len(axes) != array.ndim or [a for a in AXES if a in axes] != list(axes):
        raise ImageError(
            f"{path.name} has axes {axes!r} for shape {array.shape}: T, C, Z, Y, X in that order are known."
        )
    own = said.get("focuslab", {})
    try:
        omero = said.get("ome", said).get("omero") or {}
        calibration = _calibration(image, axes, omero, own.get("calibration", {}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, FocusLabError):
            raise
        raise ImageError(f"{path.name} has metadata that are not those of NGFF ({error!r}): write it again.") from error
    return FocalStack(_ZarrPixels(path, array), axes, calibration, own.get("provenance", {}), "zarr")


class _ZarrPixels(LazyPixels):
    """Lazy pixels of a Zarr array; a chunk that cannot be read is told by name of the image."""

    def __init__(self, path: Path, array: Any) -> None:
        self._path, self._array = path, array
        self.shape = tuple(array.shape)
        self.dtype = np.dtype(array.dtype)

    def _read(self, region: Region) -> NDArray[Any]:
        try:
            return np.asarray(self._array[region])
        except MemoryError:
            raise
        except Exception as error:  # whatever the codec of a damaged chunk raises
            raise ImageError(
                f"{self._path.name} is damaged: a chunk cannot be read ({error}). Copy it again from its source."
            ) from error


def attributes_of(path: Path) -> dict[str, Any]:
    """NGFF attributes of a group, of version 0.5 or before; empty if it is none."""
    for name, inside in (("zarr.json", "attributes"), (".zattrs", None)):
        with contextlib.suppress(OSError, ValueError):
            said = json.loads((path / name).read_text(encoding="utf-8"))
            said = said.get(inside, {}) if inside else said
            return dict(said.get("ome", said))
    return {}


def images_in(path: Path) -> list[Path]:
    """Images of a folder that bioformats2raw has written, one for each series of a file; else the folder itself."""
    if "bioformats2raw.layout" not in attributes_of(path):
        return [path]
    return sorted((p for p in path.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))


def open_for_writing(path: Path) -> Any:
    """Group of a folder, made where there is none."""
    return _zarr().open_group(str(path), mode="a", zarr_format=3)


class ZarrWriter:
    """Context manager that lays out an OME-Zarr image like `like` and keeps it on success only.

    Attributes
    ----------
    array
        Full resolution, to be written in place.
    provenance, aside
        As of a `StackWriter`.
    """

    def __init__(self, path: str | Path, like: FocalStack, *, overwrite: bool = False) -> None:
        self.path, self._like, self._overwrite = Path(path), like, overwrite
        self.provenance: dict[str, Any] = {}
        self.aside: dict[str, Any] = {}
        check_destination(self.path, overwrite=overwrite, folder=True)
        self._draft = self.path.with_name(f".{self.path.name}.{uuid4().hex[:8]}.part")
        self._note = self._draft.with_name(f"{self._draft.name}.json")

    def __enter__(self) -> Self:
        check_room(self.path, self._like)
        try:
            self._group = _zarr().create_group(str(self._draft), zarr_format=3)
            self.array = self._level(0, self._like.shape)
        except OSError as error:
            self._discard()
            raise OutputError(f"{self.path} cannot be written: {error}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            shapes = self._pyramid()
            self._group.attrs.put(self._attributes(shapes))
            record = json.dumps({**self.provenance, **self.aside}, indent=1, default=str)
            self._note.write_text(record + "\n", encoding="utf-8")
            self._take_place()
            take_place(self._note, sidecar_path(self.path))
        except OSError as failure:
            self._discard()
            raise OutputError(f"{self.path} cannot be written: {failure}.") from failure
        except BaseException:
            self._discard()
            raise

    def _take_place(self) -> None:
        """Put the draft under its name, where never half of an image is; what was there stays if this fails."""
        old = self._draft.with_name(f"{self._draft.name}.old")
        if self._overwrite and self.path.exists():
            take_place(self.path, old)
        try:
            take_place(self._draft, self.path)
        except OSError:
            if old.exists():
                take_place(old, self.path)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def _discard(self) -> None:
        shutil.rmtree(self._draft, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)

    def _level(self, level: int, shape: tuple[int, ...]) -> Any:
        lead = (1,) * (len(shape) - 2)
        sides = tuple(min(_CHUNK, n) for n in shape[-2:])
        return self._group.create_array(
            str(level),
            shape=shape,
            chunks=(*lead, *sides),
            dtype=self._like.dtype.newbyteorder("="),
            dimension_names=list(self._like.axes.lower()),
        )

    def _pyramid(self) -> list[tuple[int, ...]]:
        """Make the coarser levels, each the means of 2 x 2 px of the one before; returns the shapes of all."""
        shapes, fine = [tuple(self._like.shape)], self.array
        while max(shapes[-1][-2:]) > _SMALLEST:
            *lead, height, width = shapes[-1]
            shapes.append((*lead, max(height // 2, 1), max(width // 2, 1)))
            coarse = self._level(len(shapes) - 1, shapes[-1])
            for index in np.ndindex(*lead):
                for y in range(0, shapes[-1][-2], _BLOCK // 2):
                    for x in range(0, shapes[-1][-1], _BLOCK // 2):
                        part = np.asarray(fine[(*index, slice(2 * y, 2 * y + _BLOCK), slice(2 * x, 2 * x + _BLOCK))])
                        small = _halved(part)
                        rows, columns = slice(y, y + small.shape[0]), slice(x, x + small.shape[1])
                        coarse[(*index, rows, columns)] = small
            fine = coarse
        return shapes

    def _attributes(self, shapes: list[tuple[int, ...]]) -> dict[str, Any]:
        """NGFF 0.5 metadata."""
        like, known = self._like, self._like.calibration
        kinds = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
        sizes = {
            "T": known.time_step_s,
            "C": None,
            "Z": known.z_step_um,
            "Y": known.pixel_size_um,
            "X": known.pixel_size_um,
        }
        units = {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}
        axes = [
            {"name": a.lower(), "type": kinds[a], **({"unit": units[a]} if a in units and sizes[a] else {})}
            for a in like.axes
        ]
        datasets = []
        finest = scale = [sizes[a] or 1.0 for a in like.axes]
        places = dict(zip("ZYX", known.position_um or (), strict=False))
        first = [places.get(a, 0.0) if sizes[a] else 0.0 for a in like.axes]
        for level, (finer, shape) in enumerate(pairwise((shapes[0], *shapes))):
            scale = [s * (2 if n < m else 1) for s, m, n in zip(scale, finer, shape, strict=True)]
            moved = [m + (s - f) / 2 for m, s, f in zip(first, scale, finest, strict=True)]  # centre of the first pixel
            changes = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": moved}]
            datasets.append({"path": str(level), "coordinateTransformations": changes[: 2 if known.position_um else 1]})
        ome: dict[str, Any] = {
            "version": "0.5",
            "multiscales": [{"name": self.path.stem, "axes": axes, "datasets": datasets, "type": "mean"}],
        }
        shown = (("label", known.channel_names), ("color", [colour.upper() for colour in known.channel_colours]))
        if any(values for _, values in shown):
            count = max(len(values) for _, values in shown)
            channels = [{key: values[c] for key, values in shown if c < len(values)} for c in range(count)]
            ome["omero"] = {"channels": channels}
        said = json.loads(json.dumps(self.provenance, default=str))
        return {"ome": ome, "focuslab": {"calibration": known.model_dump(mode="json"), "provenance": said}}


def _halved(pixels: NDArray[Any]) -> NDArray[Any]:
    """Means of 2 x 2 px, in the same dtype; an odd row or column at the end is left out, a lone one kept."""
    height, width = (max(n // 2, 1) for n in pixels.shape)
    y, x = (min(2, n) for n in pixels.shape)
    blocks = pixels[: height * y, : width * x].reshape(height, y, width, x).astype(np.float64)
    mean = blocks.mean((1, 3))
    return (np.rint(mean) if pixels.dtype.kind in "ui" else mean).astype(pixels.dtype)


def _calibration(image: dict[str, Any], axes: str, omero: dict[str, Any], own: dict[str, Any]) -> Calibration:
    """What NGFF and FocusLab's own attribute say; a scale without unit says nothing."""
    scale, first = [1.0] * len(axes), [0.0] * len(axes)
    for change in [
        *(image["datasets"][0].get("coordinateTransformations") or ()),
        *(image.get("coordinateTransformations") or ()),
    ]:
        if change.get("type") == "scale":
            scale = [a * float(b) for a, b in zip(scale, change["scale"], strict=True)]
            first = [a * float(b) for a, b in zip(first, change["scale"], strict=True)]
        elif change.get("type") == "translation":
            first = [a + float(b) for a, b in zip(first, change["translation"], strict=True)]
    found: dict[str, float | None] = {}
    place: dict[str, float] = {}
    for axis, said, size, start in zip(axes, image["axes"], scale, first, strict=True):
        unit = str(said.get("unit") or "") if isinstance(said, dict) else ""
        factor = seconds_per(unit) if axis == "T" else um_per(unit)
        found[axis] = size * factor if factor is not None else None
        place[axis] = start * (factor or 0.0)
    x = square_pixels(found["X"], found["Y"])
    channels = omero.get("channels") or ()
    named = any(c.get("label") for c in channels)
    names = tuple(str(c.get("label") or f"channel {i}") for i, c in enumerate(channels)) if named else ()
    colours = tuple(str(c.get("color", "")).lower() for c in channels)
    said = {"pixel_size_um": x, "z_step_um": found.get("Z"), "time_step_s": found.get("T"), "channel_names": names}
    said["channel_colours"] = colours if all(_COLOUR.fullmatch(colour) for colour in colours) else ()
    before = own.get("position_um") or (0.0, 0.0, 0.0)
    position = tuple(place.get(a, start) for a, start in zip("ZYX", before, strict=True))
    said["position_um"] = position if x and any(position) else None
    known = {k: v for part in (own, said) for k, v in part.items() if v not in (None, [], ())}
    return Calibration(**known)  # FocusLab's own attribute says what NGFF cannot


def _zarr() -> Any:
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise lacking("OME-Zarr", "zarr", "zarr") from error
    return zarr
