"""The published study in miniature, and our model by the same protocol.

    python benchmarks/published_study.py --data FOLDER --work FOLDER [--minutes 12] [--out docs/study.md]

Focal stacks of 9 planes, 32 um to 0 in steps of 4 (planes 0, 2, ..., 16 of BBBC006's geometry: NA 0.5, 0.461 um,
0.645 um pixels), are simulated from the 2x2-binned nuclei images and written as files: those whose names begin with a,
b or c are the test, all others train. Five models are trained equally long, one thread each: the published architecture
in its three regimes, and ours with and without its physics front end, from random weights, half of the steps on pairs
of planes. The published recipes train in float32 in batches of 16; here they take bfloat16 and batches of 8, which give
more steps in as many minutes. All are judged alike: synthesis of planes 1 to 7 on the line between the ends; deblurring
from plane 0 and plane k, the published way by extrapolation, ours along the direction of plane k.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from focuslab_training.data.gather import gather_fields
from focuslab_training.data.specimens import light
from focuslab_training.evaluation.baselines import DEBLURRING, SYNTHESIS
from focuslab_training.evaluation.judges import judge_of
from focuslab_training.evaluation.protocol import ORIGINAL, OWN, best_settings, judge_field
from focuslab_training.recipe import Recipe, load_recipe
from focuslab_training.run import Machines, train
from focuslab_training.sections import StackSource

import focuslab
from focuslab.models.bundle import read_card
from focuslab.optics import Optics
from focuslab.simulation import simulate_stack

OPTICS = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
DISTANCES_UM = tuple(float(d) for d in range(32, -1, -4))
SIDE = 256  # px of the test fields
STACKS = {"layout": "stacks", "files": "*.ome.tif", "focus": 8}
MODELS = {
    "reference, baseline": "reference-baseline",
    "reference, implicit": "reference-implicit",
    "reference, explicit": "reference-explicit",
    "ours": "ours",
    "ours, front end off": "ours-no-physics",
}


def make_stacks(data: Path, work: Path, tests: int) -> None:
    """Write the stacks, unless they are there."""
    for seed, path in enumerate(sorted((data / "nuclei_dsb2018").glob("*.tif"))):
        part = "test" if path.name[0] in "abc" else "train"
        target = work / part / f"{path.stem}.ome.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() or (part == "test" and len(list(target.parent.glob("*.ome.tif"))) >= tests):
            continue
        image = tifffile.imread(path).astype(np.float32)
        y, x = (n // 2 for n in image.shape)
        image = image[: 2 * y, : 2 * x].reshape(y, 2, x, 2).mean((1, 3))
        image = image[:SIDE, :SIDE] if part == "test" else image
        stack, _ = simulate_stack(
            light(image), OPTICS, distances_um=DISTANCES_UM, photons=1667, read_noise=3.3, seed=seed
        )
        focuslab.write(target, stack)
        target.with_name(target.name.replace(".ome.tif", ".focuslab.json")).unlink(missing_ok=True)


def recipe_of(name: str, minutes: float) -> Recipe:
    """Recipe of one of the models."""
    common: dict[str, Any] = {
        "stacks": STACKS,
        "split.test": 0.0,
        "minutes.autoencoder": minutes,
        "validate_every": 200,
    }
    if name.startswith("reference"):
        # bfloat16 halves the time of its steps, and small batches give more of them in the same minutes
        return load_recipe(name, {**common, "precision": "bfloat16", "batch": 8})
    ours = {"trains": ["autoencoder"], "images": [], "phantoms.count": 0, "crop_px": 128, "losses.pairs": 0.5}
    physics = {"model.copies": 0} if name == "ours-no-physics" else {}
    return load_recipe("default", {**common, **ours, **physics, "name": name, "start": None, "split.validation": 0.1})


def train_one(task: tuple[str, Path, float]) -> str:
    """Train one model in a process of its own, on one thread."""
    name, work, minutes = task
    torch.set_num_threads(1)
    folder = work / "models" / name
    if not (folder / "card.json").exists():
        train(recipe_of(name, minutes), folder, data=work / "train", resume=True, machines=Machines("cpu"))
    return name


def judge_one(task: tuple[str, Path]) -> tuple[list[Any], list[Any]]:
    """Scores of one model on the test fields."""
    name, work = task
    torch.set_num_threads(1)
    judge = judge_of(work / "models" / name)
    fields = gather_fields(StackSource(**STACKS), work / "test").fields
    results = [judge_field(judge, field, classical=name == "ours") for field in fields]
    scores = list(best_settings([score for result in results for score in result.scores]))
    return scores, [row for result in results for row in result.linearity]


def cell(scores: list[Any], task: str, method: str, plane: int, against: str = ORIGINAL) -> str:
    """Mean PSNR over fields."""
    found = [s.psnr for s in scores if (s.task, s.method, s.plane, s.against) == (task, method, plane, against)]
    return f"{np.mean(found):.1f}" if found else ""


def table(title: str, rows: dict[str, list[str]], head: list[str]) -> str:
    """Markdown table."""
    lines = [f"### {title}", "", "| | " + " | ".join(head) + " |", "|" + "---|" * (len(head) + 1)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()), ""])


def report(found: dict[str, tuple[list[Any], list[Any]]], minutes: float, fields: int, steps: dict[str, int]) -> str:
    """All tables."""
    planes = range(1, 8)
    head = [f"{DISTANCES_UM[k]:g} um" for k in planes]
    ours = found["ours"][0]

    def rows(task: str, method: str, against: str = ORIGINAL) -> dict[str, list[str]]:
        return {n: [cell(s, task, method, k, against) for k in planes] for n, (s, _) in found.items()}

    def baselines(task: str, names: list[str]) -> dict[str, list[str]]:
        return {n: [cell(ours, task, n, k) for k in planes] for n in names}

    line, two = "model, line between the ends", "model, two planes"
    straight = {
        f"{name}, {part}": [
            f"{np.mean([getattr(r, m) for r in linear if r.part == part]):.3f}"
            for m in ("lds", "lds_as_published", "apd", "apd_as_published")
        ]
        for name, (_, linear) in found.items()
        for part in dict.fromkeys(r.part for r in linear)
    }
    blurred = ["do nothing", "unsharp mask", "Wiener, best", "Richardson-Lucy, best"]
    parts = [
        f"{fields} test fields; {minutes:g} minutes of training each, one thread. PSNR in dB of normalised intensity "
        "cut to 0..1 (data range 1), mean over fields.\n",
        f"Steps: {', '.join(f'{name} {count}' for name, count in steps.items())}.\n",
        table(
            "Deblurring from two planes (32 um and the one named), against the recorded plane in focus",
            rows(DEBLURRING, two) | baselines(DEBLURRING, ["model, level given", "model, blind", *blurred]),
            head,
        ),
        table(
            "Synthesis on the line between the ends (32 um and focus), against the recorded plane",
            rows(SYNTHESIS, line)
            | baselines(SYNTHESIS, ["model, sharp plane alone", "convolution with the PSF, best", "fitted Gaussian"]),
            head,
        ),
        table(
            "Linearity gap: the code on the line, decoded, against the model's own round trip of the plane",
            rows(SYNTHESIS, line, OWN),
            head,
        ),
        table("Straightness of the codes", straight, ["LDS", "LDS as published", "APD", "APD as published"]),
    ]
    return (
        "\n".join(parts)
        .replace("| model, level given |", "| ours, one plane, level given |")
        .replace("| model, blind |", "| ours, one plane, blind (read by the bundled estimator) |")
        .replace("| model, sharp plane alone |", "| ours, sharp plane alone |")
    )


def main() -> None:
    """Simulate, train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for stacks and models")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--tests", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    make_stacks(asked.data, asked.work, asked.tests)
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        for name in pool.map(train_one, [(name, asked.work, asked.minutes) for name in MODELS.values()]):
            print("trained", name, flush=True)
        results = pool.map(judge_one, [(name, asked.work) for name in MODELS.values()])
        found = dict(zip(MODELS, results, strict=True))
    steps = {
        name: read_card(asked.work / "models" / own).training["steps"]["autoencoder"] for name, own in MODELS.items()
    }
    text = report(found, asked.minutes, asked.tests, steps)
    print(text)
    if asked.out:
        asked.out.write_text(f"# The published study in miniature\n\n```text\n{__doc__}```\n\n{text}")


if __name__ == "__main__":
    main()
