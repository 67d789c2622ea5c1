"""Objectives that are not what is engraved on them: what is left when the optics are said wrong.

    python benchmarks/wrong_optics.py --data FOLDER [--models default ...] [--out FILE.md]

Six nuclei fields that were never trained on (names beginning with a, b or c, every twelfth) are imaged by NA 0.5 on
0.645 um pixels, 8 and 16 um out of focus, with noise as in `quality.py`, through another aperture or with aberrations
(RMS waves by Noll index), or through all of a specimen 10 um thick. Every method is told the nominal optics and the
true distance, in the last case the thickness as well; the model takes them at their word, and once more with a doubt
of 0.1. Richardson-Lucy gets the PSF that is told and its best of 10, 30, 100, 300, 1000 iterations. PSNR in dB, mean
over fields.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from quality import score, stack_of, table, take

import focuslab
from focuslab.optics import Optics, psf
from focuslab.quality.classical import convolved, richardson_lucy

NOMINAL = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
THICK = NOMINAL.replace(thickness_um=10.0)
CASES = {  # as the light went, and as the methods are told
    "as said": (NOMINAL, NOMINAL),
    "NA 8 % larger": (NOMINAL.replace(na=0.54), NOMINAL),
    "NA 8 % smaller": (NOMINAL.replace(na=0.46), NOMINAL),
    "spherical 0.08": (NOMINAL.replace(zernike_waves={11: 0.08}), NOMINAL),
    "spherical -0.1, coma 0.05": (NOMINAL.replace(zernike_waves={11: -0.1, 7: 0.05}), NOMINAL),
    "astigmatism 0.08": (NOMINAL.replace(zernike_waves={5: 0.08}), NOMINAL),
    "specimen 10 um thick": (THICK, NOMINAL),
    "specimen 10 um thick, and said so": (THICK, THICK),
}
DOUBTS = (0.0, 0.1)
DISTANCES_UM = (8.0, 16.0)
SIDE, FIELDS, EVERY = 256, 6, 12


def fields(data: Path) -> list[NDArray[np.float32]]:
    """Linear light of fields that were never trained on."""
    found = []
    for path in sorted((data / "nuclei_dsb2018").glob("[abc]*.tif"))[::EVERY]:
        plane = np.asarray(focuslab.read(path).array, np.float32)
        plane = plane.reshape(-1, *plane.shape[-2:])[0]
        low, high = np.percentile(plane, (1, 99.9))
        if min(plane.shape) >= 192 and high > low:
            found.append(np.clip((plane - low) / (high - low), 0, 2.5)[:SIDE, :SIDE].astype(np.float32))
    return found[:FIELDS]


def main() -> None:
    """Print one table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["default"])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    models = {name: focuslab.load_model(name) for name in asked.models}
    cards = [f"{m.card.name} {m.card.version}, doubt {doubt:g}" for m in models.values() for doubt in DOUBTS]
    lights, rows = fields(asked.data), {}
    for title, (seen, told) in CASES.items():
        for distance in DISTANCES_UM:
            rng, scores = np.random.default_rng(3), []
            for light in lights:
                counts = take(convolved(light, psf(seen, distance)[0]), rng)
                plane = (counts.astype(np.float32) - 110) / 1500
                made = [
                    focuslab.refocus(
                        stack_of(counts, told), sharpest=True, level_um=distance, doubt=doubt, model=model
                    ).array
                    for model in models.values()
                    for doubt in DOUBTS
                ]
                own = [(np.asarray(image, np.float32) - 110) / 1500 for image in made]
                deconvolved = richardson_lucy(plane, psf(told, distance)[0])
                scores.append([score(image, light) for image in (plane, *own, *deconvolved.values())])
            mean = np.mean(scores, 0)
            best = float(mean[1 + len(cards) :].max())
            rows[f"{title}, {distance:g} um"] = [f"{v:.1f}" for v in (*mean[: 1 + len(cards)], best)]
    text = table("Optics said wrong", ["input", *cards, "Richardson-Lucy"], rows)
    print(text)
    if asked.out:
        asked.out.write_text(f"# When the optics are not as said\n\n```text\n{__doc__}```\n\n{text}")


if __name__ == "__main__":
    main()
