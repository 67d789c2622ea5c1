"""Files that stay open between reads: few, since a plate may have thousands and a process may open hundreds."""

import threading
import weakref
from collections import OrderedDict
from typing import Protocol

__all__ = ["OpenFiles"]

_AT_ONCE = 64  # macOS allows a process 256, for all that it does


class Resting(Protocol):
    """What reads a file, and can close it until it is read again."""

    def rest(self) -> None:
        """Close the file."""
        ...


class OpenFiles:
    """The readers that were used last, whose files are open; of the others they are closed."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._at_once, self._lock = at_once, threading.Lock()
        self._used: OrderedDict[int, weakref.ref[Resting]] = OrderedDict()

    def use(self, reader: Resting) -> None:
        """Tell that a reader is about to read."""
        with self._lock:
            self._used[id(reader)] = weakref.ref(reader)
            self._used.move_to_end(id(reader))
            oldest = self._used.popitem(last=False)[1]() if len(self._used) > self._at_once else None
        if oldest is not None:
            oldest.rest()
