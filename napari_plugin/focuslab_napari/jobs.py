"""Long work from a panel: a generator in a worker thread, with progress, time left and a way to stop.

The generator comes from the library and yields `Progress`; nothing of it touches a layer. The result is handed over in
the GUI thread, and only if the work was neither stopped nor failed.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_warning
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from focuslab.errors import FocusLabError, out_of_memory

__all__ = ["JobBar", "Refused", "UnforeseenError", "raise_it", "refusals_yielded"]

_THOUSANDTHS = 1000
_NO_MEMORY = "Memory ran out: zoom in, close other programs, or compute on another device."


@dataclass(frozen=True, slots=True)
class Refused:
    """Why something was not done, as one sentence for the user."""

    sentence: str


class UnforeseenError(Exception):
    """An error of a worker that nobody foresaw."""


class JobBar(QWidget):
    """Progress bar with a stop button, that runs one job at a time.

    Signals
    -------
    finished
        The job has ended, in whichever way.
    """

    finished = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.bar, self.left, self.stop = QProgressBar(), QLabel(), QPushButton("Cancel")
        self.bar.setRange(0, _THOUSANDTHS)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.bar, self.left, self.stop):
            row.addWidget(widget)
        self.stop.clicked.connect(self.cancel)
        self._worker: Any = None
        self._began, self._count = 0.0, 0
        self.hide()

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self._worker is not None

    def run(
        self,
        title: str,
        steps: Callable[[], Generator[Any, None, Any]],
        done: Callable[[Any], None],
        step: Callable[[Any], None] | None = None,
        total: int = 0,
    ) -> None:
        """Run a generator of progress.

        Parameters
        ----------
        title
            What is done, for napari's own list of tasks.
        steps
            Makes the generator, in the worker thread.
        done
            Takes its result, in the GUI thread.
        step
            Takes everything that is yielded, in the GUI thread.
        total
            Number of yields, where they are not `Progress`.
        """
        if self.running:
            show_warning("One job is running already: wait for it, or cancel it.")
            return
        running: list[Generator[Any, None, Any]] = []

        def kept() -> Generator[Any, None, Any]:
            running.append(steps())
            return (yield from running[0])

        worker = create_worker(
            refusals_yielded, kept, _start_thread=False, _ignore_errors=True, _progress={"desc": title, "total": 0}
        )
        worker.yielded.connect(lambda made: self._yielded(worker, made, step, total))
        worker.returned.connect(
            lambda result: done(result) if worker is self._worker and not isinstance(result, Refused) else None
        )
        worker.errored.connect(raise_it)
        worker.finished.connect(lambda: [steps.close() for steps in running])  # a draft is taken away at once
        worker.finished.connect(lambda: self._ended(worker))
        self._worker, self._began, self._count = worker, time.monotonic(), 0
        self.bar.setValue(0)
        self.left.setText("")
        self.show()
        worker.start()

    def cancel(self) -> None:
        """Stop the job at its next step; nothing of it is kept."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.quit()
            self.hide()
            self.finished.emit()

    def _yielded(self, worker: Any, made: Any, step: Callable[[Any], None] | None, count: int) -> None:
        if worker is not self._worker:
            return
        self._count += 1
        if isinstance(made, Refused):
            show_warning(made.sentence)
        elif step is not None:
            step(made)
        total = getattr(made, "total", count)
        if total:
            share = getattr(made, "done", self._count) / total
            self.bar.setValue(round(share * _THOUSANDTHS))
            if share > 0:
                self.left.setText(f"{(time.monotonic() - self._began) * (1 - share) / share:.0f} s left")

    def _ended(self, worker: Any) -> None:
        if worker is self._worker:
            self._worker = None
            self.hide()
            self.finished.emit()


def refusals_yielded(steps: Callable[[], Generator[Any, None, Any]]) -> Generator[Any, None, Any]:
    """Make the generator where it runs, in the worker's thread; what FocusLab raises is yielded, and returned.

    Of a RuntimeError a worker would say nothing at all, and never end: memory that ran out is told like a refusal, any
    other goes on under another name.
    """
    try:
        return (yield from steps())
    except (FocusLabError, MemoryError) as error:
        refused = Refused(str(error) or _NO_MEMORY)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise UnforeseenError(str(error)) from error
        refused = Refused(_NO_MEMORY)
    yield refused
    return refused


def raise_it(error: Exception) -> None:
    """Let an error that nobody foresaw reach napari, in the GUI thread."""
    raise error
