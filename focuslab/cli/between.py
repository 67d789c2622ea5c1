"""`focuslab between`: the picture on the line through two focal planes."""

from pathlib import Path
from typing import Annotated

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import errors, follow, out
from focuslab.errors import OutputError
from focuslab.files import place_of

__all__ = ["between"]


def between(
    stack: Annotated[Path, typer.Argument(help="TIFF file or OME-Zarr image with a focus axis.")],
    plane_a: Annotated[int, typer.Argument(help="Index of the plane at t = 0, from 0.")],
    plane_b: Annotated[int, typer.Argument(help="Index of the plane at t = 1, from 0.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="TIFF file or OME-Zarr image to write.")],
    t: Annotated[float, typer.Option("--t", help="Position on the line; outside 0..1 is extrapolation.")],
    level_um: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="A B", help="Distances of the two planes from focus, um: --level-um 12 8."),
    ] = None,
    level_px: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="A B", help="Blur radii of the two planes, px: --level-px 14 9."),
    ] = None,
    focus_plane: Annotated[int | None, typer.Option(min=0, help="Index of the focal plane in focus, from 0.")] = None,
    doubt: opt.Doubt = None,
    na: opt.Na = None,
    wavelength_um: opt.Wavelengths = None,
    index: opt.Index = None,
    thickness_um: opt.Thickness = None,
    pixel_size_um: opt.PixelSize = None,
    z_step_um: opt.ZStep = None,
    rgb: opt.Rgb = "refuse",
    nan: opt.KeepNan = "refuse",
    axes: opt.Axes = None,
    focus_axis: opt.FocusAxis = None,
    series: opt.Series = None,
    model: opt.ModelName = "default",
    device: opt.Device = "auto",
    overwrite: opt.Overwrite = False,
) -> None:
    """Interpolate or extrapolate between two focal planes: a + t * (b - a)."""
    from focuslab.io import writer_of
    from focuslab.models.zoo import load_model
    from focuslab.refocusing import Engine, between_steps

    image = opt.open_stack(
        stack,
        axes=axes,
        focus_axis=focus_axis,
        rgb=rgb,
        series=series,
        na=na,
        wavelength_um=opt.wavelengths_of(wavelength_um),
        index=index,
        thickness_um=thickness_um,
        pixel_size_um=pixel_size_um,
        z_step_um=z_step_um,
    )
    if output.exists() and place_of(output) == place_of(stack):
        raise OutputError(f"{output} is the input itself: write to another file.")
    engine = Engine(load_model(model), device)
    with writer_of(output, image.take(Z=0), overwrite=overwrite) as writer:
        steps = between_steps(
            image,
            plane_a,
            plane_b,
            t,
            engine,
            writer.array,
            levels_px=level_px,
            levels_um=level_um,
            focus_plane=focus_plane,
            doubt=doubt,
            keep_nan=nan == "keep",
        )
        writer.provenance = follow(output.name, steps)
    for note in writer.provenance["notes"]:
        errors.print(note, style="yellow", markup=False)
    levels = [v for plane in writer.provenance["planes"][:1] for v in plane.get("levels_px", ())]
    said = " and ".join(f"{level:.1f}" for level in levels)
    out.print(f"{output}: t = {t:g}" + (f" between levels {said} px" if said else ", blank: copied"), markup=False)
