"""Write the sample stacks of `focuslab.samples` as files.

    python sample_data/make_samples.py [FOLDER]

Each sample is an OME-TIFF of noisy planes, the first in focus, and a `_truth` plane: the specimen in focus, without
noise.
"""

import sys
from pathlib import Path

from focuslab import write
from focuslab.samples import SAMPLES, sample


def make(folder: Path) -> None:
    """Write all samples into a folder."""
    for name in SAMPLES:
        stack, truth = sample(name)
        write(folder / f"{name}.ome.tif", stack, overwrite=True)
        write(folder / f"{name}_truth.ome.tif", truth, overwrite=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
