"""Other structures, other optics, empty fields: where a model could fail quietly.

    python benchmarks/generality.py --data FOLDER [--model NAME] [--out FILE.md] [--quick] [--rim 64] [--first-seed N]

Specimens: phantoms of filaments, puncta and membranes with seeds that were never trained on, and the right third of
the `structures_neubias` images, which was not either, in linear light, squares of 192 px with a rim of 64 px, where
there are so many. The rim is recorded but not judged (at most a quarter of an image on each side): a border with a
mirror behind it, as below, is known to Richardson-Lucy, which mirrors, and to nobody else; `border.py` judges
borders, and `--rim 0` mirrors and judges all. Each is imaged by objectives of NA 0.3, 0.75 and 0.95 (air, 0.52 um) on
pixels of 0.2 and 0.5 um, 4, 8 and 16 px out of focus, as in `quality.py`: mirrored border, full PSF, Gaussian noise
of variance 6e-4 x + 4e-6, uint16. The truth is what the model calls the sharpest: the specimen on the camera grid
where the camera limits the image (c >= 0.5), the in-focus image where diffraction does. Level given. Richardson-Lucy
gets the true PSF and its best of 10, 30, 100, 300, 1000 iterations, as it is or imaged in focus again, whichever is
closer to the truth.

Empty fields: 100 images of noise, blind sharpest; smoothed by 1.5 px, no region of 5 px or more may stand out by 5
standard deviations of the equally smoothed input (where it does not in the input itself), and the noise may grow by
20 %. Faint nuclei: 20 fields with three nuclei at 8 times the noise, out of focus, blind.

These specimens helped to choose what ships. With --first-seed others are drawn, phantoms alone: the figures of a seed
that was never looked at before are those of specimens that nobody chose by.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from quality import score, stack_of, table, take
from scipy import ndimage

import focuslab
from focuslab.models.bundle import Model
from focuslab.optics import Optics, phantom, psf
from focuslab.quality.classical import convolved, richardson_lucy

Image = NDArray[np.float32]
SIDE = 192
PHANTOMS = ("filaments", "puncta", "membranes")
APERTURES, PIXELS_UM, LEVELS_PX = (0.3, 0.75, 0.95), (0.2, 0.5), (4.0, 8.0, 16.0)
FIRST_SEED = 800_000


def specimens(data: Path, seeds: int, rim: int, first_seed: int = FIRST_SEED) -> dict[str, list[Image]]:
    """Linear light by kind; of other seeds, phantoms alone."""
    side = SIDE + 2 * rim
    found = {
        kind: [phantom(kind, (side, side), seed=first_seed + i) for i in range(seeds)]  # type: ignore[arg-type]
        for kind in PHANTOMS
    }
    if first_seed != FIRST_SEED:
        return found
    real = []
    for path in sorted((data / "structures_neubias").glob("*.tif")):
        if "rgb" in path.name:
            continue
        planes = np.asarray(focuslab.read(path, rgb="per-channel").array, np.float32)
        planes = planes.reshape(-1, *planes.shape[-2:])
        for plane in planes[np.linspace(0, len(planes) - 1, min(len(planes), 2)).astype(int)]:
            right = plane[:, -(-2 * plane.shape[1] // 3) :]
            low, high = np.percentile(right, (1, 99.9))
            if min(right.shape) >= 64 and high > low:
                y, x = (max((n - side) // 2, 0) for n in right.shape)
                light = np.clip((right - low) / (high - low), 0, 2.5)
                real.append(light[y : y + side, x : x + side].astype(np.float32))
    return {**found, "structures": real}


def inside(image: Image, rim: int) -> Image:
    """Image without its rim, of which no side takes more than a quarter."""
    y, x = (min(rim, n // 4) for n in image.shape)
    return image[y : image.shape[0] - y, x : image.shape[1] - x]


def plane_scores(
    light: Image, optics: Optics, level: float, model: Model, rng: np.random.Generator, rim: int
) -> list[float]:
    """PSNR of the plane as it is, of the model, of Richardson-Lucy at its best setting."""
    kernel, focus = psf(optics, optics.defocus_um(level))[0], psf(optics, 0.0)[0]
    truth = light if optics.sampling >= 0.5 else convolved(light, focus)
    counts = take(convolved(light, kernel), rng)
    plane = (counts.astype(np.float32) - 110) / 1500
    made = focuslab.refocus(stack_of(counts, optics), sharpest=True, level_px=level, model=model)
    own = (np.asarray(made.array, np.float32) - 110) / 1500
    deconvolved = [v for image in richardson_lucy(plane, kernel).values() for v in (image, convolved(image, focus))]
    return [score(inside(image, rim), inside(truth, rim)) for image in (plane, own, *deconvolved)]


def job(task: tuple[float, float, float, Path, str, int, int, int]) -> dict[str, list[list[float]]]:
    """All specimens in one setting, on one thread."""
    na, pixel, level, data, name, seeds, rim, first_seed = task
    torch.set_num_threads(1)
    model, optics = focuslab.load_model(name), Optics(na=na, wavelength_um=0.52, pixel_size_um=pixel)
    rng = np.random.default_rng(7)
    found = specimens(data, seeds, rim, first_seed)
    return {
        kind: [plane_scores(light, optics, level, model, rng, rim) for light in some] for kind, some in found.items()
    }


def stands_out(image: NDArray[np.float64], sigma: float) -> bool:
    """Whether a region of 5 px or more exceeds 5 sigma."""
    regions, number = ndimage.label(np.abs(image) > 5 * sigma)
    return bool(number and ndimage.sum_labels(np.ones_like(regions), regions, range(1, number + 1)).max() >= 5)


def empty_fields(model: Model, optics: Optics, count: int) -> str:
    """Structures invented in noise, and its growth."""
    rng = np.random.default_rng(11)
    invented, copied, growth = 0, 0, []
    for i in range(count):
        counts = take(np.full((256, 256), i / count, np.float32), rng)
        made = focuslab.refocus(stack_of(counts, optics), sharpest=True, model=model)
        copied += bool(made.provenance["planes"][0].get("copied", False))
        before, after = counts.astype(np.float64), np.asarray(made.array, np.float64)
        smooth, reference = (ndimage.gaussian_filter(a - before.mean(), 1.5) for a in (after, before))
        invented += stands_out(smooth, reference.std()) and not stands_out(reference, reference.std())
        growth.append(after.std() / before.std() - 1)
    return (
        f"{count} fields of noise, blind: {invented} with an invented structure; the noise grows by at most "
        f'{100 * max(growth):.0f} %; {copied} answered "no structure" and copied.\n'
    )


def faint_nuclei(model: Model, optics: Optics, count: int) -> str:
    """Gain in PSNR where there is little to see."""
    gains, copied = [], 0
    y, x = np.mgrid[:256, :256]
    for i in range(count):
        rng = np.random.default_rng(500 + i)
        light = np.full((256, 256), 0.05, np.float32)
        noise = float(np.sqrt(6e-4 * 0.05 + 4e-6))
        for _ in range(3):
            cy, cx = rng.uniform(48, 208, 2)
            light[(y - cy) ** 2 / 81 + (x - cx) ** 2 / 121 < 1] = 0.05 + 8 * noise
        level = float(rng.uniform(4, 14))
        counts = take(convolved(light, psf(optics, optics.defocus_um(level))[0]), rng)
        made = focuslab.refocus(stack_of(counts, optics), sharpest=True, model=model)
        copied += bool(made.provenance["planes"][0].get("copied", False))
        before, after = ((np.asarray(a, np.float32) - 110) / 1500 for a in (counts, made.array))
        gains.append(score(after, light) - score(before, light))
    return (
        f"{count} fields with three faint nuclei, 4 to 14 px out of focus, blind: {np.mean(gains):+.1f} dB in the "
        f'mean, worst {min(gains):+.1f}; {sum(g > 0 for g in gains)} improve, {copied} answered "no structure".\n'
    )


def report(found: dict[tuple[float, float, float], dict[str, list[list[float]]]]) -> str:
    """One table per kind: a row per objective and camera, input, model and Richardson-Lucy at each level."""
    parts, worst_input, worst_rl = [], [], []
    for kind in next(iter(found.values())):
        rows = {}
        for na, pixel in product(APERTURES, PIXELS_UM):
            cells = []
            for level in LEVELS_PX:
                scores = np.array(found[na, pixel, level][kind])
                best = scores[:, 2 + int(scores[:, 2:].mean(0).argmax())]
                cells.append(f"{scores[:, 0].mean():.1f} / **{scores[:, 1].mean():.1f}** / {best.mean():.1f}")
                worst_input.append((float((scores[:, 1] - scores[:, 0]).min()), kind, na, pixel, level))
                worst_rl.append((float(scores[:, 1].mean() - best.mean()), kind, na, pixel, level))
            optics = Optics(na=na, wavelength_um=0.52, pixel_size_um=pixel)
            rows[f"NA {na:g}, {pixel:g} um (c = {optics.sampling:.2f})"] = cells
        parts.append(table(kind, [f"{level:g} px" for level in LEVELS_PX], rows))
    worst = sorted(worst_rl)[:5]
    below = [w for w in worst_rl if w[0] < -0.5]
    lost = [w for w in worst_input if w[0] < 0]
    parts.append(
        "Input / **model** / Richardson-Lucy, PSNR in dB, mean over specimens.\n\n"
        f"Worst specimen against its input: {min(worst_input)[0]:+.1f} dB {min(worst_input)[1:]}; below the input "
        f"in {len(lost)} of {len(worst_input)} settings.\nMore than 0.5 dB below Richardson-Lucy: {len(below)} "
        f"of {len(worst_rl)}, {np.mean([w[0] for w in worst_rl]):+.1f} dB in the mean; the five least: "
        + ", ".join(f"{w[0]:+.1f} dB {w[1:]}" for w in worst)
        + "\n"
    )
    return "\n".join(parts)


def main() -> None:
    """Print all tables, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one specimen of each kind, ten empty fields")
    parser.add_argument("--rim", type=int, default=64, help="px on every side that are recorded and not judged")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of phantoms alone, nothing else is judged")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    seeds = 1 if asked.quick else 3
    settings = list(product(APERTURES, PIXELS_UM, LEVELS_PX))
    tasks = [(*setting, asked.data, asked.model, seeds, asked.rim, asked.first_seed) for setting in settings]
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        found = dict(zip(settings, pool.map(job, tasks), strict=True))
    model, optics = focuslab.load_model(asked.model), Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
    card = model.card
    parts = [f"Model {card.name} {card.version} ({card.sha256[:12]}).\n", report(found)]
    if asked.first_seed == FIRST_SEED:
        parts += [empty_fields(model, optics, 10 if asked.quick else 100)]
        parts += [faint_nuclei(model, optics, 5 if asked.quick else 20)]
    text = "\n".join(parts)
    print(text)
    if asked.out:
        asked.out.write_text(f"# Other structures, other optics, empty fields\n\n```text\n{__doc__}```\n\n{text}")


if __name__ == "__main__":
    main()
