"""Real out-of-focus images: pictures to look at, and a real focal stack with its sharp plane.

    python benchmarks/real_images.py --data FOLDER --out docs/images

- `bbbc006_z00`: fields 32 um out of focus (effective NA 0.6); no sharp partner exists, so a contact sheet is drawn.
- `beads_imagexpress`: every plane refocused towards plane 5; PSNR against plane 5 after each plane, before and after,
  is brought to it by the best affine map of its brightness (the beads are optically sectioned). Plane 5 is not quite
  in focus itself, so with estimated levels the planes also go to its level instead of the sharpest.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import focuslab
from focuslab.quality import psnr, scaled_to
from focuslab.stack import FocalStack

FOCUS = 5


def grey(image: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    """Eight-bit picture between two counts, gamma 0.7."""
    return (np.clip((image.astype(float) - low) / (high - low), 0, 1) ** 0.7 * 255).astype(np.uint8)


def fields(data: Path, out: Path) -> None:
    """Contact sheet: as taken, refocused at the estimated level, at the level from z; each to its own contrast."""
    columns = []
    for path in sorted((data / "bbbc006_z00").glob("*.tif"))[:4]:
        stack = focuslab.read(path)
        known = stack.calibration.replace(na=0.6, wavelengths_um=(0.461,), pixel_size_um=0.645)
        result = focuslab.refocus(FocalStack(stack.plane(), "YX", known), sharpest=True)
        told = result.provenance["planes"][0]
        print(f"{path.name}: estimated {told.get('level_um', 0):.1f} um ({told.get('level_px', 0):.1f} px), true 32 um")
        given = focuslab.refocus(FocalStack(stack.plane(), "YX", known), sharpest=True, level_um=32.0)
        images = (stack.plane(), np.asarray(result.array), np.asarray(given.array))
        columns.append(np.vstack([grey(i, *np.percentile(i, (0.5, 99.8)))[:400, :400] for i in images]))
    Image.fromarray(np.hstack(columns)).save(out / "bbbc006_z00.png")


def beads(data: Path) -> None:
    """Table of PSNR."""
    stack = focuslab.read(data / "beads_imagexpress" / "E07_s1_w1.tif")
    known = stack.calibration.replace(na=0.75, wavelengths_um=(0.52,))
    stack = FocalStack(np.asarray(stack.array), "ZYX", known)
    truth = stack.plane((FOCUS,)).astype(float)
    low, high = np.percentile(truth, (0.5, 99.9))
    results = {
        "level from z": focuslab.refocus(stack, sharpest=True, focus_plane=FOCUS),
        "level estimated": focuslab.refocus(stack, sharpest=True),
    }
    found = [p.get("level_px", 0.0) for p in results["level estimated"].provenance["planes"]]
    matched = [
        focuslab.refocus(FocalStack(stack.plane((z,)), "YX", known), shift_px=found[FOCUS] - level, level_px=level)
        for z, level in enumerate(found)
    ]
    results["to plane 5's level"] = FocalStack(np.stack([m.array for m in matched]), "ZYX", known)
    print("| plane | level from z | as taken | " + " | ".join(results) + " | estimated level |\n|" + "---|" * 7)
    for z in range(stack.size("Z")):
        cells = [
            psnr(scaled_to(s.plane((z,)), truth), truth, data_range=high - low) for s in (stack, *results.values())
        ]
        from_z = results["level from z"].provenance["planes"][z]["level_px"]
        print(f"| {z} | {from_z:.1f} px | " + " | ".join(f"{c:.1f} dB" for c in cells) + f" | {found[z]:.1f} px |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    fields(asked.data, asked.out)
    beads(asked.data)
