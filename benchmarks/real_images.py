"""Real out-of-focus images: pictures to look at, and a real focal stack with its sharp plane.

    python benchmarks/real_images.py --data FOLDER --out docs/images

- `bbbc006_z00`: fields 32 um out of focus (effective NA 0.6); no sharp partner exists, so a contact sheet is drawn.
- `beads_imagexpress`: every plane refocused towards plane 5; PSNR against plane 5 after each plane, before and after,
  is brought to it by the best affine map of its brightness (the beads are optically sectioned). Plane 5 is not quite
  in focus itself, so with estimated levels the planes also go to its level instead of the sharpest. All of it for a
  thin specimen, and for one as thick as was fitted to its left half. A picture: planes 0, 1, 2 as taken, taken to plane
  5's level as thin and as thick, and plane 5.
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
THICKNESS_UM = 9.6  # fitted to the left half of the beads
SHOWN = (0, 1, 2)  # planes of the picture


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


def beads(data: Path, out: Path) -> None:
    """Table of PSNR, and a picture of the planes 10 to 25 um above the sharpest one."""
    stack = focuslab.read(data / "beads_imagexpress" / "E07_s1_w1.tif")
    truth = stack.plane((FOCUS,)).astype(float)
    low, high = np.percentile(truth, (0.5, 99.9))
    columns, sheet = {"as taken": stack}, [[stack.plane((z,)) for z in SHOWN]]
    levels = []
    for thickness_um in (None, THICKNESS_UM):
        known = stack.calibration.replace(na=0.75, wavelengths_um=(0.52,), thickness_um=thickness_um)
        planes = FocalStack(np.asarray(stack.array), "ZYX", known)
        name = f"{thickness_um:g} um thick" if thickness_um else "thin"
        columns[f"{name}: level from z"] = focuslab.refocus(planes, sharpest=True, focus_plane=FOCUS)
        columns[f"{name}: estimated"] = read = focuslab.refocus(planes, sharpest=True)
        found = [p.get("level_px", 0.0) for p in read.provenance["planes"]]
        matched = [
            focuslab.refocus(FocalStack(planes.plane((z,)), "YX", known), shift_px=found[FOCUS] - level, level_px=level)
            for z, level in enumerate(found)
        ]
        columns[f"{name}: to plane {FOCUS}'s"] = FocalStack(np.stack([m.array for m in matched]), "ZYX", known)
        sheet.append([np.asarray(matched[z].array) for z in SHOWN])
        levels.append(found)
    print("| plane | " + " | ".join(columns) + " | estimated levels |\n|" + "---|" * (len(columns) + 2))
    for z in range(stack.size("Z")):
        cells = [psnr(scaled_to(s.plane((z,)), truth), truth, data_range=high - low) for s in columns.values()]
        said = " and ".join(f"{found[z]:.1f}" for found in levels)
        print(f"| {z} | " + " | ".join(f"{c:.1f}" for c in cells) + f" | {said} px |")
    sheet.append([truth] * len(SHOWN))
    rows = [np.hstack([grey(i, *np.percentile(i, (0.5, 99.9)))[:160, 256:] for i in row]) for row in sheet]
    Image.fromarray(np.vstack(rows)).save(out / "beads.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    fields(asked.data, asked.out)
    beads(asked.data, asked.out)
