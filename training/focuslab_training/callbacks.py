"""What happens around the steps of a run: its length, its checkpoints, its end.

Every decision that depends on the clock is taken by the first process and told to the others, so that many processes
stop and save together.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor

from focuslab.errors import OutputError
from focuslab.files import take_place
from focuslab_training.status import STOP

__all__ = ["Checkpoints", "Patience", "Schedule", "Stop", "average_of"]

_WARM = 0.02  # share of the run over which the learning rate rises
_LOWEST = 0.01  # of the peak, at the end


class Schedule(Callback):
    """Length of a run in minutes or steps, over all its sessions, and its learning rate: a short rise, half a cosine.

    Parameters
    ----------
    minutes, steps
        Whichever is given, steps first.
    learning_rate
        At the peak.
    """

    def __init__(self, minutes: float | None, steps: int | None, learning_rate: float) -> None:
        self.minutes, self.steps, self.learning_rate = minutes, steps, learning_rate
        self.done, self._before, self._began = 0.0, 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent, all sessions together."""
        return self._before + time.monotonic() - self._began

    def on_train_start(self, trainer: pl.Trainer, system: pl.LightningModule) -> None:
        """Start the clock; a run that had come to its end, and is not longer now, is left as it is."""
        self._began = time.monotonic()
        early = trainer.early_stopping_callback
        spent = self._before >= 60 * (self.minutes or math.inf)
        ended = trainer.global_step >= self.steps if self.steps else spent
        if ended or (early is not None and early.wait_count >= early.patience):
            trainer.should_stop = True

    def on_train_batch_start(self, trainer: pl.Trainer, system: pl.LightningModule, batch: Any, index: int) -> None:
        """Set the learning rate of the step."""
        spent = self.seconds / (60 * (self.minutes or math.inf))
        done = trainer.global_step / self.steps if self.steps else spent
        self.done = min(float(trainer.strategy.broadcast(done)), 1.0)
        rise = min(1.0, self.done / _WARM + 0.05)
        fall = _LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * self.done))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.learning_rate * rise * fall

    def on_train_batch_end(
        self, trainer: pl.Trainer, system: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Stop when the length is reached."""
        if (trainer.global_step >= self.steps) if self.steps else self.done >= 1:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Time spent."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._before = state_dict["seconds"]


class Checkpoints(Callback):
    """`last.ckpt` every few minutes and at the end, `best.ckpt` at the best validation; never a half file.

    Parameters
    ----------
    folder
        Where they lie.
    minutes
        Between two checkpoints.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.last, self.best, self.minutes = folder / "last.ckpt", folder / "best.ckpt", minutes
        self.lowest, self._saved = math.inf, time.monotonic()

    @property
    def newest(self) -> Path | None:
        """Checkpoint to go on from: a run that was killed early has none but its best."""
        there = [path for path in (self.last, self.best) if path.is_file()]
        return max(there, key=lambda path: path.stat().st_mtime, default=None)

    def on_train_batch_end(
        self, trainer: pl.Trainer, system: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Save if it is time."""
        if trainer.strategy.broadcast(time.monotonic() - self._saved > 60 * self.minutes):
            self._save(trainer, self.last)

    def on_validation_end(self, trainer: pl.Trainer, system: pl.LightningModule) -> None:
        """Keep the best."""
        loss = float(trainer.callback_metrics.get("validation", math.nan))
        if loss < self.lowest and not trainer.sanity_checking:
            self.lowest = loss
            self._save(trainer, self.best)

    def on_train_end(self, trainer: pl.Trainer, system: pl.LightningModule) -> None:
        """Save the end."""
        self._save(trainer, self.last)

    def state_dict(self) -> dict[str, Any]:
        """Best so far."""
        return {"lowest": self.lowest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best so far."""
        self.lowest = state_dict["lowest"]

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        draft = path.with_suffix(".part")
        try:
            trainer.save_checkpoint(draft)
            if trainer.is_global_zero:
                take_place(draft, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            draft.unlink(missing_ok=True)
            raise OutputError(
                f"The checkpoint {path} cannot be written ({error}); the one from before is kept. Free some space and "
                "go on with --resume."
            ) from error
        if path == self.last:
            self._saved = time.monotonic()


class Stop(Callback):
    """Ends a run after the step at work, in all of its processes, when one of them is asked to.

    Parameters
    ----------
    folder
        A file `stop` in it asks; so does whoever sets `asked`.

    Attributes
    ----------
    seen
        Whether the run was ended so.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.asked, self.seen = folder / STOP, False, False

    def on_train_batch_end(
        self, trainer: pl.Trainer, system: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Agree with the other processes, so that none waits for another."""
        if trainer.strategy.reduce_boolean_decision(self.asked or self.path.exists(), all=False):
            self.seen = trainer.should_stop = True


class Patience(EarlyStopping):
    """Ends a run after so many validations without progress; a run that goes on may have more patience than before."""

    def __init__(self, validations: int) -> None:
        super().__init__("validation", patience=validations, check_on_train_epoch_end=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        super().load_state_dict({**state_dict, "patience": self.patience})


def average_of(decay: float) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """Exponential average of weights that follows fast at first: decay min(decay, (1 + n) / (10 + n))."""

    def average(old: Tensor, new: Tensor, count: Any) -> Tensor:
        n = int(count)
        return torch.lerp(old.float(), new.float(), 1 - min(decay, (1 + n) / (10 + n))).to(old.dtype)

    return average
