"""`focuslab gui`: napari with the refocus panel docked."""

from pathlib import Path
from typing import Annotated

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import with_extra

__all__ = ["gui"]


def gui(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="TIFF files to open.")] = None,
    rgb: opt.Rgb = "per-channel",
    axes: opt.Axes = None,
    focus_axis: opt.FocusAxis = None,
) -> None:
    """Open the napari application, with files if any are given."""
    with with_extra("gui", "napari", "qtpy"):
        import napari
        from focuslab_napari.opening import open_file, open_panel
    stacks = [(path, opt.open_stack(path, axes=axes, focus_axis=focus_axis, rgb=rgb)) for path in files or []]
    viewer = napari.Viewer(title="FocusLab")
    for path, stack in stacks:
        open_file(viewer, path, stack)
    open_panel(viewer)
    napari.run()
