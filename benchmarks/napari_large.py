"""A large stack in the viewer: does the preview work at once, what memory does it take, how fast does Cancel answer.

    xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/napari_large.py [--side 4096] [--planes 20]

A TIFF of `planes` uint16 planes of `side` x `side` px is opened as `focuslab gui` does, lazily. Printed: the time from
opening the panel to the first picture of the whole field and, zoomed in, to the exact one; the growth of the resident
memory up to then, and through half a minute of Apply on the whole stack; and the time from Cancel to the panel being
ready again and to the worker having ended.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import numpy as np
import tifffile
from focuslab_napari.opening import open_file
from focuslab_napari.refocus_panel import RefocusPanel
from peak import Peak
from qtpy.QtWidgets import QApplication

import focuslab
from focuslab.optics import Optics, phantom, psf
from focuslab.quality.classical import convolved

OPTICS = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
PATCH = 512


def until(condition: Callable[[], bool], seconds: float = 300.0) -> float:
    """Let Qt work until something is so; returns the seconds that it took."""
    began = time.perf_counter()
    while not condition():
        QApplication.processEvents()
        if time.perf_counter() - began > seconds:
            raise TimeoutError("the viewer did not get there")
        time.sleep(0.001)
    return time.perf_counter() - began


def make_file(folder: Path, side: int, planes: int) -> Path:
    """Write the stack plane by plane."""
    path, repeats = folder / "large.ome.tif", side // PATCH
    light = phantom("nuclei", (PATCH, PATCH), seed=6, scale_px=16)
    made = [convolved(light, psf(OPTICS, 4.0 * (z % 5))[0]) for z in range(5)]

    def pages() -> Iterator[np.ndarray]:
        for z in range(planes):
            yield np.tile(np.clip(110 + 1500 * made[z % 5], 0, 65535).astype(np.uint16), (repeats, repeats))

    said = {"axes": "ZYX", "PhysicalSizeX": 0.645, "PhysicalSizeXUnit": "um", "PhysicalSizeY": 0.645,
            "PhysicalSizeYUnit": "um", "PhysicalSizeZ": 4.0, "PhysicalSizeZUnit": "um"}  # fmt: skip
    tifffile.imwrite(path, pages(), shape=(planes, repeats * PATCH, repeats * PATCH), dtype=np.uint16, metadata=said)
    return path


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--planes", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = make_file(Path(folder), asked.side, asked.planes)
        viewer = napari.Viewer(show=True)
        panel = RefocusPanel(viewer)
        focuslab.load_model("default")  # torch is imported before memory is counted, as in any session
        with Peak(mapped=True) as peak:
            layer = open_file(viewer, path, focuslab.read(path))
            for name, value in (("na", OPTICS.na), ("wavelength_um", OPTICS.wavelength_um)):
                panel.images.fields[name].setText(str(value))
                panel.images.fields[name].editingFinished.emit()
            first = until(lambda: panel.preview.layer is not None)
            until(lambda: not panel.preview.busy)
            viewer.scene.camera.zoom = 1 / OPTICS.pixel_size_um
            until(lambda: panel.preview.busy)
            exact = until(lambda: not panel.preview.busy)
            seen = peak.mib
            panel.applying.scope.setCurrentIndex(1)
            panel.applying.how.setCurrentIndex(1)
            panel.applying.apply.click()
            job = panel.applying.job
            worker = job._worker
            ended: list[float] = []
            worker.finished.connect(lambda: ended.append(time.perf_counter()))
            until_then = time.perf_counter() + asked.seconds
            until(lambda: time.perf_counter() > until_then)
            share = job.bar.value() / job.bar.maximum()
            began = time.perf_counter()
            job.stop.click()
            ready = time.perf_counter() - began
            until(lambda: bool(ended))
        print(f"{layer.data.shape} {layer.data.dtype}")
        print(f"first picture after {first:.1f} s; zoomed in, exact {exact:.1f} s later")
        print(f"memory: +{seen:.0f} MiB after the previews, +{peak.mib:.0f} MiB through {asked.seconds:.0f} s of Apply")
        print(f"Apply was at {share:.1%} when it was cancelled")
        print(f"panel ready {1e3 * ready:.0f} ms after Cancel, work ended {ended[0] - began:.2f} s after it")
        panel.close_panel()
        viewer.close()


if __name__ == "__main__":
    main()
