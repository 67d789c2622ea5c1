"""`focuslab train`: make a model by a recipe."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column

from focuslab.cli import options as opt
from focuslab.cli.console import errors, out, with_extra
from focuslab.errors import RequestError

__all__ = ["train"]

_BAR = 16  # characters, so that figures keep the rest of a narrow terminal


def train(
    recipe: Annotated[str, typer.Argument(help="Bundled recipe or path of a YAML file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    data: Annotated[Path | None, typer.Option(help="Folder below which the recipe's images or stacks lie.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: key=value, nested with dots.")
    ] = None,
    no_validation: Annotated[
        bool, typer.Option("--no-validation", help="Train on every field, keep none apart.")
    ] = False,
    device: opt.Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes per machine; more than it has GPUs share them.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    strategy: Annotated[Literal["auto", "ddp"], typer.Option(help="How several devices share the work.")] = "auto",
) -> None:
    """Train a model; Ctrl-C leaves a usable one, --resume goes on with it."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's advice on several processes is not for users
    with with_extra("train", "lightning"):
        from focuslab_training.run import Machines, TrainingProgress
        from focuslab_training.run import train as run
    from focuslab_training.recipe import load_recipe

    changes = dict(_pair(text) for text in change or [])
    if no_validation:
        changes |= {"split.validation": 0.0, "split.test": 0.0}
    chosen = load_recipe(recipe, changes)
    columns = (
        TextColumn("{task.description}", table_column=Column(width=11)),
        BarColumn(_BAR, table_column=Column(width=_BAR)),
        TaskProgressColumn(table_column=Column(width=4)),
        TextColumn("{task.fields[left]}", table_column=Column(ratio=1)),
    )
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0  # of the processes of this machine
    with Progress(*columns, console=errors, disable=not first) as bar:
        reading = bar.add_task("data", total=None, left="")
        tasks = {part: bar.add_task(part, total=1.0, left="", visible=False) for part in chosen.trains}

        def report(progress: TrainingProgress) -> None:
            minutes = progress.seconds_left / 60
            figures = "  ".join(f"{name} {value:.2f}" for name, value in progress.figures.items())
            left = f"{minutes:.0f} min left  {figures}"
            bar.update(reading, visible=False)
            bar.update(tasks[progress.part], completed=progress.done, left=left, visible=True)

        try:
            run(
                chosen,
                output,
                data=data,
                resume=resume,
                machines=Machines(device, devices, nodes, strategy),
                report=report,
                notes=lambda sentence: errors.print(sentence, style="yellow", markup=False),
            )
        finally:
            bar.update(reading, visible=False)
    if first:
        out.print(f"{output}: model {chosen.name}", markup=False)


def _pair(text: str) -> tuple[str, object]:
    key, found, value = text.partition("=")
    if not found:
        raise RequestError(f"--set needs key=value, got {text!r}.")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:  # a pattern such as {well}_z{z}.tif
        return key, value
