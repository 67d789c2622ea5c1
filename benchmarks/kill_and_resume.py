"""`focuslab augment` is killed at random moments and begun again: the copies must be those of an unbroken run.

    python benchmarks/kill_and_resume.py [--kills 20] [--images 12] [--seed 0]

Small images with labels, two copies each. Every trial kills the command (-9) at a moment drawn from the whole length
of an unbroken run, looks for files that are neither whole nor hidden drafts, runs the command again, and compares every
byte of the folder with the unbroken run's. Prints what was there at each kill.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

import focuslab
from focuslab.calibration import Calibration
from focuslab.optics import phantom
from focuslab.stack import FocalStack


def write_data(folder: Path, images: int) -> None:
    """Images and labels."""
    known = Calibration(pixel_size_um=0.645, na=0.5, index=1.0, wavelengths_um=(0.461,))
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(images):
        image = (100 + 900 * phantom("nuclei", (192, 192), seed=i, scale_px=12)).astype(np.uint16)
        focuslab.write(folder / "images" / f"{i:02d}.ome.tif", FocalStack(image, "YX", known))
        tifffile.imwrite(folder / "masks" / f"{i:02d}.tif", (image > 400).astype(np.uint8))


def command(data: Path, out: Path) -> list[str]:
    """What is killed."""
    said = f"augment {data / 'images'} {out} --copies 2 --blur-um 1:8 --labels {data / 'masks'} --seed 3 --workers 2"
    return [sys.executable, "-m", "focuslab", *said.split()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random = np.random.default_rng(asked.seed)
    with tempfile.TemporaryDirectory() as scratch:
        data, whole, out = (Path(scratch) / name for name in ("data", "whole", "out"))
        write_data(data, asked.images)
        began = time.perf_counter()
        subprocess.run(command(data, whole), check=True, capture_output=True)
        length = time.perf_counter() - began
        expected = contents(whole)
        print(f"an unbroken run takes {length:.1f} s and writes {len(expected)} files", flush=True)
        failed = 0
        for kill in range(asked.kills):
            moment = float(random.uniform(0, length))
            process = subprocess.Popen(
                command(data, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            time.sleep(moment)
            ended = process.poll() is not None
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            there = contents(out) if out.exists() else {}
            visible = {name: made for name, made in there.items() if not Path(name).name.startswith(".")}
            half = [name for name, made in visible.items() if made != expected.get(name)]
            subprocess.run(command(data, out), check=True, capture_output=True)
            same = contents(out) == expected
            failed += bool(half) or not same
            end, result = "ended" if ended else "killed", "identical" if same else "DIFFERENT"
            found = f"{len(visible)} files whole, {len(half)} half, {len(there) - len(visible)} drafts"
            print(f"{kill + 1:2d}: {end} at {moment:.2f} s, {found}; resumed: {result}", flush=True)
            shutil.rmtree(out)
    print(f"{asked.kills - failed} of {asked.kills} complete and identical")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
