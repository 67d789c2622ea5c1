"""From two planes of a field: ``a + t * (b - a)`` for t in 0..1, outside on along the nearer plane's own direction.

Defocus is even: on the two sides of focus the codes lie on a V, not on a line, so the line is only taken through
planes on the same side. Where the levels say that this may not be so, the result says so too.

References
----------
.. [1] I. Mazilu et al., CAIP 2023, doi 10.1007/978-3-031-44240-7_20.
"""

import math
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any

from focuslab.errors import RequestError
from focuslab.models.latent import between_codes
from focuslab.optics import Optics
from focuslab.refocusing.checks import check_blur, check_sharpening, check_size
from focuslab.refocusing.engine import Engine, PlaneFacts
from focuslab.refocusing.filling import DEFAULT_TILE, Drawn, Render, Tally, fill, provenance_of
from focuslab.refocusing.intensity import IntensityMap, measure_map
from focuslab.refocusing.levels import Estimates
from focuslab.refocusing.masks import unmasked
from focuslab.refocusing.plan import UNSURE, StackPlan, known_optics, plane_facts, tell_uncalibrated
from focuslab.refocusing.progress import Progress
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.tiling import Tile, read_region
from focuslab.stack import FocalStack

__all__ = ["between_steps"]

_Two = tuple[float | None, float | None]  # levels of the two planes


def between_steps(
    stack: FocalStack,
    plane_a: int,
    plane_b: int,
    t: float,
    engine: Engine,
    out: Any,
    *,
    levels_px: _Two | None = None,
    levels_um: _Two | None = None,
    focus_plane: int | None = None,
    doubt: float | None = None,
    optics: Optics | None = None,
    keep_nan: bool = False,
    tile: int = DEFAULT_TILE,
    only: Collection[tuple[int, ...]] | None = None,
) -> Generator[Progress, None, dict[str, Any]]:
    """Draw the picture at `t` on the line through two focal planes, for all channels and time points.

    Parameters
    ----------
    stack
        Has a Z axis.
    plane_a, plane_b
        Indices along Z.
    t
        Position on the line.
    engine
        Model and device.
    out
        Array with the stack's axes but Z, written in place.
    levels_px, levels_um, focus_plane
        Levels of the two planes, or the plane in focus; a level that is not given is estimated.
    doubt
        Relative error of the levels to be expected, see `RefocusRequest`.
    optics
        Overrides what the stack says of its microscope.
    keep_nan, tile
        As in `refocus_steps`.
    only
        Channels and time points to draw, as indices of `out`; all if not given, the others are not written.

    Returns
    -------
    dict
        Provenance.
    """
    _check(stack, plane_a, plane_b, t)
    nearer, other = (plane_a, plane_b) if t <= 0.5 else (plane_b, plane_a)  # what is not known is the nearer plane's
    view, beside, seen = stack.take(Z=nearer), stack.take(Z=other), unmasked(stack)
    every = known_optics(stack, optics)
    said = _two_requests(levels_px, levels_um, focus_plane, doubt)
    for one in said:
        one.check(stack, every)
    z_axis = stack.axes.index("Z")
    plan, tally = StackPlan(), Tally(tile)
    if focus_plane is not None:
        focus = focus_plane % stack.size("Z")
        if (plane_a - focus) * (plane_b - focus) < 0:
            plan.note("The two planes lie on different sides of focus: the line between them is not defocus.")
    wanted = [index for index in view.planes() if only is None or index in only]
    total, done = len(wanted) * stack.plane_shape[0] * stack.plane_shape[1], 0
    records: list[dict[str, Any]] = []
    estimates, maps = Estimates(seen, engine.model), dict[int, IntensityMap]()
    tell_uncalibrated(plan, stack, every)
    for index in wanted:
        ends = tuple((*index[:z_axis], z, *index[z_axis:]) for z in (plane_a, plane_b))
        channel = stack.position(ends[0], "C")
        microscope = every[channel] or Optics.nominal()
        known = [_level(stack, e, one, microscope, estimates, plan) for e, one in zip(ends, said, strict=True)]
        levels = [level for level, _ in known]
        if channel not in maps:
            maps[channel] = measure_map(seen, [i for i in stack.planes() if stack.position(i, "C") == channel])
        intensity = maps[channel]
        if intensity.blank:
            plan.note("A blank image has nothing to refocus and is copied unchanged.")
            out[index] = stack.plane(ends[0])
            done += stack.plane_shape[0] * stack.plane_shape[1]
            records.append({"index": list(index), "copied": True})
            yield Progress(done, total)
            continue
        facts = [
            plane_facts(estimates.windows(e), level, microscope, intensity, doubt)
            for e, (level, doubt) in zip(ends, known, strict=True)
        ]
        target = levels[0] + t * (levels[1] - levels[0])
        check_blur(stack, target)
        check_sharpening(max(levels), target)
        _tell_range(plan, t, target, engine.model.card.levels_px[1])
        render = _renderer(seen, index, ends, facts, t, target, engine)
        for count in fill(out, view, index, render, tally, plan, keep_nan=keep_nan, beside=[beside]):
            done += count
            yield Progress(done, total)
        given = all(s.given_level(stack, e, microscope) is not None for s, e in zip(said, ends, strict=True))
        told = "from z" if focus_plane is not None else "given"
        records.append(
            {
                "index": list(index),
                "levels_px": [round(v, 3) for v in levels],
                "levels": told if given else "estimated",
                "optics": microscope.model_dump(),
            }
        )
    asked = {"plane_a": plane_a, "plane_b": plane_b, "t": t, **({"doubt": doubt} if doubt is not None else {})}
    return provenance_of("between", stack, engine, plan, tally, request=asked, planes=records)


def _check(stack: FocalStack, a: int, b: int, t: float) -> None:
    planes = stack.size("Z")
    if "Z" not in stack.axes:
        raise RequestError(f"Two focal planes need a focus axis, the image has axes {stack.axes}: name it with --axes.")
    if not (0 <= a < planes and 0 <= b < planes) or a == b:
        raise RequestError(f"Two different planes of 0 to {planes - 1} are needed, got {a} and {b}.")
    if not math.isfinite(t):
        raise RequestError(f"t must be a finite number, got {t}.")
    check_size(stack)


def _two_requests(
    levels_px: _Two | None, levels_um: _Two | None, focus_plane: int | None, doubt: float | None
) -> list[RefocusRequest]:
    """What is said of the level of each of the two planes, as of a plane that is to be refocused."""
    for two in (levels_px, levels_um):
        if two is not None and (not isinstance(two, Sequence) or len(two) != 2):
            raise RequestError(f"Two planes have two levels, of a and of b, got {two!r}.")
    return [
        RefocusRequest(
            shift_px=0.0,
            level_px=levels_px[i] if levels_px else None,
            level_um=levels_um[i] if levels_um else None,
            focus_plane=focus_plane,
            doubt=doubt,
        )
        for i in range(2)
    ]


def _tell_range(plan: StackPlan, t: float, target_px: float, largest_px: float) -> None:
    """Say where the line is followed beyond the sharpest image, or beyond what the model was trained for."""
    if target_px < -1e-6:
        plan.note(f"Extrapolated: t = {t:g} lies {-target_px:.1f} px beyond the sharpest image.")
    if target_px > largest_px:
        plan.note(f"Extrapolated: a blur of {target_px:.1f} px lies outside the trained range.")


def _level(
    stack: FocalStack,
    index: tuple[int, ...],
    said: RefocusRequest,
    optics: Optics,
    estimates: Estimates,
    plan: StackPlan,
) -> tuple[float, float]:
    """Blur level of one of the two planes, px, and its doubt: as said, or read from it."""
    if (level := said.given_level(stack, index, optics)) is not None:
        check_blur(stack, level)
        return level, said.doubt_of(None)
    found = estimates.of(index, optics)
    if not found.found:
        z = stack.position(index, "Z")
        plan.note(f"No structure in focal plane {z}: it is taken to be in focus; say its level if it is known.")
    elif found.confidence < UNSURE:
        z = stack.position(index, "Z")
        plan.note(f"The level of focal plane {z} is read with less than {UNSURE:.0%} certainty: say it if it is known.")
    plan.note("Levels were estimated: that both planes lie on the same side of focus could not be checked.")
    return found.within(stack.plane_shape, estimates.model), said.doubt_of(found)


def _renderer(
    stack: FocalStack,
    index: tuple[int, ...],
    ends: tuple[tuple[int, ...], ...],
    facts: list[PlaneFacts],
    t: float,
    target: float,
    engine: Engine,
) -> Render:
    rungs = engine.rungs(facts[0], *(level - facts[0].level_px for level in (facts[1].level_px, target)))

    def render(part: Tile) -> Iterator[Drawn]:
        codes = []
        for end, fact in zip(ends, facts, strict=True):
            region = read_region(stack, end, part, engine.halo(fact, rungs), keep_nan=True)
            coded = engine.encode(region, fact, rungs)
            codes.append((coded.code, coded.direction))
        yield index, engine.decode(between_codes(codes[0], codes[1], t), facts[0].intensity)

    return render
