"""The learning curve of a run, its pictures, and reports to whoever waits."""

import csv
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image

from focuslab.errors import OutputError
from focuslab.files import take_place
from focuslab_training.callbacks import Schedule
from focuslab_training.systems import System

__all__ = ["LearningCurve", "Report"]

_EVERY = 50  # steps between entries of the learning curve


@dataclass(frozen=True, slots=True)
class Report:
    """Where a part of a run stands: share done (0..1), step, seconds left, mean figures since the last report."""

    done: float
    step: int
    seconds_left: float
    figures: dict[str, float]


class LearningCurve(Callback):
    """Learning curve as CSV (step, name, value) and for TensorBoard, with pictures, and reports to the caller.

    Parameters
    ----------
    path
        The CSV file; a resumed run goes on in it, from its checkpoint.
    schedule
        Says how much is done.
    report
        Called after every few steps.

    Attributes
    ----------
    told
        Figures of the last report.
    """

    def __init__(self, path: Path, schedule: Schedule, report: Callable[[Report], None] | None) -> None:
        self.path, self.schedule, self.report = path, schedule, report
        self.told: dict[str, float] = {}
        self._figures: dict[str, list[float]] = defaultdict(list)
        self._waiting: list[list[str]] = []

    def on_train_start(self, trainer: pl.Trainer, system: pl.LightningModule) -> None:
        """Drop entries from after the checkpoint."""
        if trainer.is_global_zero and self.path.is_file():
            rows = list(csv.reader(self.path.read_text(encoding="utf-8").splitlines()))
            whole = [row for row in rows[1:] if len(row) == 3 and row[0].isdigit()]  # the last may have been cut short
            kept = [row for row in whole if int(row[0]) <= trainer.global_step]
            self._write([*rows[:1], *kept], "w")

    def on_train_batch_end(
        self, trainer: pl.Trainer, system: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Collect the terms of a step."""
        if not trainer.is_global_zero:
            return
        for name, term in outputs["terms"].items():
            self._figures[name].append(float(term))
        step, ends = trainer.global_step, trainer.should_stop
        if step % _EVERY == 0 or ends:
            self.told = means = {name: sum(values) / len(values) for name, values in self._figures.items()}
            self._figures.clear()
            self._record(trainer, means)
            if trainer.limit_val_batches == 0:  # nothing is kept apart: what it does with what it learns from
                self._show(trainer, system, batch)
            done = max(self.schedule.done, 1e-6)
            left = self.schedule.seconds * (1 - done) / done
            if self.report is not None:
                self.report(Report(self.schedule.done, step, left, means))

    def on_validation_end(self, trainer: pl.Trainer, system: pl.LightningModule) -> None:
        """Record the figures of a validation."""
        if trainer.is_global_zero:
            found = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("validation")}
            self._record(trainer, found)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, system: pl.LightningModule, batch: Any, index: int, loader: int = 0
    ) -> None:
        """Show what the averaged network does with the first validation batch."""
        if index == 0:
            self._show(trainer, system, batch)

    def _show(self, trainer: pl.Trainer, system: pl.LightningModule, batch: Any) -> None:
        """Picture for TensorBoard, and as `picture.png` beside the curve."""
        if not (trainer.is_global_zero and isinstance(system, System)):
            return
        with torch.no_grad():
            picture = system.picture(batch)
        if picture is None:
            return
        for logger in trainer.loggers:
            logger.experiment.add_image("pictures", picture, trainer.global_step)  # type: ignore[attr-defined]
        draft = self.path.with_name("picture.part")
        with suppress(OSError):  # whoever looks at the last one may keep it; no picture is worth a run
            Image.fromarray((255 * picture[0]).round().to(torch.uint8).numpy()).save(draft, format="png")
            take_place(draft, self.path.with_name("picture.png"))

    def _record(self, trainer: pl.Trainer, figures: dict[str, float]) -> None:
        if not self.path.is_file():
            self._write([["step", "name", "value"]], "w")
        self._waiting += [[str(trainer.global_step), name, f"{value:.5f}"] for name, value in sorted(figures.items())]
        try:
            self._write(self._waiting, "a")
            self._waiting = []
        except OutputError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise  # else it is open in a program that lets nobody write, as Excel does: the next time
        for logger in trainer.loggers:
            logger.log_metrics(figures, trainer.global_step)

    def _write(self, rows: list[list[str]], mode: str) -> None:
        try:
            with self.path.open(mode, newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            raise OutputError(
                f"The learning curve {self.path} cannot be written ({error.strerror}); the last checkpoint is kept. "
                "Free some space and go on with --resume."
            ) from error
