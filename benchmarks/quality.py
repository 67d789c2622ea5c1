"""Quality against classical methods at their best settings.

    python benchmarks/quality.py --data FOLDER [--model NAME] [--nuclei 40] [--out FILE.md] [--quick | --only model]

Truth x is a sharp field in linear light: clip((count - 110) / 1500, 0, 2.5) for the 16-bit BBBC006 fields a05 and a06,
(v - p1) / (p99.9 - p1) of the 2x2-binned 8-bit nuclei images whose names begin with a, b or c. None of them was ever
trained on. Each is mirrored by 64 px, convolved with the full PSF of the plane (NA 0.5, 0.461 um, air, 0.645 um
pixels), given Gaussian noise of variance 6e-4 x + 4e-6, and stored as uint16 = round(110 + 1500 x). PSNR against the
noise-free truth, both clipped to 0..1, data range 1: mean over fields, the worst field in round brackets.

Classical methods get the true PSF, the same mirrored border of 100 px, and are reported at their best setting per
level, in square brackets: plain Richardson-Lucy at 10 / 30 / 100 / 300 / 1000 iterations, the Wiener filter for a
specimen whose power falls like 1/f^2 at eight weights. "given": the model is told the level, as they are told the PSF.
"blind": it estimates the level from the plane.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

import focuslab
from focuslab.calibration import Calibration
from focuslab.models.bundle import Model
from focuslab.optics import Optics, psf
from focuslab.quality import psnr
from focuslab.quality.classical import convolved, fitted_gaussian, richardson_lucy, wiener
from focuslab.stack import FocalStack

HALVED_UM = (8.0, 16.0, 24.0, 32.0)
LEVELS_UM = (0.0, 1.0, 2.0, 4.0, 5.3, 8.0, 10.7, 12.0, 16.0, 19.1, 24.0, 32.0)

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Field:
    """A sharp field and where it comes from."""

    name: str
    truth: Image


def fields(data: Path, nuclei: int) -> list[Field]:
    """The fields that figures are reported on."""
    found = []
    for name in ("a05", "a06"):
        path = next((data / "bbbc006_in_focus").glob(f"{name}*"))
        found.append(Field(name, np.clip((tifffile.imread(path).astype(np.float32) - 110) / 1500, 0, 2.5)))
    for path in sorted((data / "nuclei_dsb2018").glob("[abc]*.tif"))[:nuclei]:
        image = tifffile.imread(path).astype(np.float32)
        y, x = (n // 2 for n in image.shape)
        image = image[: 2 * y, : 2 * x].reshape(y, 2, x, 2).mean((1, 3))
        low, high = np.percentile(image, (1, 99.9))
        found.append(Field(path.stem, (image - low) / (high - low)))
    return found


def take(clean: Image, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Counts of a plane."""
    noisy = clean + np.sqrt(np.maximum(6e-4 * clean + 4e-6, 0)) * rng.standard_normal(clean.shape)
    return np.clip(np.round(110 + 1500 * noisy), 0, 65535).astype(np.uint16)


def score(image: NDArray, truth: Image) -> float:
    """PSNR of linear light, both clipped to 0..1."""
    return psnr(np.clip(image, 0, 1), np.clip(truth, 0, 1), data_range=1.0)


def stack_of(counts: NDArray[np.uint16], optics: Optics) -> FocalStack:
    """Calibrated stack of one plane."""
    return FocalStack(counts, "YX", Calibration.of(optics))


def light(stack: FocalStack) -> Image:
    """Counts back to linear light."""
    return (np.asarray(stack.array, np.float32) - 110) / 1500


def deblurring(
    found: list[Field], optics: Optics, model: Model, level_um: float, only: str | None
) -> dict[str, list[float]]:
    """Scores of every field at one level, by method."""
    kernel = psf(optics, level_um)[0]
    rng = np.random.default_rng(round(1000 * level_um))
    scores: dict[str, list[float]] = {}
    for field in found:
        counts = take(convolved(field.truth, kernel), rng)
        stack, plane = stack_of(counts, optics), (counts.astype(np.float32) - 110) / 1500
        rows = {"input": score(plane, field.truth)}
        if only != "classical":
            given = focuslab.refocus(stack, sharpest=True, level_um=level_um, model=model)
            rows["model, level given"] = score(light(given), field.truth)
            blind = focuslab.refocus(stack, sharpest=True, model=model)
            rows["model, blind"] = score(light(blind), field.truth)
            told = blind.provenance["planes"][0]
            rows["estimated um"] = told.get("level_um", 0.0)
        if only != "model":
            rows |= {f"RL {k}": score(v, field.truth) for k, v in richardson_lucy(plane, kernel).items()}
            rows |= {f"W {k:g}": score(v, field.truth) for k, v in wiener(plane, kernel).items()}
        for name, value in rows.items():
            scores.setdefault(name, []).append(value)
    return scores


def synthesis(found: list[Field], optics: Optics, model: Model, level_um: float) -> dict[str, list[float]]:
    """Sharp plane to a level: model, true PSF, fitted Gaussian."""
    rng = np.random.default_rng(7)
    at, focus = psf(optics, level_um)[0], psf(optics, 0.0)[0]
    scores: dict[str, list[float]] = {"model": [], "true PSF": [], "fitted Gaussian": []}
    for field in found:
        truth, counts = convolved(field.truth, at), take(convolved(field.truth, focus), rng)
        sharp = (counts.astype(np.float32) - 110) / 1500
        made = focuslab.refocus(stack_of(counts, optics), shift_um=level_um, level_um=0.0, model=model)
        scores["model"].append(score(light(made), truth))
        scores["true PSF"].append(score(convolved(sharp, at), truth))
        scores["fitted Gaussian"].append(score(fitted_gaussian(sharp, truth), truth))
    return scores


def half_way(
    found: list[Field], optics: Optics, model: Model, level_um: float, only: str | None
) -> dict[str, list[float]]:
    """Half of the way to focus, level given: as taken, model, Richardson-Lucy seen out of focus again."""
    rng = np.random.default_rng(round(1000 * level_um))
    kernel, half = psf(optics, level_um)[0], psf(optics, level_um / 2)[0]
    scores: dict[str, list[float]] = {}
    for field in found:
        counts, truth = take(convolved(field.truth, kernel), rng), convolved(field.truth, half)
        stack, plane = stack_of(counts, optics), (counts.astype(np.float32) - 110) / 1500
        rows = {"input": score(plane, truth)}
        if only != "classical":
            made = focuslab.refocus(stack, shift_um=-level_um / 2, level_um=level_um, model=model)
            rows["model"] = score(light(made), truth)
        if only != "model":
            rows |= {f"RL {k}": score(convolved(v, half), truth) for k, v in richardson_lucy(plane, kernel).items()}
        for name, value in rows.items():
            scores.setdefault(name, []).append(value)
    return scores


def table(title: str, head: list[str], rows: dict[str, list[str]]) -> str:
    """Markdown table."""
    lines = [f"### {title}", "", "| " + " | ".join(["", *head]) + " |", "|" + "---|" * (len(head) + 1)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()), ""])


def summary(values: list[float]) -> str:
    """Mean, and the worst field in brackets."""
    return f"{np.mean(values):.1f} ({np.min(values):.1f})"


def deblurring_table(optics: Optics, scores: dict[float, dict[str, list[float]]], title: str) -> str:
    """Deblurring at all levels."""
    rows: dict[str, list[str]] = {}
    for level, found in scores.items():
        cells = {"input": summary(found["input"])}
        for prefix, name in (("W ", "Wiener, true PSF, best"), ("RL ", "Richardson-Lucy, true PSF, best")):
            tried = {k: v for k, v in found.items() if k.startswith(prefix)}
            if tried:
                best = max(tried, key=lambda k: float(np.mean(tried[k])))
                cells[name] = f"{summary(tried[best])} [{best.split()[1]}]"
        if "estimated um" in found:
            cells |= _of_model(level, found)
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    return table(title, [f"{v:g} um ({optics.radius_px(v):.1f} px)" for v in scores], rows)


def _of_model(level: float, found: dict[str, list[float]]) -> dict[str, str]:
    """Cells of a level that tell of the model."""
    cells = {f"**model, {kind}**": summary(found[f"model, {kind}"]) for kind in ("level given", "blind")}
    estimates = np.array(found["estimated um"])
    cells["estimated level, median (median error)"] = f"{np.median(estimates):.1f} um" + (
        f" ({100 * np.median(np.abs(estimates - level)) / level:.0f} %)" if level else ""
    )
    for kind in ("level given", "blind"):
        gain = np.array(found[f"model, {kind}"]) - np.array(found["input"])
        cells[f"gain, {kind}: mean, worst field"] = f"{gain.mean():+.1f}, {gain.min():+.1f}"
    return cells


def job(task: tuple[str, float, float, Path, str, int, str | None]) -> dict[str, list[float]]:
    """Score one task in a process of its own, on one thread."""
    kind, na, level, data, name, nuclei, only = task
    torch.set_num_threads(1)
    optics = Optics(na=na, wavelength_um=0.461, pixel_size_um=0.645)
    found, model = fields(data, nuclei), focuslab.load_model(name)
    if kind == "synthesis":
        return synthesis(found, optics, model, level)
    if kind == "half way":
        return half_way(found, optics, model, level, only)
    return deblurring(found, optics, model, level, only)


def main() -> None:
    """Print all tables, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--nuclei", type=int, default=40)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="8 fields, no classical methods, fewer levels")
    parser.add_argument("--only", choices=("model", "classical"), help="these; classical methods need most of the time")
    asked = parser.parse_args()
    levels = (0.0, 4.0, 8.0, 16.0, 24.0, 32.0) if asked.quick else LEVELS_UM
    nuclei = 6 if asked.quick else asked.nuclei
    only = "model" if asked.quick else asked.only
    rest = (asked.data, asked.model, nuclei, only)
    tasks = [("deblurring", 0.5, level, *rest) for level in levels]
    tasks += [] if asked.quick else [("deblurring", na, level, *rest) for na in (0.4, 0.7) for level in (8.0, 16.0)]
    tasks += [] if only == "classical" else [("synthesis", 0.5, level, *rest) for level in levels[1:]]
    tasks += [("half way", 0.5, level, *rest) for level in HALVED_UM]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        scores = dict(zip(tasks, pool.map(job, tasks), strict=True))
    parts = []
    for na in sorted({task[1] for task in tasks}, key=lambda na: abs(na - 0.5)):
        optics = Optics(na=na, wavelength_um=0.461, pixel_size_um=0.645)
        some = {t[2]: scores[t] for t in tasks if t[:2] == ("deblurring", na)}
        parts.append(deblurring_table(optics, some, f"Deblurring, NA {na}"))
    for kind, title, heads in (
        ("half way", "Half of the way to focus, level given, NA 0.5", [f"{v:g} to {v / 2:g} um" for v in HALVED_UM]),
        ("synthesis", "Synthesis from the sharp plane, NA 0.5", [f"{v:g} um" for v in levels[1:]]),
    ):
        rows: dict[str, list[str]] = {}
        for found in (scores[task] for task in tasks if task[0] == kind):
            best = max((k for k in found if k.startswith("RL ")), key=lambda k: float(np.mean(found[k])), default="")
            for name, values in found.items():
                if name == best or not name.startswith("RL "):
                    rows.setdefault(
                        "Richardson-Lucy, true PSF, best, blurred again" if name == best else name, []
                    ).append(summary(values))
        if rows:
            parts.append(table(title, heads, rows))
    model, optics = focuslab.load_model(asked.model), Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
    blank = [
        focuslab.refocus(
            stack_of(take(np.full((256, 256), v, np.float32), np.random.default_rng(i)), optics),
            sharpest=True,
            model=model,
        ).provenance["planes"][0].get("copied", False)
        for i, v in enumerate(np.linspace(0, 0.5, 20))
    ]  # fmt: skip
    parts.append(f'Empty fields answered "no structure": {sum(blank)} of {len(blank)}\n')
    card = model.card
    head = f"# Deblurring, synthesis, level estimates\n\n```text\n{__doc__}```\n\n"
    text = f"{2 + nuclei} fields. Model {card.name} {card.version} ({card.sha256[:12]}).\n\n" + "\n".join(parts)
    print(text)
    if asked.out:
        asked.out.write_text(head + text)


if __name__ == "__main__":
    main()
