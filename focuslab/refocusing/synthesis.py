"""Focal stacks made from one plane: how the field would look at other distances from focus.

By the model, each focal plane is ``code + shift * direction``, from one encoding of a tile. By optics alone it is the
plane blurred by the ratio of two transfer functions, which can only blur.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError, RequestError
from focuslab.models.bundle import Model
from focuslab.models.latent import keeps_remainder
from focuslab.models.zoo import load_model
from focuslab.optics import Optics
from focuslab.refocusing.checks import check_blur
from focuslab.refocusing.engine import Engine, PlaneFacts
from focuslab.refocusing.filling import Drawn, Render, Tally, fill, provenance_of
from focuslab.refocusing.masks import unmasked
from focuslab.refocusing.plan import StackPlan, plan_refocus
from focuslab.refocusing.progress import Progress, finish, retold
from focuslab.refocusing.request import RefocusRequest, Way
from focuslab.refocusing.tiling import Tile, read_region
from focuslab.stack import FocalStack, as_stack

__all__ = ["SynthesisRequest", "focal_stack", "focal_stack_steps"]

_TILE = 512  # px: all planes of a tile are held at once
_TOGETHER = 8  # focal planes drawn from one encoding
_SAME = 1e-3  # px of blur


@dataclass(frozen=True, slots=True)
class SynthesisRequest:
    """Focal planes to make from a plane.

    Parameters
    ----------
    first, last
        Distances from focus of the first and last plane, um or px of blur radius; the sign of a distance is that of
        z, and makes no difference to the picture.
    planes
        How many.
    unit
        ``um`` or ``px``.
    level_px
        Blur level of the given plane; None to read it, 0 for a plane that is in focus.
    way
        By the ``model`` or by ``optics`` alone.

    Raises
    ------
    RequestError
        If there is nothing to make.
    """

    first: float
    last: float
    planes: int
    unit: Literal["um", "px"] = "um"
    level_px: float | None = None
    way: Way = "model"

    def __post_init__(self) -> None:
        if self.unit not in ("um", "px"):
            raise RequestError(f"Distances are in 'um' or in 'px', got {self.unit!r}.")
        if self.way not in ("model", "optics"):
            raise RequestError(f"Planes are made by the 'model' or by 'optics', got {self.way!r}.")
        if self.planes < 1:
            raise RequestError(f"A focal stack has at least one plane, got {self.planes}.")
        if not np.isfinite([self.first, self.last]).all():
            raise RequestError(f"Distances from focus are finite numbers, got {self.first} and {self.last}.")

    @property
    def distances(self) -> NDArray[np.float64]:
        """Distance of every plane from focus, um or px."""
        return np.linspace(self.first, self.last, self.planes)


def focal_stack_steps(
    stack: FocalStack,
    index: tuple[int, ...],
    request: SynthesisRequest,
    engine: Engine,
    *,
    optics: Optics | None = None,
    keep_nan: bool = False,
    tile: int = _TILE,
) -> Generator[Progress, None, FocalStack]:
    """Make a focal stack of one plane.

    Parameters
    ----------
    stack
        Holds the plane.
    index
        Of the plane.
    request
        Which planes.
    engine
        Model and device; of ``optics`` the device alone.
    optics, keep_nan, tile
        As in `refocus_steps`.

    Returns
    -------
    FocalStack
        (Z, Y, X), dtype of the input, with its provenance.

    Raises
    ------
    FocusLabError
        If um are asked for without calibration, or the plane has no structure.
    """
    known = optics or stack.optics(stack.position(index, "C"))
    if request.unit == "um" and known is None:
        missing = " and ".join(stack.calibration.missing(stack.position(index, "C")))
        raise CalibrationError(f"um need a calibrated image, the {missing} is not known: give it, or ask in px.")
    microscope = known or Optics.nominal()
    asked = RefocusRequest(shift_px=0.0, level_px=request.level_px)
    seen = unmasked(stack)
    plan = yield from retold(plan_refocus(seen, asked, engine.model, optics, [index]), lambda _: Progress(0, 1))
    facts = plan.planes[0].facts
    if facts is None:
        if request.level_px is not None:
            raise RequestError("This channel is blank: all of its pixels are alike, and there is nothing to blur.")
        raise RequestError(
            "This plane has no structure whose blur level could be read: give its level, or choose another plane."
        )
    distances = request.distances
    levels = [microscope.radius_px(float(d)) if request.unit == "um" else abs(float(d)) for d in distances]
    levels = _possible(stack, levels, facts, request.way, engine.model, plan)
    out, tally, done = np.empty((len(levels), *stack.plane_shape), stack.dtype), Tally(tile), 0
    render = _renderer(seen, index, levels, facts, engine, request.way)
    for count in fill(out, stack, index, render, tally, plan, keep_nan=keep_nan):
        done += count
        yield Progress(done, out.size)
    step = abs(float(distances[1] - distances[0])) if len(distances) > 1 and request.unit == "um" else None
    said = {
        "way": request.way,
        "plane": list(index),
        "level_px": round(facts.level_px, 4),
        "distances": [round(float(d), 4) for d in distances],
        "unit": request.unit,
        "optics": microscope.model_dump(),
    }
    provenance = provenance_of("synthesise a focal stack", stack, engine, plan, tally, **said)
    calibration = stack.at(index).calibration
    if optics is not None:
        calibration = calibration.replace(**Calibration.of(optics).model_dump(exclude_defaults=True))
    calibration = calibration.replace(z_step_um=step or None, position_um=None)  # where they would lie, nobody knows
    return FocalStack(out, "ZYX", calibration, provenance, stack.family)


def focal_stack(
    image: FocalStack | NDArray[Any],
    first: float,
    last: float,
    planes: int,
    *,
    unit: Literal["um", "px"] = "um",
    index: tuple[int, ...] | int = (),
    level_px: float | None = None,
    way: Way = "model",
    optics: Optics | None = None,
    model: str | Path | Model = "default",
    device: str = "auto",
    keep_nan: bool = False,
) -> FocalStack:
    """Make a focal stack of one plane, in one call.

    Parameters
    ----------
    image, index
        Stack or array, and index of the plane in it; no index where there is one plane alone.
    first, last, planes, unit, level_px, way
        Which focal planes to make, see `SynthesisRequest`.
    optics, model, device, keep_nan
        As in `focuslab.refocus`.

    Raises
    ------
    FocusLabError
        As `focal_stack_steps`.

    Examples
    --------
    >>> planes = focuslab.focal_stack(sharp, first=-10, last=10, planes=11, level_px=0)     # doctest: +SKIP
    """
    request = SynthesisRequest(first, last, planes, unit, level_px, way)
    stack, engine = as_stack(image), Engine(load_model(model), device)
    steps = focal_stack_steps(stack, stack.one_plane(index), request, engine, optics=optics, keep_nan=keep_nan)
    return finish(steps)


def _possible(
    stack: FocalStack, levels: list[float], facts: PlaneFacts, way: Way, model: Model, plan: StackPlan
) -> list[float]:
    """Levels that can be drawn, with notes on what is not quite what was asked for."""
    check_blur(stack, *levels)
    if max(levels) > model.card.levels_px[1] and way == "model":
        plan.note(f"Extrapolated: a blur of {max(levels):.1f} px lies outside the trained range.")
    if way == "optics" and min(levels) < facts.level_px - _SAME:
        plan.note(f"Optics can only blur: planes nearer to focus than {facts.level_px:.1f} px are the plane as it is.")
        return [max(level, facts.level_px) for level in levels]
    return levels


def _renderer(
    stack: FocalStack,
    index: tuple[int, ...],
    levels: Sequence[float],
    facts: PlaneFacts,
    engine: Engine,
    way: Way,
) -> Render:
    """Draws all levels of a tile, few from each encoding or blur."""

    def by_model(part: Tile, some: Sequence[float]) -> Iterable[NDArray[np.float64]]:
        shifts = [level - facts.level_px for level in some]
        rungs = engine.rungs(facts, *shifts)
        region = read_region(stack, index, part, engine.halo(facts, rungs), keep_nan=True)
        coded = engine.encode(region, facts, rungs, remainder=keeps_remainder(facts.level_px, *shifts))
        return (coded.at(shift) for shift in shifts)

    def by_optics(part: Tile, some: Sequence[float]) -> Iterable[NDArray[np.float64]]:
        region = read_region(stack, index, part, engine.blur_halo(facts, some), keep_nan=True)
        return engine.blurred(region.counts, facts, some)

    draw = by_model if way == "model" else by_optics

    def render(part: Tile) -> Iterator[Drawn]:
        for first in range(0, len(levels), _TOGETHER):
            for k, picture in enumerate(draw(part, levels[first : first + _TOGETHER])):
                yield (first + k,), picture

    return render
