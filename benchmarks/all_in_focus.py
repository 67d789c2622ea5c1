"""One sharp picture of a thick specimen, whose planes are fused and then deblurred, or the other way round.

    python benchmarks/all_in_focus.py

Tilted (12 um over the field) and bumpy (0 to 12 um) specimens are imaged at seven planes, 2 um apart, NA 0.75, with
noise. PSNR against the same specimen lying flat in focus, dB.
"""

import numpy as np
import torch
from scipy import ndimage

import focuslab
from focuslab.calibration import Calibration
from focuslab.optics import Optics, defocus_volume, phantom, psf
from focuslab.quality import psnr
from focuslab.quality.classical import convolved
from focuslab.refocusing import Engine, RefocusRequest, all_in_focus_steps, finish, refocus_steps
from focuslab.stack import FocalStack

OPTICS = Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.325)
KNOWN = Calibration(pixel_size_um=0.325, z_step_um=2.0, na=0.75, index=1.0, wavelengths_um=(0.52,))
SIDE, DEPTH_UM = 256, 12.0


def depth_of(shape: str, seed: int) -> np.ndarray:
    """Depth of a specimen, um."""
    if shape == "tilted":
        return np.tile(np.linspace(0, DEPTH_UM, SIDE), (SIDE, 1))
    hills = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((SIDE, SIDE)), 40)
    return DEPTH_UM * (hills - hills.min()) / np.ptp(hills)


def imaged(kind: str, shape: str, seed: int) -> tuple[FocalStack, np.ndarray]:
    """Focal stack, and the specimen flat in focus."""
    light = phantom(kind, (SIDE, SIDE), seed=seed, scale_px=16 if kind == "nuclei" else 4)  # type: ignore[arg-type]
    depth, slices = depth_of(shape, seed), np.arange(DEPTH_UM + 1)
    volume = np.stack([light * np.clip(1 - np.abs(depth - z), 0, 1) for z in slices]).astype(np.float32)
    focus = np.arange(0, DEPTH_UM + 1, 2.0)
    planes = defocus_volume(torch.from_numpy(volume), OPTICS, z_step_um=1.0, focus_um=list(focus)).numpy()
    random = np.random.default_rng(1)
    counts = 100 + random.poisson(np.clip(planes, 0, None) * 1000) + random.normal(0, 3, planes.shape)
    truth = 100 + 1000 * convolved(light, psf(OPTICS, 0.0)[0])
    return FocalStack(counts.clip(0, 65535).astype(np.uint16), "ZYX", KNOWN), truth


def main() -> None:
    """Print the table."""
    engine = Engine(focuslab.load_model("default"))
    print("| specimen | best plane | its best refocused plane | refocused, then fused | fused, then refocused |")
    print("|---|---|---|---|---|")
    for kind, seed in (("nuclei", 5), ("filaments", 6), ("mixed", 7)):
        for shape in ("tilted", "bumpy"):
            stack, truth = imaged(kind, shape, seed)
            sharp = np.empty(stack.shape, stack.dtype)
            finish(refocus_steps(stack, RefocusRequest(sharpest=True), engine, sharp))
            planes = list(stack.planes())

            def score(picture: np.ndarray, truth: np.ndarray = truth) -> float:
                return psnr(picture.astype(float), truth, data_range=float(np.ptp(truth)))

            first = finish(all_in_focus_steps(stack.with_array(sharp), planes, engine)).picture.plane()
            ours = finish(all_in_focus_steps(stack, planes, engine)).picture.plane()
            figures = (
                max(score(stack.plane(i)) for i in planes), max(score(p) for p in sharp), score(first), score(ours)
            )  # fmt: skip
            print(f"| {kind}, {shape} | " + " | ".join(f"{f:.1f}" for f in figures) + " |")


if __name__ == "__main__":
    main()
