"""`focuslab train`: make a model by a recipe."""

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from focuslab.cli import options as opt
from focuslab.cli.console import errors, follow, out
from focuslab.errors import RequestError

__all__ = ["train"]


def train(
    recipe: Annotated[str, typer.Argument(help="Bundled recipe or path of a YAML file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    data: Annotated[Path | None, typer.Option(help="Folder below which the recipe's images lie.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: key=value, nested with dots.")
    ] = None,
    device: opt.Device = "auto",
) -> None:
    """Train a model; Ctrl-C leaves a usable one."""
    from focuslab_training.recipe import load_recipe
    from focuslab_training.run import train as run

    chosen = load_recipe(recipe, changes=dict(_pair(text) for text in change or []))
    steps = run(chosen, output, data=data, resume=resume, device=device)

    def report() -> Generator[Any, None, None]:
        for progress in steps:
            figures = "  ".join(f"{name} {value:.2f}" for name, value in progress.figures.items())
            errors.print(f"{progress.part} {progress.step}: {figures}", markup=False)
            yield progress

    try:
        follow(f"training {chosen.name}", report())
    except KeyboardInterrupt:
        errors.print("Stopped.", style="yellow")
    finally:
        steps.close()
    out.print(f"{output}: model {chosen.name}", markup=False)


def _pair(text: str) -> tuple[str, object]:
    key, found, value = text.partition("=")
    if not found:
        raise RequestError(f"--set needs key=value, got {text!r}.")
    return key, yaml.safe_load(value)
