"""The training loop: bounded by time, resumable, and never without a usable result.

Adam with clipped gradients, a learning rate that rises over the first 2 % and falls as a cosine over the run, an
exponential average of the weights (the product), a checkpoint every few minutes. A step whose loss or gradient
is not finite, or far above the usual, is skipped.
"""

import csv
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from focuslab_training.systems import System

__all__ = ["Progress", "train_part"]

_EMA = 0.998
_CHECKPOINT_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: share done (0..1), step, and the mean figures since the last report."""

    done: float
    step: int
    figures: dict[str, float]


def train_part(
    system: System,
    *,
    minutes: float,
    learning_rate: float,
    checkpoint: Path,
    precision: str = "bfloat16",
    report_every: int = 100,
) -> Iterator[Progress]:
    """Train a system's network in place; at the end (or when the generator is closed) it holds the average.

    Parameters
    ----------
    system
        Network and loss.
    minutes
        Length of the run, counted over all its sessions.
    learning_rate
        Peak of the schedule.
    checkpoint
        File written every three minutes; an existing one is continued. A CSV log lies beside it.
    precision
        ``bfloat16`` autocast or ``float32``.
    report_every
        Steps between reports.

    Yields
    ------
    Progress
        Every `report_every` steps.
    """
    network = system.network
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    step, spent, usual = 0, 0.0, math.inf
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        average, step, spent, usual = saved["average"], saved["step"], saved["spent"], saved["usual"]
    began, last_saved = time.monotonic() - spent, time.monotonic()
    figures: dict[str, list[float]] = defaultdict(list)
    device = next(network.parameters()).device

    def save() -> None:
        state = {"network": network.state_dict(), "average": average, "optimiser": optimiser.state_dict()}
        draft = checkpoint.with_suffix(".part")
        torch.save({**state, "step": step, "spent": time.monotonic() - began, "usual": usual}, draft)
        draft.replace(checkpoint)

    network.train()
    try:
        while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * _schedule(done)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                loss, numbers = system.loss()
            loss.backward()
            size = float(nn.utils.clip_grad_norm_(network.parameters(), min(5.0, 2 * usual)))
            if math.isfinite(size) and size < 50 * usual:
                optimiser.step()
                usual = size if math.isinf(usual) else 0.99 * usual + 0.01 * min(size, 3 * usual)
                decay = min(_EMA, (1 + step) / (10 + step))
                for name, value in network.state_dict().items():
                    average[name].lerp_(value, 1 - decay)
            optimiser.zero_grad()
            step += 1
            for name, number in numbers.items():
                figures[name].append(number)
            if step % report_every == 0:
                means = {name: sum(values) / len(values) for name, values in figures.items()}
                figures.clear()
                _log(checkpoint.with_suffix(".csv"), step, done, means)
                yield Progress(done, step, means)
            if time.monotonic() - last_saved > _CHECKPOINT_SECONDS:
                save()
                last_saved = time.monotonic()
    finally:
        save()
        network.load_state_dict(average)
        network.eval()


def _schedule(done: float) -> float:
    warm = min(1.0, done / 0.02 + 0.05)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def _log(path: Path, step: int, done: float, figures: dict[str, float]) -> None:
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        for name, value in sorted(figures.items()):
            writer.writerow([step, f"{done:.4f}", name, f"{value:.4f}"])
