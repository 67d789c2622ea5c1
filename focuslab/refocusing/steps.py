"""Refocus a whole stack, tile by tile, as a generator of progress.

The picture goes wherever `out` is: an array in memory, or the memory map of a file being written.
"""

import math
import time
from collections.abc import Collection, Generator, Iterator
from typing import Any

from focuslab.models.latent import keeps_remainder
from focuslab.optics import Optics
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.filling import DEFAULT_TILE, Drawn, Render, Tally, fill, provenance_of
from focuslab.refocusing.intensity import finite
from focuslab.refocusing.masks import unmasked
from focuslab.refocusing.plan import PlanePlan, plan_refocus
from focuslab.refocusing.progress import Progress, retold
from focuslab.refocusing.request import RefocusRequest, Way
from focuslab.refocusing.tiling import Tile, read_region
from focuslab.stack import FocalStack

__all__ = ["refocus_steps"]


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
    nothing = Progress(0, math.prod(stack.shape))  # at every plane that is planned: a place to stop
    seen = unmasked(stack)
    plan = yield from retold(plan_refocus(seen, request, engine.model, optics, only), lambda _: nothing)
    tally = Tally(tile)
    pixels = stack.plane_shape[0] * stack.plane_shape[1]
    total, done = pixels * len(plan.planes), 0
    for plane in plan.planes:
        if plane.facts is None:
            unchanged = stack.plane(plane.index)
            finite(unchanged, keep_nan)
            out[plane.index] = unchanged
            done += pixels
            yield Progress(done, total)
            continue
        render = _renderer(seen, plane, engine, request.way)
        for count in fill(out, stack, plane.index, render, tally, plan, keep_nan=keep_nan):
            done += count
            yield Progress(done, total)
    seconds = round(time.monotonic() - began, 2)
    records = [_plane_record(p, request) for p in plan.planes]
    return provenance_of(
        "refocus", stack, engine, plan, tally, request=request.said, way=request.way, seconds=seconds, planes=records
    )


def _renderer(stack: FocalStack, plane: PlanePlan, engine: Engine, way: Way) -> Render:
    facts = plane.facts
    if facts is None:
        raise ValueError("a plane that is copied needs no renderer")
    target = facts.level_px + plane.shift_px

    def blur(part: Tile) -> Iterator[Drawn]:
        region = read_region(stack, plane.index, part, engine.blur_halo(facts, [target]), keep_nan=True)
        (picture,) = engine.blurred(region.counts, facts, [target])
        yield plane.index, picture

    if way == "optics":
        return blur
    rungs = engine.rungs(facts, plane.shift_px)
    halo, remainder = engine.halo(facts, rungs), keeps_remainder(facts.level_px, plane.shift_px)

    def render(part: Tile) -> Iterator[Drawn]:
        region = read_region(stack, plane.index, part, halo, keep_nan=True)
        yield plane.index, engine.encode(region, facts, rungs, remainder=remainder).at(plane.shift_px)

    return render


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
