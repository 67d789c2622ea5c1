"""Units of length and time as files spell them."""

import math

from focuslab.errors import CalibrationError

__all__ = ["micrometres", "seconds_per", "square_pixels", "um_per"]

_UNITS = {
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "\\u00b5m": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
    "å": 1e-4,
    "angstrom": 1e-4,
}
_NO_UNIT = {"", "pixel", "pixels", "px", "reference frame", "null"}
_SECONDS = {
    "ns": 1e-9,
    "nanosecond": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "microsecond": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
_SQUARE = 0.01  # relative difference of pixel height and width that is taken as square


def micrometres(value: float | None, unit: str, *, any_unit: bool = False) -> float | None:
    """Length in um; None where the unit says that nothing was measured.

    Raises
    ------
    CalibrationError
        If the unit is not known; of `any_unit`, the length is then not known either.
    """
    if value is None or not value > 0 or unit.strip().lower() in _NO_UNIT:
        return None
    factor = um_per(unit)
    if factor is None and any_unit:
        return None
    if factor is None:
        raise CalibrationError(
            f"The unit {unit!r} of the pixel size is not known (um, nm, mm, cm, m, inch are): "
            "give the pixel size with --pixel-size-um."
        )
    length = float(value) * factor
    return length if length > 0 and math.isfinite(length) else None


def um_per(unit: str) -> float | None:
    """Micrometres of a unit of length, None of one that is not known."""
    key = unit.strip().lower()
    return _UNITS.get(key, _UNITS.get(key.removesuffix("s").replace("metre", "meter")))


def seconds_per(unit: str) -> float | None:
    """Seconds of a unit of time, None of one that is not known."""
    key = unit.strip().lower()
    return _SECONDS.get(key, _SECONDS.get(key.removesuffix("s")))


def square_pixels(x: float | None, y: float | None) -> float | None:
    """Size of a pixel from its width and height.

    Raises
    ------
    CalibrationError
        If they differ.
    """
    if x and y and abs(x - y) > _SQUARE * max(x, y):
        raise CalibrationError(f"Pixels must be square, got {x:.6g} x {y:.6g} um (X x Y): resample the image first.")
    return x or y
