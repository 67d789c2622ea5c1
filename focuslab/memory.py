"""Memory that this process keeps: what it has freed, and tensors that are needed again.

The C library of Linux gives large buffers back to the system as soon as they are freed, and must then fetch them anew,
page by page: where the same buffers are needed at every step, that can take as long as the work.
"""

import contextlib
import ctypes
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["cached_tensors", "keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def keep_freed_memory(total: int = 2**28, buffer: int = 2**25) -> None:
    """Let this process keep what it frees, up to `total` bytes, in buffers of up to `buffer` bytes.

    It is for programs to call, not for a library: it holds for all that runs in the process. Other C libraries, and
    other systems, are left as they are.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_TRIM_THRESHOLD, total)
            libc.mallopt(_M_MMAP_THRESHOLD, buffer)


def cached_tensors(limit: int) -> "Callable[[Callable[..., Tensor]], Callable[..., Tensor]]":
    """Decorator that keeps the tensors that a function made last, as `functools.lru_cache`, up to `limit` bytes."""

    def decorate(make: "Callable[..., Tensor]") -> "Callable[..., Tensor]":
        kept: OrderedDict[Any, Tensor] = OrderedDict()
        lock = threading.Lock()

        @wraps(make)
        def find(*key: Any) -> "Tensor":
            with lock:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key]
            made = make(*key)
            with lock:
                kept[key] = made
                while len(kept) > 1 and sum(tensor.nbytes for tensor in kept.values()) > limit:
                    kept.popitem(last=False)
            return made

        return find

    return decorate
