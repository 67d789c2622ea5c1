"""What can go wrong, as a small family of exceptions.

Every error is a `FocusLabError` and also the builtin error it resembles, so that a caller may catch either.
A message says what was expected, what came, and what to do next, in one sentence a biologist can act on.
"""

from dataclasses import fields
from typing import TYPE_CHECKING, Literal, get_args, get_origin

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "CalibrationError",
    "DeviceError",
    "FocusLabError",
    "ImageError",
    "ModelError",
    "OutputError",
    "RequestError",
    "check_choices",
    "lacking",
    "out_of_memory",
]


class FocusLabError(Exception):
    """Base of everything that FocusLab raises on purpose."""


class ImageError(FocusLabError, ValueError):
    """An image file or array that cannot be processed: its format, shape, axes, type or pixels."""


class CalibrationError(FocusLabError, ValueError):
    """Optics or pixel size that are missing, contradictory or not physical."""


class RequestError(FocusLabError, ValueError):
    """A request that contradicts itself or the image, for instance two kinds of shift at once."""


class ModelError(FocusLabError, RuntimeError):
    """A model bundle that is unknown, damaged, of a foreign kind, or incompatible."""


class DeviceError(FocusLabError, RuntimeError):
    """A compute device that was asked for and is not there, or has too little memory."""


class OutputError(FocusLabError, OSError):
    """A result that cannot be written where it was asked for."""


def check_choices(request: "DataclassInstance") -> None:
    """See that each field of a request that is one of several words is one of them.

    Raises
    ------
    RequestError
        If one is another, with the words that there are.
    """
    for field in fields(request):
        words, value = get_args(field.type), getattr(request, field.name)
        if get_origin(field.type) is Literal and value not in words:
            raise RequestError(f"{field.name} is one of {', '.join(map(str, words))}, got {value!r}.")


def lacking(what: str, package: str, extra: str) -> RequestError:
    """What is wrong where an extra of the installation was left out, and how to add it."""
    return RequestError(
        f'{what} needs the package {package}: in the FocusLab checkout, pip install -c constraints.txt ".[{extra}]".'
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whichever device: torch says it as a RuntimeError."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "alloc" in text or "out of memory" in text
