"""What the user sees in the terminal: progress, tables, one-line errors."""

import sys
from collections.abc import Generator
from typing import Any, NoReturn, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

__all__ = ["errors", "fail", "follow", "out"]

Result = TypeVar("Result")

out = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(error: Exception, code: int = 2) -> NoReturn:
    """Print an error as one sentence and leave."""
    errors.print(f"focuslab: {error}", style="red", markup=False)
    sys.exit(code)


def follow(title: str, steps: Generator[Any, None, Result]) -> Result:
    """Run a generator of progress under a bar with the time left; closing it cancels the work."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(title, total=None)
        try:
            while True:
                step = next(steps)
                bar.update(task, completed=step.done, total=step.total)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            steps.close()
