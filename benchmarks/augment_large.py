"""A large OME-Zarr image is augmented: how much memory that takes.

    python benchmarks/augment_large.py --work FOLDER [--side 20000] [--way optics]

Specimens are tiled to a plane of uint16, written chunk by chunk; `focuslab augment` makes one copy of it, whose level
is read first, with the pyramid of the copy. Prints the growth of memory over the run, and the speed.
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
from peak import Peak

import focuslab
from focuslab.augment.copies import AugmentRequest
from focuslab.augment.folder import augment_steps, plan_folder
from focuslab.augment.work import Order
from focuslab.calibration import Calibration
from focuslab.io import writer_of
from focuslab.optics import phantom
from focuslab.refocusing import finish
from focuslab.stack import FocalStack

TILE = 1024


def write_image(path: Path, side: int) -> None:
    """Write the image a tile at a time."""
    known = Calibration(pixel_size_um=0.645, na=0.5, index=1.0, wavelengths_um=(0.461,))
    like = FocalStack(np.broadcast_to(np.uint16(0), (side, side)), "YX", known)
    tiles = [(100 + 3000 * phantom("nuclei", (TILE, TILE), seed=s, scale_px=20)).astype(np.uint16) for s in range(4)]
    with writer_of(path, like, overwrite=True) as writer:
        for i, y in enumerate(range(0, side, TILE)):
            for k, x in enumerate(range(0, side, TILE)):
                tile = tiles[(i + 3 * k) % len(tiles)]
                writer.array[y : y + TILE, x : x + TILE] = tile[: side - y, : side - x]


def main() -> None:
    """Write, augment, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--way", choices=("optics", "model"), default="optics")
    asked = parser.parse_args()
    data, out = asked.work / "data", asked.work / "copies"
    shutil.rmtree(out, ignore_errors=True)
    if not (path := data / f"large{asked.side}.zarr").exists():
        data.mkdir(parents=True, exist_ok=True)
        write_image(path, asked.side)
    focuslab.load_model("default")  # torch is imported before memory is counted
    plan = plan_folder(path, out, AugmentRequest(1, (6.0, 6.0), "px", asked.way, "read", 1))
    start = time.perf_counter()
    with Peak() as peak:
        (result,) = finish(augment_steps(plan, Order(out, "default")))
    seconds = time.perf_counter() - start
    if result.error is not None:
        raise result.error
    copy = focuslab.read(out / result.records[0]["output"])
    print(f"{copy.shape} {copy.dtype} by {asked.way}: {result.pixels / seconds / 1e6:.2f} Mpx/s")
    print(f"memory: {peak.before:.0f} MiB before, +{peak.mib:.0f} MiB")


if __name__ == "__main__":
    main()
