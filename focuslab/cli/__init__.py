"""The command line: `focuslab COMMAND`.

One thin module per command. Every error of FocusLab becomes one sentence on stderr and exit code 2; a batch of which
some inputs failed ends with exit code 1.
"""

import io
import sys
from typing import Annotated

import typer

import focuslab
from focuslab.cli import augment, between, demo, estimate, evaluate, export, gui, info, models, refocus, simulate, train
from focuslab.cli.console import fail, out
from focuslab.errors import FocusLabError
from focuslab.memory import keep_freed_memory

__all__ = ["app", "main"]


def tell_version(asked: bool) -> None:
    """Print the version, and end."""
    if asked:
        out.print(f"focuslab {focuslab.__version__}", markup=False)
        raise typer.Exit


app = typer.Typer(
    name="focuslab",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def focuslab_(
    version: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Deblur out-of-focus microscopy images, or synthesise defocus."""


app.command("demo")(demo.demo)
app.command("refocus")(refocus.refocus)
app.command("between")(between.between)
app.command("gui")(gui.gui)
app.command("simulate")(simulate.simulate)
app.command("info")(info.info)
app.command("models")(models.models)
app.command("estimate")(estimate.estimate)
app.command("augment")(augment.augment)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # of a file on Windows, which may lack letters of names
        sys.stdout.reconfigure(errors="replace")
    keep_freed_memory()
    try:
        app()
    except FocusLabError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
