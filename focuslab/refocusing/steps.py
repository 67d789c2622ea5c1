"""Refocus a whole stack, tile by tile, as a generator of progress.

The picture goes wherever `out` is: an array in memory, or the memory map of a file being written.
"""

import gc
import time
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import focuslab
from focuslab.errors import DeviceError, out_of_memory
from focuslab.models.latent import keeps_remainder
from focuslab.optics import Optics
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.plan import PlanePlan, StackPlan, plan_refocus
from focuslab.refocusing.progress import Progress, told
from focuslab.refocusing.request import RefocusRequest, Way
from focuslab.refocusing.tiling import GRID, Tile, read_region, tiles
from focuslab.stack import FocalStack

__all__ = ["DEFAULT_TILE", "Tally", "fill", "refocus_steps"]

DEFAULT_TILE = 1024
_SMALLEST_TILE = 128


@dataclass(slots=True)
class Tally:
    """What is counted while pixels are written."""

    saturated: int = 0
    light_in: float = 0.0
    light_out: float = 0.0

    def write(self, out: Any, index: Any, before: NDArray[Any], picture: NDArray[np.float64]) -> None:
        """Round and clip a picture into `out[index]` and count what happens to its light.

        Pixels that were not finite `before` stay what they were.
        """
        dtype = np.dtype(out.dtype)
        known = np.isfinite(before)
        if dtype.kind in "ui":
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            whole = np.rint(picture)
            over = (whole < low) | (whole > high)
            self.saturated += int(over.sum())
            top = np.nextafter(float(high), 0) if float(high) > high else float(high)
            out[index] = np.where(whole >= high, high, whole.clip(low, top).astype(dtype))
        else:
            out[index] = np.where(known, picture, before).astype(dtype)
        self.light_in += float(before[known].sum(dtype=np.float64))
        self.light_out += float(picture[known].sum())

    @property
    def drift(self) -> float:
        """Relative change of the mean intensity."""
        return (self.light_out - self.light_in) / abs(self.light_in) if self.light_in else 0.0


def refocus_steps(
    stack: FocalStack,
    request: RefocusRequest,
    engine: Engine,
    out: Any,
    *,
    optics: Optics | None = None,
    keep_nan: bool = False,
    tile: int = DEFAULT_TILE,
    only: Collection[tuple[int, ...]] | None = None,
) -> Generator[Progress, None, dict[str, Any]]:
    """Refocus every plane of a stack into `out`.

    Parameters
    ----------
    stack
        Input.
    request
        What to do.
    engine
        Model and device.
    out
        Array of the stack's shape and dtype, written in place.
    optics
        Overrides what the stack says of its microscope.
    keep_nan
        Leave pixels that are not finite as they are instead of refusing the image.
    tile
        Height of a tile, px, a multiple of 8; halved when memory runs out.
    only
        Indices of the planes to refocus, all if not given; the others are not written.

    Yields
    ------
    Progress
        After every tile.

    Returns
    -------
    dict
        Provenance: model, levels, shifts, notes, saturated pixels, intensity drift.

    Raises
    ------
    FocusLabError
        Of the image, the request or the device; `out` is then incomplete.
    """
    began = time.monotonic()
    nothing = Progress(0, int(np.prod(stack.shape)))  # at every plane that is planned: a place to stop
    plan = yield from told(plan_refocus(stack, request, engine.model, optics, only), lambda _: nothing)
    tally = Tally()
    pixels = stack.plane_shape[0] * stack.plane_shape[1]
    total, done = pixels * len(plan.planes), 0
    for plane in plan.planes:
        if plane.facts is None:
            out[plane.index] = stack.plane(plane.index)
            done += pixels
            yield Progress(done, total)
            continue
        render = _renderer(stack, plane, engine, keep_nan, request.way)
        for count in fill(out, stack, plane.index, render, tally, tile, plan):
            done += count
            yield Progress(done, total)
    return _provenance(stack, request, engine, plan, tally, tile, time.monotonic() - began)


def fill(
    out: Any,
    stack: FocalStack,
    index: tuple[int, ...],
    render: Callable[[Tile], NDArray[np.float64]],
    tally: Tally,
    tile: int,
    plan: StackPlan,
) -> Iterator[int]:
    """Render one plane tile by tile; a tile that does not fit into memory is cut into halves or quarters."""
    waiting = list(tiles(stack.plane_shape, max(tile // GRID, 1) * GRID))[::-1]
    while waiting:
        part = waiting.pop()
        try:
            picture = render(part)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            waiting += _quarters(part, error)[::-1]
            gc.collect()
            plan.note("Memory ran out: tiles were made smaller.")
            continue
        before = np.asarray(stack.array[(*index, *part.slices)])
        tally.write(out, (*index, *part.slices), before, picture)
        yield part.pixels


def _renderer(
    stack: FocalStack, plane: PlanePlan, engine: Engine, keep_nan: bool, way: Way
) -> Callable[[Tile], NDArray[np.float64]]:
    facts = plane.facts
    if facts is None:
        raise ValueError("a plane that is copied needs no renderer")
    target = facts.level_px + plane.shift_px

    def blur(part: Tile) -> NDArray[np.float64]:
        region = read_region(stack, plane.index, part, engine.blur_halo(facts, [target]), keep_nan=keep_nan)
        (picture,) = engine.blurred(region.counts, facts, [target])
        return picture[: part.y1 - part.y0, : part.x1 - part.x0]

    if way == "optics":
        return blur
    rungs = engine.rungs(facts, plane.shift_px)
    halo, remainder = engine.halo(facts, rungs), keeps_remainder(facts.level_px, plane.shift_px)

    def render(part: Tile) -> NDArray[np.float64]:
        region = read_region(stack, plane.index, part, halo, keep_nan=keep_nan)
        picture = engine.encode(region, facts, rungs, remainder=remainder).at(plane.shift_px)
        return picture[: part.y1 - part.y0, : part.x1 - part.x0]

    return render


def _quarters(tile: Tile, error: BaseException) -> list[Tile]:
    half = max(tile.y1 - tile.y0, tile.x1 - tile.x0) // 2 // GRID * GRID
    if half < _SMALLEST_TILE:
        raise DeviceError(
            f"Not enough memory for a tile of {2 * half} px ({error}). Close other programs, or use --device cpu."
        ) from error
    return [
        Tile(y, min(y + half, tile.y1), x, min(x + half, tile.x1))
        for y in range(tile.y0, tile.y1, half)
        for x in range(tile.x0, tile.x1, half)
    ]


def _provenance(
    stack: FocalStack,
    request: RefocusRequest,
    engine: Engine,
    plan: StackPlan,
    tally: Tally,
    tile: int,
    seconds: float,
) -> dict[str, Any]:
    said = {name: getattr(request, name) for name in request.__slots__}
    asked = {name: value for name, value in said.items() if value is not None and value is not False}  # 0 is said
    way = asked.pop("way")
    return {
        "focuslab": focuslab.__version__,
        "operation": "refocus",
        "request": asked,
        "way": way,
        "model": engine.model.identity,
        "device": str(engine.device),
        "precision": str(engine.dtype).removeprefix("torch."),
        "tile": tile,
        "seconds": round(seconds, 2),
        "notes": plan.notes,
        "saturated_pixels": tally.saturated,
        "mean_intensity_drift": round(tally.drift, 6),
        "planes": [_plane_record(p, request) for p in plan.planes],
        **stack.history,
    }


def _plane_record(plane: PlanePlan, request: RefocusRequest) -> dict[str, Any]:
    said = "from z" if request.focus_plane is not None else "given"
    record: dict[str, Any] = {"index": list(plane.index), "shift_px": round(plane.shift_px, 4)}
    if plane.estimate is not None:
        record["structure"] = round(plane.estimate.structure, 3)
        record["confidence"] = round(plane.estimate.confidence, 3)
    if plane.facts is None:
        return {**record, "copied": True}
    facts = plane.facts
    nominal = facts.optics == Optics.nominal()  # a stand-in: its um are not those of the image
    return {
        **record,
        "level_px": round(facts.level_px, 4),
        "level": "estimated" if plane.estimate is not None else said,
        "level_um": None if nominal else round(facts.optics.defocus_um(facts.level_px), 4),
        "doubt": round(facts.doubt, 4),
        "noise": round(facts.noise, 6),
        "floor": round(facts.floor, 4),
        "dark": facts.intensity.dark,
        "bright": facts.intensity.bright,
        "optics": facts.optics.model_dump(),
        "calibrated": not nominal,
    }
