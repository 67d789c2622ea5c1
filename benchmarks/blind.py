"""Blind over other structures and other optics: what the level that is read from a plane is worth.

    python benchmarks/blind.py --data FOLDER [--model NAME] [--out FILE.md]

The specimens, objectives and cameras of `generality.py`, in focus and 2, 4, 8 and 16 px out of it; judged as there.
For each kind and distance, over its specimens and six microscopes: gain of the blind sharpest over the plane as it is,
and of the sharpest with the level given, in dB, mean and worst; median of the level that is read, and the share of
levels within a quarter of the truth (in focus and at 2 px: within 1 px). Blur that diffraction hides cannot be read,
and need not.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from generality import APERTURES, PIXELS_UM, inside, specimens
from quality import score, stack_of, table, take

import focuslab
from focuslab.optics import Optics, psf
from focuslab.quality.classical import convolved

LEVELS_PX = (0.0, 2.0, 4.0, 8.0, 16.0)
RIM = 64


def job(task: tuple[float, float, float, Path, str]) -> dict[str, list[tuple[float, float, float]]]:
    """Gain blind, gain with the level given, and the level read, of all specimens in one setting, on one thread."""
    na, pixel, level, data, name = task
    torch.set_num_threads(1)
    model, optics = focuslab.load_model(name), Optics(na=na, wavelength_um=0.52, pixel_size_um=pixel)
    rng = np.random.default_rng(7)
    kernel, focus = psf(optics, optics.defocus_um(level))[0], psf(optics, 0.0)[0]
    found: dict[str, list[tuple[float, float, float]]] = {}
    for kind, some in specimens(data, 3, RIM).items():
        for light in some:
            truth = light if level and optics.sampling >= 0.5 else convolved(light, focus)
            counts = take(convolved(light, kernel), rng)
            given = focuslab.refocus(stack_of(counts, optics), sharpest=True, level_px=level, model=model)
            blind = focuslab.refocus(stack_of(counts, optics), sharpest=True, model=model)
            pictures = [(np.asarray(image, np.float32) - 110) / 1500 for image in (counts, blind.array, given.array)]
            before, read, known = (score(inside(image, RIM), inside(truth, RIM)) for image in pictures)
            level_read = blind.provenance["planes"][0].get("level_px", 0.0)
            found.setdefault(kind, []).append((read - before, known - before, level_read))
    return found


def cell(found: list[tuple[float, float, float]], level: float) -> str:
    """One kind at one level."""
    blind, given, read = np.array(found).T
    right = np.abs(read - level) <= max(level / 4, 1.0)
    return (
        f"**{blind.mean():+.1f}** ({blind.min():+.1f}) / {given.mean():+.1f} ({given.min():+.1f}), "
        f"{np.median(read):.1f} px, {right.mean():.0%}"
    )


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    settings = list(product(APERTURES, PIXELS_UM, LEVELS_PX))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        every = list(pool.map(job, [(*setting, asked.data, asked.model) for setting in settings]))
    rows: dict[str, list[str]] = {}
    for kind, level in product(every[0], LEVELS_PX):
        found = [
            one for setting, said in zip(settings, every, strict=True) if setting[2] == level for one in said[kind]
        ]
        rows.setdefault(kind, []).append(cell(found, level))
    card = focuslab.load_model(asked.model).card
    text = f"Model {card.name} {card.version} ({card.sha256[:12]}).\n\n" + table(
        "Gain blind (worst) / level given (worst), level read, share right", [f"{v:g} px" for v in LEVELS_PX], rows
    )
    print(text)
    if asked.out:
        asked.out.write_text(f"# Blind over other structures\n\n```text\n{__doc__}```\n\n{text}")


if __name__ == "__main__":
    main()
