"""Calibration in TIFF files of MetaMorph and MetaXpress: XML in the description (MetaSeries), tags in STK files.

In XML, as MetaXpress writes it, also the objective and the wavelength. Zero and ``pixel`` mean that nobody calibrated.
"""

from typing import Any

import tifffile

from focuslab.calibration import Calibration
from focuslab.io.tiff_metadata import number
from focuslab.io.units import micrometres, square_pixels

__all__ = ["metamorph_calibration"]

_VISIBLE_NM = (350.0, 1100.0)  # a wavelength outside is a setting that nobody made


def metamorph_calibration(tiff: tifffile.TiffFile, *, any_unit: bool = False) -> Calibration:
    """Calibration of a MetaSeries or STK file, as far as it says one; of `any_unit` as `micrometres` has it."""
    if tiff.is_metaseries:
        return _metaseries(tiff, any_unit)
    return _stk(tiff.stk_metadata or {}, any_unit)


def _metaseries(tiff: tifffile.TiffFile, any_unit: bool) -> Calibration:
    planes = [_plane_info(page.aspage().description) for page in tiff.pages[:2]]
    said = planes[0]
    unit = str(said.get("spatial-calibration-units", ""))
    sizes = [micrometres(number(said.get(f"spatial-calibration-{a}")), unit, any_unit=any_unit) for a in "xy"]
    heights = [z for plane in planes if (z := number(plane.get("z-position"))) is not None]
    z, y, x = (number(said.get(name)) for name in ("z-position", "stage-position-y", "stage-position-x"))
    wave = number(said.get("wavelength"))
    return Calibration(
        pixel_size_um=square_pixels(*sizes) if said.get("spatial-calibration-state", True) else None,
        z_step_um=abs(heights[1] - heights[0]) or None if len(heights) == 2 else None,
        na=number(said.get("_MagNA_")) or None,
        index=number(said.get("_MagRI_")) or None,
        wavelengths_um=(wave / 1000,) if wave and _VISIBLE_NM[0] <= wave <= _VISIBLE_NM[1] else (),
        position_um=None if y is None or x is None else (z or 0.0, y, x),
    )


def _plane_info(description: str) -> dict[str, Any]:
    try:
        return dict(tifffile.tifffile.metaseries_description_metadata(description)["PlaneInfo"])
    except (ValueError, KeyError, SyntaxError):  # of another program; ParseError is a SyntaxError
        return {}


def _stk(said: dict[str, Any], any_unit: bool) -> Calibration:
    unit = str(said.get("CalibrationUnits", ""))
    sizes = [micrometres(number(said.get(f"{a}Calibration")), unit, any_unit=any_unit) for a in "XY"]
    steps = [abs(float(step)) for step in said.get("ZDistance", ())]  # um, of every plane from the one before
    return Calibration(
        pixel_size_um=square_pixels(*sizes) if said.get("SpatialCalibration", 1) else None,
        z_step_um=steps[0] or None if len(steps) > 1 else None,
    )
