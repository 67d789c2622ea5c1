"""How fast data are augmented, beside the blurs of other libraries, and what a second Dask worker adds.

    pip install albumentations monai
    python benchmarks/augment_throughput.py [--images 500] [--side 512] [--out docs/throughput.md]

First in memory, one thread: every blur on the same uint16 images, radii drawn from 1 to 8 px (a Gaussian's sigma is
half the radius); the slow learned code on a tenth of them. albumentations blurs float32, to which the image is turned
and back, as in its pipelines. Then `focuslab augment`, files to files with manifest: threads of this process, and
clusters of one and of two workers, all started and warm, one torch thread per task always.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import focuslab
from focuslab.augment import RandomDefocus, RandomDisc, RandomGaussian
from focuslab.augment.copies import AugmentRequest
from focuslab.augment.folder import augment_steps, plan_folder
from focuslab.augment.work import Order
from focuslab.calibration import Calibration
from focuslab.optics import phantom
from focuslab.refocusing import finish
from focuslab.stack import FocalStack

RADII = (1.0, 8.0)
Image = NDArray[np.uint16]
Blur = Callable[[Image], Image]


def pictures(count: int, side: int) -> list[Image]:
    """Twenty specimens in turn."""
    few = [
        (100 + 3000 * phantom("nuclei", (side, side), seed=s, scale_px=20)).astype(np.uint16)
        for s in range(min(count, 20))
    ]
    return [few[i % len(few)] for i in range(count)]


def in_memory() -> dict[str, Blur]:
    """What is compared; of other libraries, those that are installed."""
    blurs: dict[str, Blur] = {
        "FocusLab, Gaussian": RandomGaussian(RADII, seed=1),
        "FocusLab, disc": RandomDisc(RADII, seed=1),
        "FocusLab, defocus by optics": RandomDefocus(RADII, way="optics", device="cpu", seed=1),
        "FocusLab, defocus by the learned code": RandomDefocus(RADII, way="model", device="cpu", seed=1),
    }
    if find_spec("albumentations"):
        import albumentations as A

        defocus = A.Defocus(radius=(1, 8), alias_blur=(0.1, 0.1), p=1.0)

        def albumentations(image: Image) -> Image:
            made = defocus(image=(image / np.float32(65535))[..., None])["image"][..., 0]
            return np.rint(made * 65535).astype(np.uint16)

        blurs["albumentations, Defocus (disc)"] = albumentations
    if find_spec("monai"):
        from monai.transforms import RandGaussianSmooth

        smooth = RandGaussianSmooth((0.5, 4.0), (0.5, 4.0), prob=1.0)

        def monai(image: Image) -> Image:
            return np.rint(np.asarray(smooth(image[None].astype(np.float32)))[0]).astype(np.uint16)

        blurs["MONAI, RandGaussianSmooth"] = monai
    return blurs


def speed(blur: Blur, images: Sequence[Image]) -> float:
    """Mpx/s."""
    blur(images[0])
    start = time.perf_counter()
    for image in images:
        blur(image)
    return sum(i.size for i in images) / (time.perf_counter() - start) / 1e6


def folder_speed(data: Path, out: Path, engine: str, **how: object) -> float:
    """Mpx/s of a whole run, manifest and all."""
    request = AugmentRequest(1, RADII, "px", engine, "sharp", 1)  # type: ignore[arg-type]
    plan = plan_folder(data, out, request)
    start = time.perf_counter()
    results = finish(augment_steps(plan, Order(out, "default"), **how))  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    assert all(r.error is None for r in results), [r.error for r in results if r.error]
    return sum(r.pixels for r in results) / seconds / 1e6


def folders(images: Sequence[Image], scratch: Path, engine: str) -> dict[str, float]:
    """Threads and clusters."""
    from distributed import LocalCluster

    known = Calibration(pixel_size_um=0.645, na=0.5, index=1.0, wavelengths_um=(0.461,))
    data, first = scratch / engine / "data", scratch / engine / "first"
    for folder, some in ((data, images), (first, images[:4])):
        folder.mkdir(parents=True)
        for i, image in enumerate(some):
            focuslab.write(folder / f"{i:04d}.ome.tif", FocalStack(image, "YX", known))
    folder_speed(first, scratch / engine / "warm", engine)
    found = {
        f"{n} thread{'s' * (n > 1)}": folder_speed(data, scratch / engine / f"t{n}", engine, workers=n) for n in (1, 2)
    }
    for n in (1, 2):
        with LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
            address = cluster.scheduler_address
            folder_speed(first, scratch / engine / f"w{n}", engine, scheduler=address)
            found[f"{n} Dask worker{'s' * (n > 1)}"] = folder_speed(
                data, scratch / engine / f"d{n}", engine, scheduler=address
            )
    return found


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images = pictures(asked.images, asked.side)
    lines = [
        f"{len(images)} images of {asked.side} x {asked.side} px, uint16.",
        "",
        "| in memory, one thread | Mpx/s |",
    ]
    lines.append("|---|---|")
    for name, blur in in_memory().items():
        lines.append(f"| {name} | {speed(blur, images[:: 10 if 'code' in name else 1]):.2f} |")
        print(lines[-1], flush=True)
    lines += ["", "| `focuslab augment`, files to files | by optics, Mpx/s | learned code, Mpx/s |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        optics = folders(images, Path(scratch), "optics")
        print(optics, flush=True)
        model = folders(images[::10], Path(scratch), "model")
    lines += [f"| {name} | {optics[name]:.2f} | {model[name]:.2f} |" for name in optics]
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.out is not None:
        asked.out.write_text(f"# Throughput of augmentation\n\n```text\n{__doc__}```\n\n{text}")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # for the workers, which are started later
    main()
