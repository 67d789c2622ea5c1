"""`focuslab evaluate`: prove what a model does."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import errors, out, progress_bar, with_extra
from focuslab.errors import OutputError

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[str, typer.Argument(help="Bundled model or folder of a bundle.")],
    data: Annotated[Path, typer.Argument(help="Folder of focal stacks, or of sharp images to simulate them from.")],
    report: Annotated[Path, typer.Option("--report", help="Folder of the report.")],
    layout: Annotated[
        Literal["auto", "bbbc006", "stacks", "pattern", "simulated"],
        typer.Option(help="How the stacks are stored; simulated: from sharp images by the optics given."),
    ] = "auto",
    pattern: Annotated[str | None, typer.Option(help="File names of single planes, e.g. '{well}_z{z}.tif'.")] = None,
    files: Annotated[str, typer.Option(help="Which files below the folder: a glob.")] = "**/*",
    channel: Annotated[int, typer.Option(min=0, help="Channel.")] = 0,
    focus: Annotated[int | None, typer.Option(min=0, help="Plane in focus; found by sharpness if not given.")] = None,
    planes: Annotated[str | None, typer.Option(help="first:last:step of the planes used.")] = None,
    levels: Annotated[
        Literal["z", "fitted"], typer.Option(help="Blur levels from z and the optics, or fitted to each stack.")
    ] = "z",
    focus_level: Annotated[
        str, typer.Option(help="With fitted levels: that of the plane in focus, px, or 'read' from it.")
    ] = "0",
    columns: Annotated[str, typer.Option(help="Part of the width, e.g. 0.5:1 for the right half.")] = "0:1",
    na: opt.Na = None,
    wavelength_um: opt.Wavelength = None,
    index: opt.Index = None,
    thickness_um: Annotated[
        str | None, typer.Option(help="Thickness of the specimen, um, or with fitted levels 'fitted'.")
    ] = None,
    pixel_size_um: opt.PixelSize = None,
    z_step_um: opt.ZStep = None,
    doubt: Annotated[
        float, typer.Option(min=0, help="Relative error of the levels and optics to expect, as the model is told.")
    ] = 0.0,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge no more fields than this.")] = None,
    scaled: Annotated[
        bool, typer.Option("--scaled", help="Compare after the best affine map: brightness changes with z.")
    ] = False,
    fitted_psf: Annotated[
        bool, typer.Option("--fitted-psf", help="Let deconvolution choose its PSF, the model its level, by the result.")
    ] = False,
    classical: Annotated[bool, typer.Option(help="Measure classical methods too.")] = True,
    device: opt.Device = "auto",
    overwrite: opt.Overwrite = False,
) -> None:
    """Judge a model on focal stacks that it has not seen: one HTML page and its tables."""
    with with_extra("train", "lightning", "matplotlib", "jinja2"):
        from focuslab_training.data.gather import gather_fields
        from focuslab_training.data.open import source_of, specimens_in
        from focuslab_training.evaluation.evaluate import Options, unseen
        from focuslab_training.evaluation.evaluate import evaluate as run
    from focuslab_training.data.split import Split
    from focuslab_training.evaluation.judges import judge_of

    if (report / "report.html").exists() and not overwrite:
        raise OutputError(f"{report} holds a report already: name another folder, or --overwrite to replace it.")
    source = source_of(
        data,
        layout=layout,
        pattern=pattern,
        files=files,
        channel=channel,
        focus=focus,
        planes=planes,
        levels=levels,
        focus_px=focus_level,
        columns=columns,
        na=na,
        index=index,
        thickness_um=thickness_um,
        wavelength_um=wavelength_um,
        pixel_size_um=pixel_size_um,
        z_step_um=z_step_um,
    )
    judge = judge_of(model, device, doubt)
    specimens = specimens_in(source, data, files)
    gathered = gather_fields(source, data, specimens)
    for sentence in (*specimens.skipped, *gathered.skipped):
        errors.print(f"left out: {sentence}", style="yellow", markup=False)
    chosen, about = unseen(gathered, Split.of_model(model), limit)
    errors.print(about, markup=False)
    with progress_bar("evaluating") as tell:
        found = run(
            judge,
            chosen,
            report,
            options=Options(classical=classical, scaled=scaled, fitted=fitted_psf),
            about=about,
            report=tell,
        )
    if left_out := {field.name for field in chosen} - {result.field.name for result in found.results}:
        errors.print(f"left out, as the report says: {', '.join(sorted(left_out))}", style="yellow", markup=False)
    out.print(f"{report / 'report.html'}: {len(found.results)} fields", markup=False)
