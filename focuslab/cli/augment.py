"""`focuslab augment`: a richer data set, by defocus."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import errors, out, progress_bar
from focuslab.errors import RequestError

__all__ = ["augment"]


_OF_A_REPLAY = {"source", "destination", "device", "workers", "scheduler", "dry_run"}  # the manifest says the rest


def augment(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="Folder, file, CSV that lists files, or the manifest of a run.")],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Folder of the copies.")],
    copies: Annotated[int, typer.Option(help="Copies of every image.")] = 1,
    blur_um: Annotated[str | None, typer.Option(metavar="A:B", help="Range of defocus to add, um.")] = None,
    blur_px: Annotated[str | None, typer.Option(metavar="A:B", help="Range of blur radius to add, px.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Folder of labels, named like their images.")] = None,
    labels_missing: Annotated[Literal["fail", "skip"], typer.Option(help="Images without a label.")] = "fail",
    way: Annotated[Literal["model", "optics", "mixed"], typer.Option(help="What makes the blur.")] = "mixed",
    level: Annotated[
        Literal["read", "sharp"], typer.Option(help="Read each field's own blur, or take it as in focus.")
    ] = "read",
    files: Annotated[str, typer.Option(help="Which files of a folder: a glob.")] = "**/*",
    pattern: Annotated[
        str | None, typer.Option(help="Images are stacks of one file per plane, e.g. '{well}_z{z}_w{c}.tif'.")
    ] = None,
    format: Annotated[Literal["same", "tiff", "ome-zarr"], typer.Option(help="Of the copies.")] = "same",
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same copies.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Threads of this machine, one image each.")] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Dask cluster instead, e.g. tcp://host:8786.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    na: opt.Na = None,
    wavelength_um: opt.Wavelengths = None,
    index: opt.Index = None,
    thickness_um: opt.Thickness = None,
    pixel_size_um: opt.PixelSize = None,
    rgb: opt.Rgb = "refuse",
    axes: opt.Axes = None,
    focus_axis: opt.FocusAxis = None,
    series: opt.Series = None,
    model: opt.ModelName = "default",
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, mps; left out: cpu, or what the manifest was made on.")
    ] = None,
) -> None:
    """Make defocused copies of a data set, labels carried; run it again to go on where it was left."""
    from focuslab.augment.copies import AugmentRequest
    from focuslab.augment.folder import MANIFEST, augment_steps, plan_folder, plan_replay
    from focuslab.augment.work import Order

    if scheduler is not None and workers > 1:
        raise RequestError("--scheduler has workers of its own, --workers are threads of this machine: give one.")
    if source.suffix.lower() == ".json":
        _refuse_changes(context)
        plan, order = plan_replay(source)
        order = replace(order, destination=destination, device=device or order.device)
    else:
        if (blur_um is None) == (blur_px is None):
            raise RequestError("Say how much defocus to add by one of --blur-um A:B and --blur-px A:B.")
        if labels is None and labels_missing != "fail":
            raise RequestError("--labels-missing is about labels: name their folder with --labels, or leave it out.")
        opt.refuse_unheard(pattern, files=files, axes=axes, focus_axis=focus_axis, series=series, rgb=rgb)
        unit: Literal["um", "px"] = "px" if blur_um is None else "um"
        request = AugmentRequest(copies, _range(blur_um or blur_px or ""), unit, way, level, seed, format)
        plan = plan_folder(
            source,
            destination,
            request,
            files=files,
            pattern=pattern,
            labels=labels,
            labels_missing=labels_missing,
        )
        optics = {
            "na": na,
            "wavelength_um": opt.wavelengths_of(wavelength_um),
            "index": index,
            "thickness_um": thickness_um,
            "pixel_size_um": pixel_size_um,
        }
        reading = {"axes": axes, "focus_axis": focus_axis, "series": series, "rgb": None if rgb == "refuse" else rgb}
        order = Order(destination, model, device or "cpu", _said(optics), _said(reading))
    if dry_run:
        for task in plan.tasks:
            if task.source.error is not None:
                errors.print(f"{task.source.place}: {task.source.error}", style="red", markup=False)
                continue
            for copy in task.copies:
                out.print(
                    f"{task.source.place} -> {copy.output}: {copy.shift:+g} {copy.unit}, {copy.way}", markup=False
                )
        good = [task for task in plan.tasks if task.source.error is None]
        out.print(f"{sum(len(task.copies) for task in good)} copies of {len(good)} images would be made.")
        return
    failed, beyond = 0, 0
    with progress_bar("images") as tell:
        for step in augment_steps(plan, order, workers=workers, scheduler=scheduler):
            tell(step.done, step.total)
            if step.result is None:
                continue
            beyond += sum(record["extrapolated"] for record in step.result.records)
            if step.result.error is not None:
                failed += 1
                errors.print(f"{step.result.place}: {step.result.error}", style="red", markup=False)
    done = len(plan.tasks) - failed
    out.print(f"{destination / MANIFEST}: copies of {done} of {len(plan.tasks)} images.", markup=False)
    if beyond:
        errors.print(f"{beyond} copies lie outside the range that the model was trained on; marked in the manifest.")
    if failed:
        errors.print(f"{failed} of {len(plan.tasks)} images failed.", style="red")
        sys.exit(1 if failed < len(plan.tasks) else 2)


def _refuse_changes(context: typer.Context) -> None:
    """Refuse options that a manifest has the say on."""
    typed = [n for n in context.params if getattr(context.get_parameter_source(n), "name", "") == "COMMANDLINE"]
    if changed := [f"--{name.replace('_', '-')}" for name in typed if name not in _OF_A_REPLAY]:
        raise RequestError(
            f"A manifest makes its copies again as they were, {', '.join(changed)} would change them: leave it out, or "
            "augment the data set anew."
        )


def _said(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _range(text: str) -> tuple[float, float]:
    """Two numbers from ``A:B``."""
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise RequestError(f"A range is two numbers with a colon, such as 0.5:8, got {text!r}.") from error
    return low, high
