"""From a request to what is done to every plane: its level, its shift, and what to tell the user about it."""

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from focuslab.models.bundle import Model
from focuslab.optics import Optics
from focuslab.refocusing.checks import check_blur, check_sharpening, check_size
from focuslab.refocusing.engine import PlaneFacts
from focuslab.refocusing.intensity import IntensityMap, measure_map
from focuslab.refocusing.levels import Estimates, LevelEstimate, measure_explanation
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.sampling import contrast, saturated
from focuslab.stack import FocalStack

__all__ = [
    "UNSURE",
    "PlanePlan",
    "StackPlan",
    "known_optics",
    "plan_refocus",
    "plane_facts",
    "tell_uncalibrated",
]

_COARSEST = 3.0  # sampling c that a microscope may have: binned by four at NA 0.75 it is 1.9
_ROUNDED = 0.05  # px that a shift is beyond the sharpest by being rounded
UNSURE = 0.3  # confidence below which a level that was read is told to be so
_UNEXPLAINED = 2.0  # times the noise that is no noise
_SATURATED = 0.005  # share of the pixels of a plane from which it is told


@dataclass(frozen=True, slots=True)
class PlanePlan:
    """One plane: None as `facts` means that it is copied unchanged; `saturated` is a share of its pixels."""

    index: tuple[int, ...]
    facts: PlaneFacts | None
    shift_px: float = 0.0
    estimate: LevelEstimate | None = None
    saturated: float = 0.0


@dataclass(slots=True)
class StackPlan:
    """All planes, and sentences for the user."""

    planes: list[PlanePlan] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Add a sentence once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


def known_optics(stack: FocalStack, optics: Optics | None = None) -> dict[int, Optics | None]:
    """Optics of every channel: those given, else those of the stack, None where unknown."""
    return {c: optics or stack.optics(c) for c in range(stack.size("C"))}


def plan_refocus(
    stack: FocalStack,
    request: RefocusRequest,
    model: Model,
    optics: Optics | None = None,
    only: Collection[tuple[int, ...]] | None = None,
) -> Generator[None, None, StackPlan]:
    """Decide level and shift of every plane, or of some; the intensity map is always that of the whole stack.

    Reading levels takes time: it yields after every plane, and returns the plan.

    Raises
    ------
    ImageError, CalibrationError, RequestError
        If the stack or the request cannot be served; nothing has been computed then.
    """
    check_size(stack)
    every = known_optics(stack, optics)
    request.check(stack, every)
    plan = StackPlan()
    tell_uncalibrated(plan, stack, every)
    estimates = Estimates(stack, model, per_frame=request.per_frame)
    for channel, known in every.items():
        microscope = known or Optics.nominal()
        every_plane = [i for i in stack.planes() if stack.position(i, "C") == channel]
        planes = [i for i in every_plane if only is None or i in only]
        if not planes:
            continue
        intensity = measure_map(stack, every_plane)
        if intensity.blank:
            plan.note("A blank image has nothing to refocus and is copied unchanged.")
            plan.planes += [PlanePlan(i, None) for i in planes]
            continue
        for index in planes:
            plan.planes.append(_plan_plane(stack, index, request, microscope, intensity, estimates, plan))
            yield
    if estimates.differ is not None:
        plan.note(
            "The level changes with time, from {:.1f} to {:.1f} px in the frames looked at, and one is taken for all: "
            "--per-frame reads each (per_frame=True in Python, a choice in napari).".format(*estimates.differ)
        )
    _check_range(plan, model)
    _tell_unsure(plan, stack)
    _tell_unexplained(plan)
    _tell_saturated(plan)
    plan.planes.sort(key=lambda p: p.index)
    return plan


def tell_uncalibrated(plan: StackPlan, stack: FocalStack, every: dict[int, Optics | None]) -> None:
    """Say so where the microscope of any channel is not known."""
    if unknown := [channel for channel, optics in every.items() if optics is None]:
        lacking = ", ".join(dict.fromkeys(name for channel in unknown for name in stack.calibration.missing(channel)))
        where = f" of channel {', '.join(map(str, unknown))}" if len(unknown) < len(every) else ""
        plan.note(
            "Not calibrated: levels and shifts are in px of blur radius, for a nominal sampling of c = 0.6"
            + (f" ({lacking}{where} unknown)." if lacking else ".")
            + (" Without them the thickness of the specimen cannot be used." if stack.calibration.thickness_um else "")
        )


def plane_facts(
    windows: Sequence[NDArray[Any]],
    level_px: float,
    optics: Optics,
    intensity: IntensityMap,
    doubt: float = 0.0,
) -> PlaneFacts:
    """Facts of a plane, of parts of it, at a level more or less known: noise, what nothing explains, floor."""
    noise, said = measure_explanation(windows, intensity, optics, level_px)
    return PlaneFacts(level_px, noise * said.surplus, optics, intensity, said.floor, doubt, said.surplus)


def _plan_plane(
    stack: FocalStack,
    index: tuple[int, ...],
    request: RefocusRequest,
    optics: Optics,
    intensity: IntensityMap,
    estimates: Estimates,
    plan: StackPlan,
) -> PlanePlan:
    level, estimate, windows = request.given_level(stack, index, optics), None, estimates.windows(index)
    if not any(contrast(window) > 0 for window in windows):
        plan.note("A blank plane has nothing to refocus and is copied unchanged.")
        return PlanePlan(index, None)
    if level is None:
        estimate = estimates.of(index, optics)
        level = estimate.within(stack.plane_shape, estimates.model)
        if estimate.found and level < estimate.level_px:
            plan.note(
                f"The level that is read, {estimate.level_px:.1f} px, lies beyond what the model was trained for or "
                f"half of the image: {level:.1f} px is taken."
            )
        if not estimate.found:
            plan.note("No structure: a plane without structure has no blur level and is copied unchanged.")
            return PlanePlan(index, None, 0.0, estimate)
    shift, doubt = request.shift(level, optics), request.doubt_of(estimate)
    check_blur(stack, level, level + shift)
    check_sharpening(level, level + shift)
    facts = plane_facts(windows, level, optics, intensity, doubt)
    return PlanePlan(index, facts, shift, estimate, saturated(windows))


def _check_range(plan: StackPlan, model: Model) -> None:
    low, high = model.card.levels_px
    sampled = model.card.sampling
    moved = [(p.facts.level_px, p.facts.level_px + p.shift_px) for p in plan.planes if p.facts is not None]
    if not moved:
        return
    sharpest, blurriest = min(map(min, moved)), max(map(max, moved))
    if sharpest < low - _ROUNDED:
        plan.note(f"Extrapolated: the shift goes up to {low - sharpest:.1f} px beyond the sharpest image.")
    if blurriest > high:
        plan.note(
            f"Extrapolated: a blur of {blurriest:.1f} px lies outside the trained range of {low:g} to {high:g} px."
        )
    for c in sorted({p.facts.optics.sampling for p in plan.planes if p.facts is not None}):
        if not 0.95 * sampled[0] <= c <= 1.05 * sampled[1]:
            meant = " Is the pixel size that of the camera, not divided by the magnification?" if c > _COARSEST else ""
            plan.note(
                f"Extrapolated: a sampling of c = {c:.2f} lies outside the trained {sampled[0]:g} to {sampled[1]:g}."
                f"{meant}"
            )


def _tell_unsure(plan: StackPlan, stack: FocalStack) -> None:
    """Name the planes whose levels are little more than guessed."""
    guessed = [p for p in plan.planes if p.facts is not None and p.estimate and p.estimate.confidence < UNSURE]
    if not guessed:
        return
    where = sorted({stack.position(p.index, "Z") for p in guessed})
    named = f" (z = {', '.join(map(str, where[:8]))}{', ...' if len(where) > 8 else ''})" if stack.size("Z") > 1 else ""
    plan.note(
        f"The level of {len(guessed)} of {len(plan.planes)} planes{named} is read with less than {UNSURE:.0%} "
        "certainty: compare the result with the plane, or give the level if it is known."
    )


def _tell_unexplained(plan: StackPlan) -> None:
    """Say of planes to be sharpened that their levels cannot be right, or not all of what is seen is blur."""
    moved = [p.facts.surplus for p in plan.planes if p.facts is not None and p.shift_px < 0]
    if wrong := [surplus for surplus in moved if surplus >= _UNEXPLAINED]:
        plan.note(
            f"The level does not explain {len(wrong)} of {len(moved)} planes: {(2 * max(wrong)) ** 0.5:.0f} times "
            "their noise or more is left, and what is drawn may be rings. Check level, optics, pixel size, masks, hot "
            "pixels; a doubt of 0.1 or more draws less of it."
        )


def _tell_saturated(plan: StackPlan) -> None:
    """Say of planes to be refocused that their brightest structures were cut off by the camera."""
    moved = [p for p in plan.planes if p.facts is not None and p.shift_px]
    if cut := [p for p in moved if p.saturated >= _SATURATED]:
        read = any(p.estimate is not None for p in cut)
        advice = "a level that is read may be far too low, give it if it is known" if read else "it may ring"
        plan.note(
            f"Saturated: up to {max(p.saturated for p in cut):.1%} of the pixels of {len(cut)} of {len(moved)} planes "
            "have the very same highest value. What was brighter is lost and their edges look sharper than they are: "
            f"{advice}."
        )
