"""`focuslab info`: what a file holds and what is known of its optics."""

from pathlib import Path
from typing import Annotated

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import out
from focuslab.errors import CalibrationError

__all__ = ["info"]


def info(
    file: Annotated[Path, typer.Argument(help="TIFF file or OME-Zarr image.")],
    axes: opt.Axes = None,
    focus_axis: opt.FocusAxis = None,
    series: opt.Series = None,
    rgb: opt.Rgb = "per-channel",
    pixel_size_um: opt.PixelSize = None,
) -> None:
    """Show axes, type, calibration and optics of an image."""
    stack = opt.open_stack(file, axes=axes, focus_axis=focus_axis, rgb=rgb, series=series, pixel_size_um=pixel_size_um)
    known = stack.calibration
    rows = {
        "axes": " x ".join(f"{n} {a}" for a, n in zip(stack.axes, stack.shape, strict=True)),
        "pixels": str(stack.dtype),
        "format": {"ome": "OME-TIFF", "imagej": "ImageJ hyperstack", "tiff": "TIFF", "zarr": "OME-Zarr"}[stack.family],
        "pixel size": f"{known.pixel_size_um:.6g} um" if known.pixel_size_um else "not calibrated",
        "z step": f"{known.z_step_um:.6g} um" if known.z_step_um else "not known",
        "time step": f"{known.time_step_s:.6g} s" if known.time_step_s else "not known",
        "channels": ", ".join(known.channel_names) or "not named",
    }
    if "T" not in stack.axes:
        del rows["time step"]
    if known.position_um:
        rows["stage"] = "{2:.6g}, {1:.6g}, {0:.6g} um (X, Y, Z)".format(*known.position_um)
    try:
        optics, lacking = stack.optics(), f"{', '.join(known.missing())} not known"
    except CalibrationError as error:  # what the file says cannot be: all else is shown
        optics, lacking = None, str(error)
    waves = dict.fromkeys(known.wavelength_um(c) for c in range(stack.size("C")))
    said = ", ".join("not known" if wave is None else f"{wave:g} um" for wave in waves)
    if optics is None:
        there = {"NA": known.na, "index": known.index, "wavelength": said if any(waves) else None}
        rows["optics"] = ", ".join([*(f"{name} {value}" for name, value in there.items() if value), lacking])
    else:
        of = " (channel 0)" if len(waves) > 1 else ""
        rows["optics"] = f"NA {optics.na:g}, index {optics.index:g}, wavelength {said}"
        rows["one um of defocus"] = f"{optics.radius_px(1.0):.3g} px of blur radius"
        rows["depth of focus"] = f"{optics.depth_of_focus_um:.3g} um{of}"
        rows["sampling"] = f"c = {optics.sampling:.3g}{of}"
    for name, value in rows.items():
        out.print(f"{name + ':':20}{value}", markup=False)
    if stack.provenance:
        out.print_json(data=stack.provenance)
