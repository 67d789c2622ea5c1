"""How fast a slider becomes a picture in a real viewer window, and how long our callbacks hold its thread.

    xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/napari_slider.py [--side 1024] [--moves 50]

A window whose canvas shows `side` x `side` pixels of a focal stack one to one. Fifty moves of the slider, each after
the last picture is exact: the time from the move to the first picture in the layer, and to the exact one. Beside it
the time that our own callbacks hold the GUI thread per move, and napari's own time to take a new picture of that size
and to draw it, on a viewer without the plugin.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from focuslab_napari.refocus_panel import RefocusPanel
from qtpy.QtWidgets import QApplication

from focuslab.optics import Optics, phantom
from focuslab.simulation import simulate_stack

OPTICS = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Let Qt work until something is so."""
    end = time.perf_counter() + seconds
    while not condition():
        QApplication.processEvents()
        if time.perf_counter() > end:
            raise TimeoutError("the viewer did not get there")
        time.sleep(0.0005)


def window(side: int) -> Any:
    """Viewer whose canvas is `side` px square."""
    viewer = napari.Viewer(show=True)
    main = viewer.window._qt_window
    canvas = viewer.window._qt_viewer.canvas.native
    main.resize(main.width() + side - canvas.width(), main.height() + side - canvas.height())
    until(lambda: True)
    return viewer


def unmodified(side: int, moves: int, image: np.ndarray) -> tuple[float, float]:
    """Median ms that napari takes to accept a new picture of a layer, and to draw it."""
    viewer = window(side)
    layer = viewer.add_image(image.astype(np.float32))
    taken, drawn = [], []
    for i in range(moves):
        picture = image.astype(np.float32) + i
        began = time.perf_counter()
        layer.data = picture
        taken.append(time.perf_counter() - began)
        began = time.perf_counter()
        viewer.window._qt_viewer.canvas.native.repaint()
        QApplication.processEvents()
        drawn.append(time.perf_counter() - began)
    viewer.close()
    return 1e3 * float(np.median(taken)), 1e3 * float(np.median(drawn))


class Stopwatch:
    """Adds up the time spent in wrapped methods of the panel, and the part of it that is napari's."""

    def __init__(self) -> None:
        self.ours: list[float] = []
        self._napari = 0.0
        self._depth = 0

    def wrap(self, owner: Any, name: str) -> None:
        """Time a method."""
        method = getattr(owner, name)

        def timed(*args: Any, **keywords: Any) -> Any:
            began, napari_before = time.perf_counter(), self._napari
            self._depth += 1
            try:
                return method(*args, **keywords)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.ours.append(time.perf_counter() - began - (self._napari - napari_before))

        setattr(owner, name, timed)

    def napari_takes(self, seconds: float) -> None:
        """Count time that napari itself spent."""
        self._napari += seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--moves", type=int, default=50)
    asked = parser.parse_args()
    light = phantom("nuclei", (asked.side + 160, asked.side + 160), seed=4, scale_px=16)
    stack, _ = simulate_stack(light, OPTICS, distances_um=[8.0, 12.0, 16.0])
    plain = unmodified(asked.side, 20, np.asarray(stack.array)[0][: asked.side, : asked.side])

    viewer = window(asked.side)
    panel = RefocusPanel(viewer)
    panel.resize(1, 1)
    pixel = OPTICS.pixel_size_um
    viewer.add_image(np.asarray(stack.array), scale=(4.0, pixel, pixel), units="um", axis_labels=("z", "y", "x"))
    for name, value in (("na", OPTICS.na), ("wavelength_um", OPTICS.wavelength_um)):
        panel.images.fields[name].setText(str(value))
        panel.images.fields[name].editingFinished.emit()
    viewer.scene.camera.zoom = 1 / pixel
    until(lambda: panel.shift.level_px is not None)
    until(lambda: not panel.preview.busy)
    y0, y1, x0, x1 = panel.preview.shown[0].rectangle

    stopwatch, pictures = Stopwatch(), []
    preview = panel.preview
    panel.preview.drawn.connect(lambda made: pictures.append((time.perf_counter(), made[1].exact)))
    layer_type = type(preview.layer)
    take = layer_type.data.fset

    def timed_data(layer: Any, value: Any) -> None:
        began = time.perf_counter()
        take(layer, value)
        stopwatch.napari_takes(time.perf_counter() - began)

    layer_type.data = layer_type.data.setter(timed_data)
    for name in ("_ask", "_made", "_start", "_finished", "refresh"):
        stopwatch.wrap(preview, name)
    preview._timer.timeout.disconnect()
    preview._timer.timeout.connect(lambda: preview._ask())
    first, exact = [], []
    for position in np.random.default_rng(0).uniform(-15, 8, asked.moves):
        pictures.clear()
        began = time.perf_counter()
        panel.shift.slider.set_value(float(position))
        until(lambda: len(pictures) >= 2 and pictures[-1][1] and not preview.busy)
        first.append(1e3 * (pictures[0][0] - began))
        exact.append(1e3 * (pictures[-1][0] - began))
    held = 1e3 * np.array(stopwatch.ours)
    panel.close_panel()
    viewer.close()
    print(f"visible region {y1 - y0} x {x1 - x0} px, {asked.moves} moves, median and 95th percentile")
    for name, values in (
        ("first picture", first),
        ("exact picture", exact),
        ("our callbacks hold the GUI thread", held),
    ):
        print(f"{name}: {np.median(values):.0f} ms, {np.percentile(values, 95):.0f} ms")
    print(f"napari alone, the same size: takes a picture in {plain[0]:.0f} ms, draws it in {plain[1]:.0f} ms")


if __name__ == "__main__":
    main()
