"""The rim of an image: what is gained by finding what lies beyond its border, where it could be mirrored.

    python benchmarks/border.py --data FOLDER [--model NAME] [--out FILE.md]

Squares of 256 px are recorded out of the middle of larger fields (the BBBC006 fields that were never trained on,
phantoms of membranes and filaments with unseen seeds), NA 0.5, 0.461 um, pixels of 0.645 um, noise as in
`quality.py`, level given. PSNR of the outer 32 px and of what lies inside them, mean over fields: the plane,
Richardson-Lucy with the true PSF and a mirrored border at its best number of iterations, the model with mirrored
borders, the model.
"""

import argparse
from pathlib import Path
from unittest import mock

import numpy as np
from generality import inside
from numpy.typing import NDArray
from quality import fields, score, stack_of, table, take

import focuslab
from focuslab.optics import Optics, phantom, psf
from focuslab.quality.classical import convolved, richardson_lucy

Image = NDArray[np.float32]
SIDE, RIM = 256, 32
LEVELS_PX = (4.0, 8.0, 16.0, 24.0)
OPTICS = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)


def scenes(data: Path) -> list[Image]:
    """Fields larger than what is recorded of them."""
    drawn = [phantom(kind, (512, 512), seed=910_000) for kind in ("membranes", "filaments")]  # type: ignore[arg-type]
    return [*(field.truth for field in fields(data, 0)), *drawn]


def middle(image: Image) -> Image:
    """The square that is recorded."""
    y, x = ((n - SIDE) // 2 for n in image.shape)
    return image[y : y + SIDE, x : x + SIDE]


def rim_and_inside(image: Image, truth: Image) -> tuple[float, float]:
    """PSNR of the outer `RIM` px and of the rest."""
    whole, inner = (10 ** (-score(a, b) / 10) for a, b in ((image, truth), (inside(image, RIM), inside(truth, RIM))))
    share = inside(truth, RIM).size / truth.size
    return float(-10 * np.log10((whole - share * inner) / (1 - share))), float(-10 * np.log10(inner))


def judged(scene: Image, level: float, model: object, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Scores of one field by method."""
    kernel = psf(OPTICS, OPTICS.defocus_um(level))[0]
    counts, truth = take(middle(convolved(scene, kernel)), rng), middle(scene)
    plane = (counts.astype(np.float32) - 110) / 1500

    def refocused() -> Image:
        made = focuslab.refocus(stack_of(counts, OPTICS), sharpest=True, level_px=level, model=model)  # type: ignore[arg-type]
        return (np.asarray(made.array, np.float32) - 110) / 1500

    with mock.patch("focuslab.models.copying.beyond_border", lambda plane, *_: plane):
        mirrored = refocused()
    found = {"as taken": plane, "model, mirrored borders": mirrored, "**model**": refocused()}
    found |= {f"Richardson-Lucy [{n}]": image for n, image in richardson_lucy(plane, kernel).items()}
    return {name: rim_and_inside(image, truth) for name, image in found.items()}


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    model, rows = focuslab.load_model(asked.model), dict[str, list[str]]()
    for level in LEVELS_PX:
        rng = np.random.default_rng(5)
        found = [judged(scene, level, model, rng) for scene in scenes(asked.data)]
        mean = {name: np.mean([one[name] for one in found], 0) for name in found[0]}
        best = max((name for name in mean if name.startswith("Rich")), key=lambda name: float(mean[name].mean()))
        for name in ("as taken", best, "model, mirrored borders", "**model**"):
            title = "Richardson-Lucy, mirrored, best" if name == best else name
            rows.setdefault(title, []).append("{:.1f} / {:.1f}".format(*mean[name]))
    text = table("The outer 32 px / what lies inside them, PSNR in dB", [f"{level:g} px" for level in LEVELS_PX], rows)
    print(text)
    if asked.out:
        head = f"# The rim of an image\n\n```text\n{__doc__}```\n\n"
        asked.out.write_text(
            f"{head}Model {model.card.name} {model.card.version} ({model.card.sha256[:12]}).\n\n{text}"
        )


if __name__ == "__main__":
    main()
