"""Training on a data set that is larger than memory: how much memory it takes.

    python benchmarks/large_dataset.py --work FOLDER [--gigabytes 40] [--steps 30]

One focal stack of a gigabyte (9 planes of 7456 x 7456 px, uint16) is written, and linked under as many names as make up
the data set; training reads windows of it. Prints the growth of memory over a run.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import tifffile
from focuslab_training.recipe import load_recipe
from focuslab_training.run import Machines, train
from peak import Peak

from focuslab.optics import Optics, phantom
from focuslab.simulation import simulate_stack

REPEATS, SIDE = 16, 466


def write_data(folder: Path, gigabytes: int) -> None:
    """Write the stack and its links."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "stack_00.tif"
    if not first.exists():
        optics = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
        tile, _ = simulate_stack(
            phantom("nuclei", (SIDE, SIDE), seed=1), optics, distances_um=[4.0 * i for i in range(8, -1, -1)]
        )
        planes = (np.tile(tile.plane((z,)), (REPEATS, REPEATS)) for z in range(9))
        tifffile.imwrite(
            first,
            planes,
            shape=(9, SIDE * REPEATS, SIDE * REPEATS),
            dtype=np.uint16,
            imagej=True,
            metadata={"axes": "ZYX"},
        )
    for i in range(1, gigabytes):
        link = folder / f"stack_{i:02d}.tif"
        if not link.exists():
            os.link(first, link)


def main() -> None:
    """Write, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--gigabytes", type=int, default=40)
    parser.add_argument("--steps", type=int, default=30)
    asked = parser.parse_args()
    write_data(asked.work / "data", asked.gigabytes)
    size = sum(path.stat().st_size for path in (asked.work / "data").glob("*.tif"))
    stacks = {
        "layout": "stacks",
        "focus": 8,
        "na": 0.5,
        "wavelength_um": 0.461,
        "pixel_size_um": 0.645,
        "z_step_um": 4.0,
    }
    changes: dict[str, object] = {
        "stacks": stacks,
        "trains": ["autoencoder"],
        "phantoms.count": 0,
        "steps": {"autoencoder": asked.steps},
        "validation_batches": 2,
        "validate_every": asked.steps,
    }
    with Peak() as peak:
        card = train(
            load_recipe("smoke", changes),
            asked.work / f"model_{os.getpid()}",
            data=asked.work / "data",
            machines=Machines("cpu"),
        )
    print(f"{size / 1e9:.1f} GB in {next(d for d in card.data if 'focal stacks' in d)}; {asked.steps} steps")
    print(f"memory: {peak.before:.0f} MiB before, +{peak.mib:.0f} MiB")


if __name__ == "__main__":
    main()
