"""`focuslab refocus`: deblur or blur TIFF files."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import errors, fail, follow, out
from focuslab.errors import FocusLabError, OutputError, RequestError
from focuslab.io import read_pattern
from focuslab.stack import FocalStack

if TYPE_CHECKING:
    from focuslab.refocusing import Engine, RefocusRequest

__all__ = ["refocus"]


def refocus(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="TIFF files, or folders with --pattern.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder, or a file for one input.")],
    shift_um: Annotated[float | None, typer.Option(help="Change of focus, um; negative is sharper.")] = None,
    shift_px: Annotated[float | None, typer.Option(help="Change of blur radius, px; negative is sharper.")] = None,
    sharpest: Annotated[bool, typer.Option("--sharpest", help="Undo each plane's own blur.")] = False,
    level_um: Annotated[float | None, typer.Option(help="Distance of the planes from focus, um.")] = None,
    level_px: Annotated[float | None, typer.Option(help="Blur radius of the planes, px.")] = None,
    focus_plane: Annotated[int | None, typer.Option(help="Index of the focal plane in focus.")] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Inputs are folders of one file per plane, e.g. '{well}_z{z}_w{c}.tif'."),
    ] = None,
    na: opt.Na = None,
    wavelength_um: opt.Wavelength = None,
    index: opt.Index = None,
    pixel_size_um: opt.PixelSize = None,
    z_step_um: opt.ZStep = None,
    rgb: opt.Rgb = "refuse",
    nan: opt.KeepNan = "refuse",
    axes: opt.Axes = None,
    focus_axis: opt.FocusAxis = None,
    model: opt.ModelName = "default",
    device: opt.Device = "auto",
    tile: Annotated[int, typer.Option(min=128, help="Height of a tile, px.", rich_help_panel="Run")] = 1024,
    overwrite: opt.Overwrite = False,
) -> None:
    """Deblur (or blur) images: by a shift, or to the sharpest."""
    from focuslab.models.zoo import load_model
    from focuslab.refocusing import Engine, RefocusRequest

    request = RefocusRequest(
        shift_um=shift_um,
        shift_px=shift_px,
        sharpest=sharpest,
        level_um=level_um,
        level_px=level_px,
        focus_plane=focus_plane,
    )
    optics = {
        "na": na,
        "wavelength_um": wavelength_um,
        "index": index,
        "pixel_size_um": pixel_size_um,
        "z_step_um": z_step_um,
    }
    engine = Engine(load_model(model), device)
    jobs = _jobs(inputs, output, pattern)
    failed = 0
    for name, source, target in jobs:
        try:
            if isinstance(source, FocalStack):
                stack = opt.calibrated(source, **optics)
            else:
                stack = opt.open_stack(source, axes=axes, focus_axis=focus_axis, rgb=rgb, **optics)
            if isinstance(source, Path) and target.exists() and target.resolve() == source.resolve():
                raise OutputError(f"{target} is the input itself: write to another folder or name.")
            provenance = _one(stack, request, engine, target, overwrite, nan == "keep", tile)
        except FocusLabError as error:
            if len(jobs) == 1:
                fail(error)
            failed += 1
            errors.print(f"{name}: {error}", style="red", markup=False)
            continue
        for note in provenance["notes"]:
            errors.print(f"{name}: {note}", style="yellow", markup=False)
        out.print(f"{target}: {_summary(provenance)}", markup=False)
    if failed:
        errors.print(f"{failed} of {len(jobs)} inputs failed.", style="red")
        sys.exit(1 if failed < len(jobs) else 2)


def _one(
    stack: FocalStack,
    request: "RefocusRequest",
    engine: "Engine",
    target: Path,
    overwrite: bool,
    keep_nan: bool,
    tile: int,
) -> dict[str, Any]:
    from focuslab.io import StackWriter
    from focuslab.refocusing import refocus_steps

    with _made(target.parent), StackWriter(target, stack, overwrite=overwrite) as writer:
        steps = refocus_steps(stack, request, engine, writer.array, keep_nan=keep_nan, tile=tile // 8 * 8)
        writer.provenance = follow(target.name, steps)
    return writer.provenance


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; if what follows fails, unmake what is new and empty of it."""
    fresh = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    try:
        yield
    except BaseException:
        for path in fresh:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _jobs(inputs: list[Path], output: Path, pattern: str | None) -> list[tuple[str, Path | FocalStack, Path]]:
    """Name, source and destination of everything to do."""
    to_file = output.suffix.lower() in (".tif", ".tiff") and not output.is_dir()
    sources: list[tuple[str, str, Path | FocalStack]] = []
    for item in inputs:
        if pattern is not None:
            sources += [(name, f"{name}.ome.tif", stack) for name, stack in read_pattern(item, pattern).items()]
        elif item.is_dir():
            raise RequestError(f"{item} is a folder: name its files, or how they make up stacks with --pattern.")
        else:
            sources.append((item.name, item.name, item))
    if to_file:
        if len(sources) > 1:
            raise RequestError(f"{len(sources)} inputs need a folder as --output, got the file {output}.")
        return [(sources[0][0], sources[0][2], output)]
    names = [name for _, name, _ in sources]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise RequestError(f"Several inputs are called {twice[0]}: refocus them into different folders.")
    return [(name, source, output / target) for name, target, source in sources]


def _summary(provenance: dict[str, Any]) -> str:
    planes = provenance["planes"]
    done = [p for p in planes if "level_px" in p]
    if not done:
        return f"{len(planes)} planes copied"
    levels = sorted(p["level_px"] for p in done)
    shifts = sorted(p["shift_px"] for p in done)
    spread = f"{levels[0]:.1f}" if levels[0] == levels[-1] else f"{levels[0]:.1f} to {levels[-1]:.1f}"
    moved = f"{shifts[0]:+.1f}" if shifts[0] == shifts[-1] else f"{shifts[0]:+.1f} to {shifts[-1]:+.1f}"
    sure = [p["confidence"] for p in done if "confidence" in p]
    origin = done[0]["level"] + (f", {min(sure):.0%} sure" if sure else "")
    text = f"{len(done)} planes, blur level {spread} px ({origin}), shift {moved} px"
    return text + (f", {provenance['saturated_pixels']} pixels saturated" if provenance["saturated_pixels"] else "")
