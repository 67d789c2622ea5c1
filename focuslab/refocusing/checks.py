"""What cannot be done to an image, refused before any of it is done."""

from focuslab.errors import ImageError, RequestError
from focuslab.models.frontend import LADDER
from focuslab.stack import FocalStack

__all__ = ["check_blur", "check_sharpening", "check_size"]

_SMALLEST = 16  # px
_FARTHEST = 10.0  # px beyond the sharpest image that may be asked for of any level


def check_size(stack: FocalStack) -> None:
    """Refuse images too small for anything.

    Raises
    ------
    ImageError
        If they are.
    """
    if min(stack.plane_shape) < _SMALLEST:
        colours = stack.plane_shape[1] in (3, 4) and len(stack.shape) > 2
        raise ImageError(
            f"An image of {stack.plane_shape} px is too small: at least {_SMALLEST} x {_SMALLEST} are needed."
            + (" A colour picture (Y, X, 3) is refocused colour by colour, as (3, Y, X) with axes CYX." * colours)
        )


def check_blur(stack: FocalStack, *levels_px: float) -> None:
    """Refuse blur that cannot be drawn.

    Raises
    ------
    RequestError
        If a level is more than half of the image, or than the widest that there are copies of.
    """
    widest, half = max(levels_px), min(stack.plane_shape) / 2
    if widest > half:
        raise RequestError(
            f"A blur radius of {widest:.1f} px is more than half of the image {stack.plane_shape}: check the optics, "
            "the pixel size and the level."
        )
    if widest > LADDER[-1] + 1e-6:
        raise RequestError(
            f"A blur radius of {widest:.1f} px is more than can be drawn, {LADDER[-1]:g} px: check the optics, the "
            "pixel size and the level, or bin the image first."
        )


def check_sharpening(level_px: float, target_px: float) -> None:
    """Refuse what lies far beyond the sharpest image, where a model invents everything.

    Raises
    ------
    RequestError
        If the target is negative by more than the level itself, and by more than 10 px.
    """
    if -target_px > max(level_px, _FARTHEST):
        raise RequestError(
            f"The shift goes {-target_px:.1f} px beyond the sharpest image, from a level of {level_px:.1f} px: is its "
            "unit right?"
        )
