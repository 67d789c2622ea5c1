"""Progress of long work, which is a generator: it yields how far it is and returns its result."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Progress", "finish", "retold"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """Units of work done and to do: pixels, windows, files."""

    done: int
    total: int


def finish(steps: Generator[Any, None, Result]) -> Result:
    """Run a generator of progress to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def retold(steps: Generator[Any, None, Result], say: Callable[[Any], Progress]) -> Generator[Progress, None, Result]:
    """The same work, its progress said in other words: as a part of something longer."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield say(step)
