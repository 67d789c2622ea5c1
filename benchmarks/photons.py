"""How much light there was: sparse light must not be drawn as structure, and much light not be wasted.

    python benchmarks/photons.py [--model NAME] [--out FILE.md]

Phantoms of four kinds, seeds that were never trained on, NA 0.5, 0.52 um, pixels of 0.645 um, 2, 4, 8 and 16 px
out of focus, 300 to 77000 photo-electrons at light 1, read noise 2, offset 100. Level given. PSNR for data
range 1 against the specimen as the model's sharpest has it; Richardson-Lucy with the true PSF, the true zero of light
and its best of 10, 30, 100 and 300 iterations. Mean over two specimens of every kind, squares of 256 px. A rim of
64 px around them is recorded and not judged: beyond it is a mirror, which Richardson-Lucy knows of and nobody else.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from generality import FIRST_SEED
from numpy.typing import NDArray
from quality import score, stack_of, table

import focuslab
from focuslab.optics import PHANTOMS, Optics, phantom, psf
from focuslab.quality.classical import convolved, richardson_lucy

OPTICS = Optics(na=0.5, wavelength_um=0.52, pixel_size_um=0.645)
PHOTONS, LEVELS_PX, SIDE = (300, 1200, 4800, 19200, 76800), (2.0, 4.0, 8.0, 16.0), 256
RIM = 64
ITERATIONS = (10, 30, 100, 300)


def job(task: tuple[int, float, str]) -> tuple[float, float, float]:
    """PSNR of the planes, of the model and of Richardson-Lucy, mean over specimens, on one thread."""
    photons, level, name = task
    torch.set_num_threads(1)
    model, rng = focuslab.load_model(name), np.random.default_rng(11)
    kernel = psf(OPTICS, OPTICS.defocus_um(level))[0]
    gain = min(1.0, 20000 / photons)
    rows = []
    for kind, seed in product((k for k in PHANTOMS if k != "mixed"), (FIRST_SEED, FIRST_SEED + 1)):
        light = phantom(kind, (SIDE + 2 * RIM, SIDE + 2 * RIM), seed=seed)
        counts = rng.poisson(photons * convolved(light, kernel).clip(0)) + rng.normal(0, 2, light.shape)
        counts = np.clip(np.round(100 + gain * counts), 0, 65535).astype(np.uint16)
        made = focuslab.refocus(stack_of(counts, OPTICS), sharpest=True, level_px=level, model=model)
        pictures = [(np.asarray(image, np.float32) - 100) / (gain * photons) for image in (counts, made)]
        classical = richardson_lucy(pictures[0].clip(0), kernel, ITERATIONS)
        before, ours = (judged(image, light) for image in pictures)
        rows.append((before, ours, max(judged(image, light) for image in classical.values())))
    return tuple(np.mean(rows, 0))


def judged(image: NDArray[np.floating], light: NDArray[np.float32]) -> float:
    """PSNR without the rim."""
    inside = (slice(RIM, -RIM), slice(RIM, -RIM))
    return score(image[inside], light[inside])


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    settings = list(product(PHOTONS, LEVELS_PX))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = list(pool.map(job, [(*setting, asked.model) for setting in settings]))
    rows: dict[str, list[str]] = {}
    for (photons, _), (before, ours, classical) in zip(settings, found, strict=True):
        rows.setdefault(f"{photons}", []).append(f"{before:.1f} / **{ours:.1f}** / {classical:.1f}")
    card = focuslab.load_model(asked.model).card
    text = f"Model {card.name} {card.version} ({card.sha256[:12]}).\n\n" + table(
        "Photo-electrons: plane / **model** / Richardson-Lucy", [f"{v:g} px" for v in LEVELS_PX], rows
    )
    print(text)
    if asked.out:
        asked.out.write_text(f"# How much light there was\n\n```text\n{__doc__}```\n\n{text}")


if __name__ == "__main__":
    main()
