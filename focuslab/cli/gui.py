"""`focuslab gui`: napari with the refocus panel docked."""

from pathlib import Path
from typing import Annotated

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import with_extra

__all__ = ["gui"]


def gui(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="TIFF files or OME-Zarr folders to open.")
    ] = None,
    rgb: opt.Rgb = "per-channel",
    axes: opt.Axes = None,
    focus_axis: opt.FocusAxis = None,
    series: opt.Series = None,
    pixel_size_um: opt.PixelSize = None,
) -> None:
    """Open the napari application, with files if any are given."""
    said = {"axes": axes, "focus_axis": focus_axis, "rgb": rgb, "series": series, "pixel_size_um": pixel_size_um}
    stacks = [(path, opt.open_stack(path, **said)) for path in files or []]  # type: ignore[arg-type]
    with with_extra("gui", "napari", "qtpy"):
        from focuslab_napari.opening import start

        start(stacks)  # which imports napari
