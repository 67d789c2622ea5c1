"""Speed and memory, beside Richardson-Lucy and the published network, in one run.

    python benchmarks/speed.py [--threads 2] [--memory]

Medians of several repetitions on random nuclei at 8 px of blur. Ratios hold on another machine, seconds do not.
`--memory` refocuses an 8192 x 8192 uint16 TIFF from file to file and reports the growth of the process.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import torch
from skimage.restoration import richardson_lucy

import focuslab
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.optics import Optics, phantom, psf
from focuslab.refocusing import Engine, RefocusRequest, finish, refocus_steps
from focuslab.refocusing.intensity import measure_map
from focuslab.refocusing.plan import plane_facts
from focuslab.refocusing.sampling import structured_windows
from focuslab.refocusing.tiling import Tile, read_region
from focuslab.simulation import simulate_stack
from focuslab.stack import FocalStack

OPTICS = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
LEVEL = 8.0


def median_ms(job: Callable[[], object], repeats: int = 7) -> float:
    """Median time of a job after one warm-up, ms."""
    job()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        job()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def blurred(size: int) -> FocalStack:
    """Nuclei `LEVEL` px out of focus."""
    tile = phantom("nuclei", (512, 512), seed=1, scale_px=16)
    specimen = np.tile(tile, (size // 512, size // 512))
    noisy, _ = simulate_stack(specimen, OPTICS, distances_um=[OPTICS.defocus_um(LEVEL)])
    return FocalStack(noisy.plane((0,)), "YX", noisy.calibration)


def speed() -> None:
    """Print the table of times."""
    model = focuslab.load_model()
    engine = Engine(model)
    rows: list[tuple[str, float]] = []

    region = blurred(1024)
    facts = plane_facts(structured_windows(region, ()), LEVEL, OPTICS, measure_map(region, [()]))
    tile = read_region(region, (), Tile(0, 1024, 0, 1024), engine.halo(facts))
    coded = engine.encode(tile, facts)
    shifts = iter(np.linspace(-LEVEL, LEVEL, 1000))
    rows.append(("new shift, 1024 x 1024, code cached", median_ms(lambda: coded.at(float(next(shifts))), 15)))
    rows.append(("encode 1024 x 1024 for a slider", median_ms(lambda: engine.encode(tile, facts), 5)))

    plane = blurred(2048)
    out = np.empty(plane.shape, plane.dtype)
    for name, request in (
        ("level given", RefocusRequest(sharpest=True, level_px=LEVEL)),
        ("level read", RefocusRequest(sharpest=True)),
    ):
        job = partial(refocus_steps, plane, request, engine, out)
        rows.append((f"refocus a 2048 x 2048 plane, {name}", median_ms(lambda job=job: finish(job()), 3)))

    image = region.plane().astype(np.float32) / 2000
    kernel = psf(OPTICS, OPTICS.defocus_um(LEVEL))[0].numpy()
    rows.append(
        (
            "Richardson-Lucy (scikit-image), 30 iterations, 1024 x 1024",
            median_ms(lambda: richardson_lucy(image, kernel, num_iter=30, clip=False), 3),
        )
    )
    reference = ReferenceAutoencoder().eval()
    tensor = torch.rand(1, 1, 1024, 1024)
    with torch.inference_mode():
        code = reference.encode(tensor)
        rows.append(("published network: encode 1024 x 1024", median_ms(lambda: reference.encode(tensor), 3)))
        rows.append(("published network: decode 1024 x 1024", median_ms(lambda: reference.decode(code), 3)))

    base = rows[0][1]
    print(f"{engine.device}, {torch.get_num_threads()} threads, {str(engine.dtype).removeprefix('torch.')}")
    print("| job | median | ratio to a new shift |\n|---|---|---|")
    for name, ms in rows:
        print(f"| {name} | {ms:.0f} ms | {ms / base:.1f} |")


def memory() -> None:
    """Print the growth of the process while a large file is refocused."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.tif", Path(folder) / "out.tif"
        tile = blurred(512).plane()
        image = tifffile.memmap(source, shape=(8192, 8192), dtype=np.uint16)
        for y in range(0, 8192, 512):
            image[y : y + 512] = np.tile(tile, 16)
        image.flush()
        del image
        engine = Engine(focuslab.load_model())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stack = focuslab.read(source)
        from focuslab.io import StackWriter

        began = time.perf_counter()
        with StackWriter(target, stack) as writer:
            request = RefocusRequest(sharpest=True, level_px=LEVEL)
            writer.provenance = finish(refocus_steps(stack, request, engine, writer.array))
        seconds = time.perf_counter() - began
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"8192 x 8192 uint16, file to file: {growth:.0f} MiB of growth, {seconds:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    memory() if asked.memory else speed()
