"""What the user sees in the terminal: progress, tables, one-line errors."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from focuslab.errors import lacking

if TYPE_CHECKING:
    from focuslab.refocusing.batch import BatchProgress, Outcome

__all__ = ["errors", "fail", "follow", "out", "outcomes", "progress_bar", "with_extra"]

Result = TypeVar("Result")

out = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(error: Exception, code: int = 2) -> NoReturn:
    """Print an error as one sentence and leave."""
    errors.print(f"focuslab: {error}", style="red", markup=False)
    sys.exit(code)


@contextmanager
def with_extra(extra: str, *packages: str) -> Iterator[None]:
    """Import what an extra of the installation brings, or say how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in packages:
            raise
        raise lacking("This", error.name or packages[0], extra) from error


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, int], None]]:
    """A bar with the time left; call what it gives with the number done and of all."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def follow(title: str, steps: Generator[Any, None, Result]) -> Result:
    """Run a generator of progress under a bar with the time left; closing it cancels the work."""
    with progress_bar(title) as tell:
        try:
            while True:
                step = next(steps)
                tell(step.done, step.total)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            steps.close()


def outcomes(steps: "Generator[BatchProgress, None, list[Outcome]]") -> "Iterator[Outcome]":
    """What comes of many jobs, one by one, over a bar with the time left."""
    with progress_bar("files") as tell:
        for step in steps:
            tell(step.done, step.total)
            if step.outcome is not None:
                yield step.outcome
