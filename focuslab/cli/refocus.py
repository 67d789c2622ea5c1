"""`focuslab refocus`: deblur or blur TIFF files."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import errors, fail, out, outcomes
from focuslab.errors import RequestError
from focuslab.io import fields_of, is_plate, plate_of
from focuslab.io.folders import numbered
from focuslab.io.ome_zarr import is_zarr
from focuslab.stack import FocalStack

if TYPE_CHECKING:
    from focuslab.refocusing.batch import Job

__all__ = ["refocus"]

_NOT_WRITTEN = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".czi", ".nd2", ".lif", ".json", ".csv")


def refocus(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="TIFF, OME-Zarr, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder, or a file for one input.")],
    shift_um: Annotated[float | None, typer.Option(help="Change of focus, um; negative is sharper.")] = None,
    shift_px: Annotated[float | None, typer.Option(help="Change of blur radius, px; negative is sharper.")] = None,
    sharpest: Annotated[bool, typer.Option("--sharpest", help="Undo each plane's own blur.")] = False,
    level_um: Annotated[float | None, typer.Option(help="Distance of the planes from focus, um.")] = None,
    level_px: Annotated[float | None, typer.Option(help="Blur radius of the planes, px.")] = None,
    focus_plane: Annotated[int | None, typer.Option(min=0, help="Index of the focal plane in focus, from 0.")] = None,
    per_frame: Annotated[
        bool, typer.Option("--per-frame", help="Read a level for every time point, not one for all.")
    ] = False,
    doubt: opt.Doubt = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Inputs are folders of one file per plane, e.g. '{well}_z{z}_w{c}.tif'."),
    ] = None,
    files: Annotated[str, typer.Option(help="Which files of a folder: a glob, ** for subfolders.")] = "**/*",
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
    tile: Annotated[int, typer.Option(min=128, help="Height of a tile, px.", rich_help_panel="Run")] = 1024,
    overwrite: opt.Overwrite = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Go on after a break: leave results as they are.", rich_help_panel="Run"),
    ] = False,
) -> None:
    """Deblur (or blur) images: by a shift, or to the sharpest."""
    from focuslab.models.zoo import load_model
    from focuslab.refocusing import Engine, RefocusRequest
    from focuslab.refocusing.batch import batch_steps, copy_plates, made_before, summary

    opt.refuse_unheard(pattern, files=files, axes=axes, focus_axis=focus_axis, series=series, rgb=rgb)
    request = RefocusRequest(
        shift_um=shift_um,
        shift_px=shift_px,
        sharpest=sharpest,
        level_um=level_um,
        level_px=level_px,
        focus_plane=focus_plane,
        doubt=doubt,
        per_frame=per_frame,
    )
    optics: dict[str, Any] = {
        "na": na,
        "wavelength_um": opt.wavelengths_of(wavelength_um),
        "index": index,
        "thickness_um": thickness_um,
        "pixel_size_um": pixel_size_um,
        "z_step_um": z_step_um,
    }
    engine = Engine(load_model(model), device)

    def opened(path: Path) -> FocalStack:
        return opt.open_stack(path, axes=axes, focus_axis=focus_axis, rgb=rgb, series=series, **optics)

    reading = {"axes": axes, "focus_axis": focus_axis, "series": series, "pattern": pattern, **optics}
    reading |= {name: said for name, said in (("rgb", rgb), ("nan", nan)) if said != "refuse"}
    jobs = _jobs(inputs, output, pattern, files, opened, optics, series)
    reading = {name: said for name, said in reading.items() if said is not None}
    jobs = [replace(job, reading=reading) for job in jobs]
    if skip_existing:  # a result is there as a whole or not at all; one of another request is told
        every, jobs = jobs, [job for job in jobs if not made_before(job, request, engine)]
        if len(jobs) < len(every):
            errors.print(f"{len(every) - len(jobs)} of {len(every)} results are there already.", style="yellow")
            copy_plates(every)  # which a run that was broken off had no time to do
    failed = 0
    for outcome in outcomes(batch_steps(jobs, request, engine, overwrite=overwrite, keep_nan=nan == "keep", tile=tile)):
        name = outcome.job.name
        if outcome.error is not None:
            if len(jobs) == 1:
                fail(outcome.error)
            failed += 1
            errors.print(f"{name}: {outcome.error}", style="red", markup=False)
            continue
        provenance = outcome.provenance or {}
        for note in provenance["notes"]:
            errors.print(f"{name}: {note}", style="yellow", markup=False)
        out.print(f"{outcome.job.target}: {summary(provenance)}", markup=False)
    if failed:
        errors.print(f"{failed} of {len(jobs)} inputs failed.", style="red")
        sys.exit(1 if failed < len(jobs) else 2)


def _jobs(
    inputs: list[Path],
    output: Path,
    pattern: str | None,
    files: str,
    opened: Callable[[Path], FocalStack],
    optics: dict[str, Any],
    series: int | None,
) -> "list[Job]":
    """Everything to do: files, the files of folders, or folders of one file per plane."""
    from focuslab.refocusing.batch import check_targets, files_in, jobs_of, jobs_of_pattern

    if output.suffix.lower() in _NOT_WRITTEN and not output.is_dir():
        raise RequestError(f"Results are TIFF or OME-Zarr: {output.name} must end in .tif, .ome.tif or .zarr.")
    to_file = output.suffix.lower() in (".tif", ".tiff", ".zarr") and (not output.is_dir() or is_zarr(output))
    jobs: list[Job] = []
    for item in inputs:
        if pattern is not None:
            jobs += jobs_of_pattern(item, pattern, output, optics)
        elif item.is_dir() and not is_zarr(item):
            jobs += jobs_of(files_in(item, files, output), output, opened, below=item)
        elif is_plate(item):
            jobs += jobs_of(fields_of(item), output, opened, below=item.parent)
        else:
            plate = plate_of(item)
            jobs += jobs_of([item], output, opened, below=plate.parent if plate is not None and not to_file else None)
    if to_file:
        if len(jobs) > 1:
            raise RequestError(f"{len(jobs)} inputs need a folder as --output, got the file {output}.")
        return [replace(jobs[0], target=output)]
    if series is not None:  # one image of several in a file
        jobs = [replace(job, target=numbered(job.target, series)) for job in jobs]
    check_targets(jobs)
    return jobs
