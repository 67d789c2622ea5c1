"""Crops of 128 px trained per second: ours beside the published architecture in float32, in one run.

    python benchmarks/training_speed.py [--steps 8] [--threads 2]

Ours is trained in bfloat16 where the processor has it, as the recipe does; the first line printed says which it was.

Forward, backward and optimiser step on batches that are ready: planes with their margin for ours, whose physics front
end is part of the step, triplets for the published one. Ours trains 4 crops of the size of its recipe, which share the
margin of the front end and are counted by their area (192 px: 2.25 crops of 128), or 8 crops of 128 px; the published
one 8 of 128 px. Both train one plane (the published baseline encodes and decodes both ends of a triplet) and two (its
explicit regime adds the middle).
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from focuslab_training.data.module import open_data
from focuslab_training.recipe import load_recipe
from focuslab_training.systems import LinearSystem, ReferenceSystem, System

from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.refocusing.devices import choose_precision

SIDE, BATCH = 128, 8


def rate(system: System, batches: list[Any], steps: int, precision: torch.dtype) -> float:
    """Crops of 128 px per second over the batches in turn."""
    crops = batches[0].target.numel() / SIDE**2
    optimiser = system.configure_optimizers()

    def step(batch: Any) -> None:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, _ = system.loss(batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    for batch in batches:  # kernels of a scene are made once and used in many steps
        step(batch)
    began = time.perf_counter()
    for i in range(steps):
        step(batches[i % len(batches)])
    return steps * crops / (time.perf_counter() - began)


def main() -> None:
    """Measure in turns and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    precision = choose_precision("auto", torch.device("cpu"))
    print(f"ours in {str(precision).removeprefix('torch.')}, {asked.threads} threads")
    few: dict[str, object] = {"phantoms": {"count": 8, "size_px": 256}}
    small: dict[str, object] = {"crop_px": SIDE, "batch": BATCH}
    stacks = {
        "layout": "simulated",
        "planes": [0, 16, 2],
        "focus": 16,
        "na": 0.5,
        "wavelength_um": 0.461,
        "pixel_size_um": 0.645,
        "z_step_um": 2.0,
    }
    runs: dict[str, Callable[[], float]] = {}
    ours: tuple[tuple[str, float, dict[str, object]], ...] = (
        ("ours, one plane", 0.0, {}),
        ("ours, pairs of planes", 1.0, {}),
        ("ours, one plane, crops of 128", 0.0, small),
    )
    for name, pairs, size in ours:
        recipe = load_recipe("default", {**few, **size, "images": [], "losses.pairs": pairs})
        system = LinearSystem(LinearLatentAutoencoder(recipe.model), recipe.losses, 1e-4)
        system.network.to(memory_format=torch.channels_last)
        source = open_data(recipe, None).source("autoencoder", "train")
        batches = [source.batch(i) for i in range(8)]
        runs[name] = lambda s=system, b=batches: rate(s, b, asked.steps, precision)  # type: ignore[misc]
    for regime in ("baseline", "explicit"):
        recipe = load_recipe(f"reference-{regime}", {**few, **small, "stacks": stacks})
        system = ReferenceSystem(ReferenceAutoencoder(), recipe.losses, 1e-4)
        batches = [open_data(recipe, None).source("autoencoder", "train").batch(0)]  # all alike
        runs[f"reference, {regime}"] = lambda s=system, b=batches: rate(s, b, max(asked.steps // 3, 1), torch.float32)  # type: ignore[misc]
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(asked.rounds):
        for name, run in runs.items():
            found[name].append(run())
    speeds = {name: sorted(values)[len(values) // 2] for name, values in found.items()}
    for name, speed in speeds.items():
        print(f"{name:32} {speed:7.2f} crops/s  ({min(found[name]):.2f} to {max(found[name]):.2f})")
    print(f"one plane / baseline: {speeds['ours, one plane'] / speeds['reference, baseline']:.1f}")
    print(f"pairs / explicit: {speeds['ours, pairs of planes'] / speeds['reference, explicit']:.1f}")


if __name__ == "__main__":
    main()
