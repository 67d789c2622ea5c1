"""Crops of 128 px trained per second: ours beside the published architecture in float32, in one run.

    python benchmarks/training_speed.py [--steps 8] [--threads 2] [--device cuda]

Ours is trained in bfloat16 where the device has it, as the recipe does; the first line printed says which it was.

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
from focuslab.refocusing.devices import choose_device, choose_precision

SIDE, BATCH = 128, 8


def rate(system: System, batches: list[Any], steps: int, precision: torch.dtype) -> float:
    """Crops of 128 px per second over the batches in turn."""
    first = batches[0][0] if isinstance(batches[0], tuple) else batches[0]  # ours are batches of situations
    crops, there = first.target.numel() / SIDE**2, system.device
    optimiser = system.configure_optimizers()

    def step(batch: Any) -> None:
        with torch.autocast(there.type, precision, enabled=precision != torch.float32):
            loss, _ = system.loss(batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    for batch in batches:  # kernels of a scene are made once and used in many steps
        step(batch)
    _wait(there)
    began = time.perf_counter()
    for i in range(steps):
        step(batches[i % len(batches)])
    _wait(there)
    return steps * crops / (time.perf_counter() - began)


def _wait(there: torch.device) -> None:
    if there.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure in turns and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, default=1, help="times as many crops a step, for a GPU")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = choose_device(asked.device)
    precision = choose_precision("auto", device)
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
    runs: dict[str, Callable[[], float]] = {}
    ours: tuple[tuple[str, float, dict[str, object]], ...] = (
        ("ours, one plane", 0.0, large),
        ("ours, pairs of planes", 1.0, large),
        ("ours, one plane, crops of 128", 0.0, small),
    )
    for name, pairs, size in ours:
        recipe = load_recipe("default", {**few, **size, "images": [], "losses.pairs": pairs})
        system = LinearSystem(LinearLatentAutoencoder(recipe.model), recipe.losses, 1e-4)
        system.to(device).network.to(memory_format=torch.channels_last)
        source = open_data(recipe, None).source("autoencoder", "train", device)
        batches = [source.batch(i) for i in range(8)]
        runs[name] = lambda s=system, b=batches: rate(s, b, asked.steps, precision)  # type: ignore[misc]
    for regime in ("baseline", "explicit"):
        recipe = load_recipe(f"reference-{regime}", {**few, **small, "stacks": stacks})
        system = ReferenceSystem(ReferenceAutoencoder(), recipe.losses, 1e-4).to(device)
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
