"""Applying a shift to planes of a layer, and saving what came out, without Qt."""

import re
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import RequestError
from focuslab.stack import FocalStack
from focuslab_napari.layers import LayerImage, read_layer
from focuslab_napari.preferences import chosen_focus_axis, preference, typed_numbers
from focuslab_napari.session import Move, Session

__all__ = [
    "ALL",
    "PLANE",
    "STACK",
    "Application",
    "Pair",
    "apply_steps",
    "layer_stack",
    "planes_in",
    "result_path",
    "write_steps",
]

PLANE, STACK, ALL = "this plane", "all focal planes here", "everything (channels, time points)"


@dataclass(frozen=True, slots=True)
class Application:
    """What is to be applied, and to which planes.

    Attributes
    ----------
    index
        Plane on screen.
    scope
        `PLANE`, `STACK` or `ALL`.
    move
        None: to the sharpest.
    level_px
        Level of all planes, where it is known.
    focus_plane
        Plane in focus, where levels follow from the focus step.
    doubt
        Relative error of the levels to allow for; None: what their estimates say.
    estimate
        What `level_px` was read with, if it was not typed.
    pair
        Focal planes A and B on whose line the move is.
    per_frame
        Whether every time point has a level of its own, where levels are estimated.
    """

    image: LayerImage
    index: tuple[int, ...]
    scope: str
    move: Move | None
    level_px: float | None
    focus_plane: int | None
    model: str
    device: str
    doubt: float | None = None
    estimate: Any = None
    pair: "Pair | None" = None
    per_frame: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Two focal planes, and their levels, px, None where they are to be read."""

    a: int
    b: int
    levels_px: tuple[float | None, float | None]


def apply_steps(session: Session, asked: Application) -> Generator[Any, None, tuple[NDArray[Any], dict[str, Any]]]:
    """Refocus the planes asked for.

    Returns
    -------
    pixels, provenance
        With the axes of the stack, or (Y, X) of one plane.
    """
    from focuslab.refocusing import RefocusRequest, refocus_steps

    if asked.pair is not None:
        return (yield from _between(session, asked, asked.pair))
    stack = asked.image.stack
    where = {} if asked.move is None else {f"shift_{asked.move.unit}": asked.move.value}
    request = RefocusRequest(
        sharpest=asked.move is None,
        level_px=asked.level_px,
        focus_plane=asked.focus_plane,
        doubt=asked.estimate.doubt if asked.doubt is None and asked.estimate is not None else asked.doubt,
        per_frame=asked.per_frame,
        **where,
    )
    only = set(planes_in(asked.image, asked.index, asked.scope))
    out: Any = _OnePlane(stack) if asked.scope == PLANE else (yield from _copy(stack, only))
    engine = session.engine(asked.model, asked.device)
    steps = refocus_steps(stack, request, engine, out, keep_nan=True, tile=int(preference("tile")), only=only)
    provenance = yield from steps
    if asked.estimate is not None and asked.level_px is not None:  # it was read, for the picture on screen
        read = {"structure": round(asked.estimate.structure, 3), "confidence": round(asked.estimate.confidence, 3)}
        provenance["planes"] = [record | read | {"level": "estimated"} for record in provenance["planes"]]
    return np.asarray(out.pixels if isinstance(out, _OnePlane) else out), provenance


def _between(
    session: Session, asked: Application, pair: Pair
) -> Generator[Any, None, tuple[NDArray[Any], dict[str, Any]]]:
    """The picture on the line through two focal planes, at the channel and time on screen."""
    from focuslab.refocusing import between_steps

    stack = asked.image.stack
    if asked.scope != PLANE:
        raise RequestError(f"Two planes give one picture: apply it to {PLANE!r}.")
    if asked.move is None:
        raise RequestError("Between two planes t says where to go: choose to move by the slider's shift.")
    if "Z" not in stack.axes:
        raise RequestError("Two planes need a focus axis: choose it under Focus axis.")
    at, out = stack.axes.index("Z"), _OnePlane(stack)
    provenance = yield from between_steps(
        stack,
        pair.a,
        pair.b,
        asked.move.value,
        session.engine(asked.model, asked.device),
        out,
        levels_px=pair.levels_px if asked.focus_plane is None else None,
        focus_plane=asked.focus_plane,
        doubt=asked.doubt,
        keep_nan=True,
        tile=int(preference("tile")),
        only=[(*asked.index[:at], *asked.index[at + 1 :])],
    )
    return out.pixels, provenance


def layer_stack(layer: Any) -> FocalStack:
    """What a layer is written as: its pixels with their scale and provenance."""
    said = layer.metadata.get("focuslab", {})
    axis = chosen_focus_axis(layer)
    image = read_layer(layer, typed=typed_numbers(layer), focus_axis=axis, per_channel=True)
    known = {k: v for k, v in said.get("calibration", {}).items() if v is not None}
    calibration = Calibration(**{**known, **{k: v for k, v in image.stack.calibration.model_dump().items() if v}})
    return replace(image.stack, calibration=calibration, provenance=said.get("provenance", {}), family="ome")


def write_steps(stacks: Sequence[tuple[Path, FocalStack]]) -> Generator[Any, None, Sequence[tuple[Path, FocalStack]]]:
    """Write stacks as TIFF, plane by plane, in any thread; one that is left half-way leaves no file.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    from focuslab.io.writing import write_planes
    from focuslab.refocusing.progress import Progress

    total, done = sum(len(list(stack.planes())) for _, stack in stacks), 0
    for path, stack in stacks:
        for _ in write_planes(result_path(path, stack.dtype), stack, overwrite=True):
            done += 1
            yield Progress(done, total)
    return stacks


def result_path(path: Path, dtype: Any) -> Path:
    """Path that a result is written to: an OME-TIFF has its own ending, and not all types of pixels."""
    from focuslab.io.writing import ome_can_hold

    stem = re.split(r"(\.ome)?\.tiff?$", path.name, flags=re.IGNORECASE)[0]
    return path.with_name(f"{stem}{'.ome' * ome_can_hold(np.dtype(dtype))}.tif")


def planes_in(image: LayerImage, index: tuple[int, ...], scope: str) -> list[tuple[int, ...]]:
    """Indices of the planes in a scope around a plane; the focal planes of a colour picture in all of its colours."""
    stack = image.stack
    if scope == ALL:
        return list(stack.planes())
    if scope == PLANE:
        return [index]
    colours = stack.line(index, "C") if image.colours else [index]
    return [plane for colour in colours for plane in stack.line(colour, "Z")]


def _copy(stack: FocalStack, only: Collection[tuple[int, ...]]) -> Generator[Any, None, NDArray[Any]]:
    """Array to write into; what is out of scope is as it was. Yields after every plane, so that it can be left."""
    from focuslab.refocusing.progress import Progress

    try:
        out = np.empty(stack.shape, stack.dtype)
    except MemoryError as error:
        raise RequestError(
            "The result does not fit into memory: use `focuslab refocus` on the file, which writes it part by part."
        ) from error
    for index in set(stack.planes()).difference(only):
        out[index] = stack.plane(index)
        yield Progress(0, 1)
    return out


class _OnePlane:
    """Takes the tiles of one plane of a stack."""

    def __init__(self, stack: FocalStack) -> None:
        self.pixels = np.empty(stack.plane_shape, stack.dtype)
        self.dtype = stack.dtype

    def __setitem__(self, index: Any, value: Any) -> None:
        inside = [i for i in index if isinstance(i, slice)]
        self.pixels[tuple(inside) or ...] = value
