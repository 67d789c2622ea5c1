"""`focuslab estimate`: how far out of focus the planes of many files are."""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import errors, out, progress_bar
from focuslab.errors import OutputError, RequestError
from focuslab.files import drafted, make_folder
from focuslab.io import fields_of, is_plate
from focuslab.io.destination import check_destination
from focuslab.io.ome_zarr import is_zarr
from focuslab.stack import FocalStack

__all__ = ["estimate"]


def estimate(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="TIFF, OME-Zarr, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file: one row per plane.")],
    plate: Annotated[Path | None, typer.Option(help="PNG file: the plate, each well by its median level.")] = None,
    wells: Annotated[
        str | None, typer.Option(help="How file names say their well, e.g. '{well}_s{field}.tif'.")
    ] = None,
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
    axes: opt.Axes = None,
    rgb: opt.Rgb = "refuse",
    series: opt.Series = None,
    model: opt.ModelName = "default",
    device: opt.Device = "auto",
    overwrite: opt.Overwrite = False,
) -> None:
    """Read blur level and sharpness of every plane into a table; a plane without structure has no level."""
    from focuslab.models.zoo import load_model
    from focuslab.quality.plate import NO_WELL, plate_map
    from focuslab.refocusing.batch import files_in, jobs_of, jobs_of_pattern
    from focuslab.refocusing.devices import choose_device
    from focuslab.refocusing.screen import COLUMNS, FieldFocus, Wells, estimate_steps, of_wells

    opt.refuse_unheard(pattern, files=files, axes=axes, series=series, rgb=rgb)
    optics: dict[str, Any] = {
        "na": na,
        "wavelength_um": opt.wavelengths_of(wavelength_um),
        "index": index,
        "thickness_um": thickness_um,
        "pixel_size_um": pixel_size_um,
    }
    reader = load_model(model).to(choose_device(device))
    for path in (output, plate):
        if path is not None:
            make_folder(path.parent)
            check_destination(path, overwrite=overwrite)

    def opened(path: Path) -> FocalStack:
        return opt.open_stack(path, axes=axes, rgb=rgb, series=series, **optics)

    jobs = []
    for item in inputs:
        if pattern is not None:
            jobs += jobs_of_pattern(item, pattern, Path(), optics)
        elif item.is_dir() and not is_zarr(item):
            jobs += jobs_of(files_in(item, files), Path(), opened, below=item)
        elif is_plate(item):
            jobs += jobs_of(fields_of(item), Path(), opened, below=item.parent)
        else:
            jobs += jobs_of([item], Path(), opened)
    named = Wells(wells)
    if plate is not None and all(named.of_job(job)[0] is None for job in jobs):
        raise RequestError(NO_WELL)
    rows: list[FieldFocus] = []
    failed = 0
    with _kept(output, COLUMNS, rows), progress_bar("files") as tell:
        for job, (done, total, found, error) in zip(jobs, estimate_steps(jobs, reader, named), strict=True):
            tell(done, total)
            rows += found
            if error is not None:
                failed += 1
                errors.print(f"{job.name}: {error}", style="red", markup=False)
    if rows:
        _write(output, COLUMNS, rows)
        empty = sum(row.level_px is None for row in rows)
        read = len(jobs) - failed
        said = f"{len(rows)} plane{'s' * (len(rows) != 1)} of {read} file{'s' * (read != 1)}"
        out.print(f"{output}: {said}, {empty} without structure", markup=False)
    if plate is not None and rows:
        unit = "um" if any(row.level_um is not None for row in rows) else "px"
        out.print(str(plate_map(of_wells(rows), plate, title=f"blur level, {unit}", unit=unit)), markup=False)
    if failed:
        errors.print(f"{failed} of {len(jobs)} inputs failed.", style="red")
        sys.exit(1 if failed < len(jobs) else 2)


@contextmanager
def _kept(output: Path, columns: tuple[str, ...], rows: Sequence[object]) -> Iterator[None]:
    """Keep what has been read when a user interrupts it."""
    try:
        yield
    except KeyboardInterrupt:
        if rows:
            _write(output, columns, rows)
            errors.print(
                f"Interrupted: {output} holds the {len(rows)} planes that were read.", style="yellow", markup=False
            )
        raise


def _write(path: Path, columns: tuple[str, ...], rows: Sequence[object]) -> None:
    try:
        with drafted(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(columns)
            table.writerows([getattr(row, name) for name in columns] for row in rows)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
