"""Options shared by the commands, and how they become optics and stacks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from focuslab.errors import RequestError
from focuslab.io import read
from focuslab.stack import FocalStack

__all__ = [
    "Axes",
    "Device",
    "Doubt",
    "FocusAxis",
    "Index",
    "KeepNan",
    "ModelName",
    "Na",
    "Overwrite",
    "PixelSize",
    "Rgb",
    "Series",
    "Thickness",
    "Wavelength",
    "Wavelengths",
    "ZStep",
    "open_stack",
    "refuse_unheard",
    "wavelengths_of",
]

_OPTICS, _FILE, _RUN = "Optics", "Input", "Run"

Na = Annotated[float | None, typer.Option("--na", help="Numerical aperture.", rich_help_panel=_OPTICS)]
Wavelength = Annotated[
    float | None, typer.Option("--wavelength-um", help="Emission wavelength, um.", rich_help_panel=_OPTICS)
]
Wavelengths = Annotated[
    str | None,
    typer.Option(
        "--wavelength-um",
        metavar="UM[,UM]",
        help="Emission wavelength, um, or one for each channel: 0.461,0.52.",
        rich_help_panel=_OPTICS,
    ),
]
Index = Annotated[
    float | None,
    typer.Option("--index", help="Refractive index of the immersion; 1 (air) if not known.", rich_help_panel=_OPTICS),
]
Thickness = Annotated[
    float | None,
    typer.Option("--thickness-um", help="Thickness of the specimen, um; thin if not given.", rich_help_panel=_OPTICS),
]
PixelSize = Annotated[
    float | None,
    typer.Option("--pixel-size-um", help="Camera pixel in the specimen, um.", rich_help_panel=_OPTICS),
]
ZStep = Annotated[
    float | None,
    typer.Option("--z-step-um", help="Distance between focal planes, um.", rich_help_panel=_OPTICS),
]
Axes = Annotated[
    str | None,
    typer.Option("--axes", help="Dimensions of the file in its order, e.g. ZCYX.", rich_help_panel=_FILE),
]
FocusAxis = Annotated[
    str | None,
    typer.Option("--focus-axis", help="Letter of the file's axis that is the focus axis (Z).", rich_help_panel=_FILE),
]
Rgb = Annotated[
    Literal["refuse", "per-channel"],
    typer.Option("--rgb", help="What to do with colour images.", rich_help_panel=_FILE),
]
Series = Annotated[
    int | None,
    typer.Option("--series", help="Which image of a TIFF that holds several, from 0.", rich_help_panel=_FILE),
]
Doubt = Annotated[
    float | None,
    typer.Option("--doubt", min=0, help="Relative error of the level to allow for: 0 crisp, 0.1 (10 %) softer."),
]
KeepNan = Annotated[
    Literal["refuse", "keep"],
    typer.Option("--nan", help="What to do with pixels that are not finite.", rich_help_panel=_FILE),
]
ModelName = Annotated[str, typer.Option("--model", help="Bundled model or path of a bundle.", rich_help_panel=_RUN)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps.", rich_help_panel=_RUN)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.", rich_help_panel=_RUN)]


def open_stack(
    path: Path,
    *,
    axes: str | None = None,
    focus_axis: str | None = None,
    rgb: Literal["refuse", "per-channel"] = "refuse",
    series: int | None = None,
    na: float | None = None,
    wavelength_um: tuple[float, ...] | None = None,
    index: float | None = None,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
    thickness_um: float | None = None,
) -> FocalStack:
    """Open a file; what the user says of the optics goes before what the file says."""
    stack = read(path, axes=axes, focus_axis=focus_axis, rgb=rgb, series=series, pixel_size_um=pixel_size_um)
    return stack.calibrated(
        na=na, wavelength_um=wavelength_um, index=index, z_step_um=z_step_um, thickness_um=thickness_um
    )


def wavelengths_of(said: str | None) -> tuple[float, ...] | None:
    """Numbers of ``--wavelength-um``: one for all channels, or one for each."""
    try:
        return None if said is None else tuple(float(number) for number in said.split(","))
    except ValueError as error:
        raise RequestError(
            f"--wavelength-um is a number of um, or one for each channel such as 0.461,0.52; got {said!r}."
        ) from error


def refuse_unheard(
    pattern: str | None, *, files: str, rgb: Literal["refuse", "per-channel"], **reading: str | int | None
) -> None:
    """Refuse options of how a file is read where stacks are gathered by a pattern, which would not follow them."""
    said = [name for name, value in {**reading, "rgb": None if rgb == "refuse" else rgb}.items() if value is not None]
    if pattern is not None and files != "**/*":
        raise RequestError(f"--pattern {pattern} chooses the files itself, got --files {files} as well: leave it out.")
    if pattern is not None and said:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in said)
        raise RequestError(
            f"The axes of stacks of one file per plane are the fields of --pattern, got {names} as well: leave it out, "
            "or give the files without --pattern."
        )
