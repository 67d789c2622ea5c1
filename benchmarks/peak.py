"""Memory of this process while something runs."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil


class Peak:
    """Context manager: largest memory since it began, MiB above what there was (`before`).

    Parameters
    ----------
    mapped
        Count pages of mapped files too, which the system takes back when it needs them.
    """

    def __init__(self, *, mapped: bool = False) -> None:
        self._mapped, self._ended = mapped, threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.before, self.mib = self._now(), 0.0
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.mib = max(self.mib, self._now() - self.before)

    def _now(self) -> float:
        if self._mapped:
            return psutil.Process().memory_info().rss / 2**20
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
        return int(status["RssAnon"].split()[0]) / 1024
