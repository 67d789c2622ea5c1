"""Crops of 128 px trained per second: ours beside the published architecture in float32, in one run.

    python benchmarks/training_speed.py [--rounds 3] [--threads 2] [--device cuda] [--echo 1] [--give-back]

Ours is trained in bfloat16 where the device has it, as the recipe does; the first line printed says which it was.

Freed memory is kept, as `focuslab train` does; with --give-back it is not, as torch does by itself on Linux, which
costs the published network half of its speed.

Forward, backward and optimiser step on batches that are ready: planes with their margin for ours, triplets for the
published one. The copies of the physics front end are part of the time; the recipe learns from each batch in eight
steps, turned every time (`echo`; with --echo 1 copies are made anew for every step). Ours trains 4
crops of the size of its recipe, which share the margin of the front end and are counted by their area (192 px: 2.25
crops of 128), or 8 crops of 128 px; the published one 8 of 128 px. Both train one plane (the published baseline encodes
and decodes both ends of a triplet) and two (its explicit regime adds the middle).
The published recipe is float32; what it does in our precision is measured as well.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from focuslab_training.data.copies import CopySource
from focuslab_training.data.echo import Echo
from focuslab_training.data.module import Source, open_data
from focuslab_training.recipe import load_recipe
from focuslab_training.run import KEPT
from focuslab_training.systems import LinearSystem, ReferenceSystem, System

from focuslab.memory import keep_freed_memory
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.refocusing.devices import choose_device, choose_precision

SIDE, BATCH = 128, 8
BATCHES = 8


class Ready:
    """Few batches, made before, in turn."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """Batch of a step."""
        return self.batches[step % len(self.batches)]


def rate(system: System, source: Source, steps: int, precision: torch.dtype, turn: int) -> float:
    """Crops of 128 px per second over the steps of a turn."""
    crops, there = 0.0, system.device
    optimiser = system.configure_optimizers()
    _wait(there)
    began = time.perf_counter()
    for step in range(turn * steps, (turn + 1) * steps):
        batch = source.batch(step)
        with torch.autocast(there.type, precision, enabled=precision != torch.float32):
            loss, _ = system.loss(batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        crops += sum(one.target.numel() for one in (batch if isinstance(batch, tuple) else (batch,))) / SIDE**2
    _wait(there)
    return crops / (time.perf_counter() - began)


def _wait(there: torch.device) -> None:
    if there.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure in turns and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="of the published network, a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--echo", type=int, help="steps in which a batch of ours is used; the recipe's if not given")
    parser.add_argument("--batches", type=int, default=1, help="times as many crops a step, for a GPU")
    parser.add_argument("--give-back", action="store_true", help="freed memory to the system")
    asked = parser.parse_args()
    if not asked.give_back:
        keep_freed_memory(*KEPT)
    torch.set_num_threads(asked.threads)
    device = choose_device(asked.device)
    precision = choose_precision("auto", device)
    times = asked.echo or load_recipe("default").echo
    print(f"each batch of ours in {times} steps")
    print(f"ours in {str(precision).removeprefix('torch.')} on {device}, {asked.threads} threads")
    few: dict[str, object] = {"phantoms": {"count": 8, "size_px": 256}}
    large: dict[str, object] = {"batch": 4 * asked.batches}
    small: dict[str, object] = {"crop_px": SIDE, "batch": BATCH * asked.batches}
    stacks = {
        "layout": "simulated",
        "planes": [0, 16, 2],
        "focus": 16,
        "na": 0.5,
        "wavelength_um": 0.461,
        "pixel_size_um": 0.645,
        "z_step_um": 2.0,
    }
    runs: dict[str, Callable[[int], float]] = {}
    ours: tuple[tuple[str, float, dict[str, object]], ...] = (
        ("ours, one plane", 0.0, large),
        ("ours, pairs of planes", 1.0, large),
        ("ours, one plane, crops of 128", 0.0, small),
    )
    for name, pairs, size in ours:
        recipe = load_recipe("default", {**few, **size, "images": [], "losses.pairs": pairs})
        system: System = LinearSystem(LinearLatentAutoencoder(recipe.model), recipe.losses, 1e-4)
        system.to(device).network.to(memory_format=torch.channels_last)
        planes = open_data(recipe, None).source("autoencoder", "train", device)
        ready = Ready([planes.batch(i) for i in range(BATCHES)])
        echo = asked.echo or recipe.echo
        copies = Echo(CopySource(ready, device=device), echo)
        runs[name] = partial(rate, system, copies, BATCHES * echo, precision)
    for regime in ("baseline", "explicit"):
        recipe = load_recipe(f"reference-{regime}", {**few, **small, "stacks": stacks})
        system = ReferenceSystem(ReferenceAutoencoder(), recipe.losses, 1e-4).to(device)
        ready = Ready([open_data(recipe, None).source("autoencoder", "train").batch(0)])  # all alike
        runs[f"reference, {regime}"] = partial(rate, system, ready, asked.steps, torch.float32)
        if precision != torch.float32:
            runs[f"reference, {regime}, as precise as ours"] = partial(rate, system, ready, asked.steps, precision)
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(asked.rounds + 1):
        for name, run in runs.items():
            speed = run(turn)
            if turn:  # before, the kernels of every scene are made, which are used in many steps
                found[name].append(speed)
    speeds = {name: sorted(values)[len(values) // 2] for name, values in found.items()}
    for name, speed in speeds.items():
        print(f"{name:32} {speed:7.2f} crops/s  ({min(found[name]):.2f} to {max(found[name]):.2f})")
    for own, regime in (("one plane", "baseline"), ("pairs of planes", "explicit")):
        ratios = [speeds[f"ours, {own}"] / v for k, v in speeds.items() if k.startswith(f"reference, {regime}")]
        print(f"{own} / {regime}: {', alike precise: '.join(f'{ratio:.1f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
