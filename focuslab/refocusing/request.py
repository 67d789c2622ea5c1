"""What a user asks for, checked as a whole before any work is done.

Shifts and levels are in um where the image is calibrated and the optics are known, in px of blur radius otherwise.
A negative shift is sharper, a positive one blurrier.
"""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal

from focuslab.errors import CalibrationError, RequestError, check_choices
from focuslab.optics import Optics
from focuslab.refocusing.levels import LevelEstimate
from focuslab.stack import FocalStack

__all__ = ["RefocusRequest", "Way"]

Way = Literal["model", "optics"]

_DOUBT_OF_Z = 0.1  # real objectives blur less with z than their nominal aperture says, or more


@dataclass(frozen=True, slots=True, kw_only=True)
class RefocusRequest:
    """Where to move the planes of a stack, and what is known of where they are.

    Parameters
    ----------
    shift_um, shift_px
        Change of the distance from focus (um) or of the blur radius (px).
    sharpest
        Undo each plane's own blur. Exactly one of the three is given.
    level_um, level_px
        Distance from focus, or blur radius, of every plane.
    focus_plane
        Index along Z of the plane in focus: the levels follow from the z step. At most one of the three is given;
        without any, the levels are estimated.
    doubt
        Relative error to be expected of the levels, and of the optics with them: 0 takes them at their word, 0.1 and
        more give a softer picture with fewer artefacts where they are off. Without one, a level that is given is taken
        at its word, one that follows from z as far as nominal apertures are to be trusted (0.1), and one that is read
        as far as its estimate is.
    per_frame
        Read a level for every time point; one for all of them is more certain where nothing moves.
    way
        By the ``model``, or by ``optics`` alone, which can only blur.

    Raises
    ------
    RequestError
        If the request contradicts itself.
    """

    shift_um: float | None = None
    shift_px: float | None = None
    sharpest: bool = False
    level_um: float | None = None
    level_px: float | None = None
    focus_plane: int | None = None
    doubt: float | None = None
    per_frame: bool = False
    way: Way = "model"

    def __post_init__(self) -> None:
        wanted = (self.shift_um is not None) + (self.shift_px is not None) + self.sharpest
        if wanted != 1:
            raise RequestError(
                "Say what to do by exactly one of a shift in um, a shift in px, or sharpest; "
                f"got {'none' if wanted == 0 else wanted} of them."
            )
        if sum(v is not None for v in (self.level_um, self.level_px, self.focus_plane)) > 1:
            raise RequestError("Give the blur level once: in um, in px, or by the plane in focus.")
        if self.focus_plane is not None and not isinstance(self.focus_plane, Integral):
            raise RequestError(f"focus_plane is the number of a plane, from 0, got {self.focus_plane!r}.")
        for name in ("shift_um", "shift_px", "level_um", "level_px", "doubt"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
                raise RequestError(f"{name} must be a finite number, got {value!r}.")
        check_choices(self)
        if self.way == "optics" and (self.sharpest or min(self.shift_um or 0.0, self.shift_px or 0.0) < 0):
            raise RequestError("Optics alone can only blur: ask for a shift above 0, or let the model do it.")
        if (self.doubt or 0.0) < 0:
            raise RequestError(f"doubt is a relative error and cannot be negative, got {self.doubt}.")
        for name in ("level_um", "level_px"):
            if (getattr(self, name) or 0.0) < 0:
                raise RequestError(
                    f"{name} is a distance from focus and cannot be negative, got {getattr(self, name)}. "
                    "The sign of defocus cannot be known from one plane and is not needed."
                )

    @property
    def said(self) -> dict[str, float | int | bool]:
        """What is asked for, without what was left open and without the way."""
        every = {name: getattr(self, name) for name in self.__slots__ if name != "way"}
        return {name: value for name, value in every.items() if value is not None and value is not False}  # 0 is said

    def check(self, stack: FocalStack, optics: dict[int, Optics | None]) -> None:
        """Check the request against a stack before any work.

        Raises
        ------
        CalibrationError
            If um are asked for and the calibration is incomplete.
        RequestError
            If the plane in focus does not exist.
        """
        if self.shift_um is not None or self.level_um is not None or self.focus_plane is not None:
            for channel, known in optics.items():
                if known is None:
                    raise CalibrationError(
                        "um need a calibrated image. Of this one is not known: "
                        f"{', '.join(stack.calibration.missing(channel))}. Give what is missing (--na, "
                        "--wavelength-um, --index, --pixel-size-um; in Python optics=), or ask in pixels (--shift-px, "
                        "--level-px; of augment --blur-px; in Python shift_px=, level_px=)."
                    )
        if self.focus_plane is not None:
            planes = stack.size("Z")
            if "Z" not in stack.axes:
                raise RequestError("A plane in focus needs a focus axis: this image has no Z.")
            if not -planes <= self.focus_plane < planes:
                raise RequestError(f"There are {planes} focal planes (0 to {planes - 1}), got {self.focus_plane}.")
            if stack.calibration.z_step_um is None:
                raise CalibrationError(
                    "A plane in focus needs the distance between planes: give --z-step-um (in Python "
                    "stack.calibrated(z_step_um=...))."
                )

    def given_level(self, stack: FocalStack, index: tuple[int, ...], optics: Optics) -> float | None:
        """Blur level of a plane, px, where the request says it."""
        if self.level_px is not None:
            return self.level_px
        if self.level_um is not None:
            return optics.radius_px(self.level_um)
        if self.focus_plane is not None:
            focus = self.focus_plane % stack.size("Z")
            step = stack.calibration.z_step_um or 0.0
            return optics.radius_px((stack.position(index, "Z") - focus) * step)
        return None

    def doubt_of(self, estimate: LevelEstimate | None) -> float:
        """Doubt of a level that is given, follows from z, or was estimated."""
        if self.doubt is not None:
            return self.doubt
        if estimate is not None:
            return estimate.doubt
        return 0.0 if self.focus_plane is None else _DOUBT_OF_Z

    def shift(self, level_px: float, optics: Optics) -> float:
        """Shift of a plane, px of blur radius."""
        if self.sharpest:
            return -level_px
        if self.shift_um is not None:
            return optics.shift_px(self.shift_um)
        return self.shift_px or 0.0
