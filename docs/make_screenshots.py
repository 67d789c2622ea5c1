"""The pictures of docs/napari.md: a newcomer's path through the panel, by mouse and keyboard alone.

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_screenshots.py [--out docs/images]

Open a sample, take a plane to the sharpest, wipe, apply, check, save, reopen. Every step is a click or a key on the
widget that a person would use; the script fails where a step does not do what the tutorial says.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from focuslab_napari.opening import open_file, open_panel
from qtpy.QtCore import QPoint, QSettings, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox, QWidget

import focuslab

SIZE = (1280, 860)
SECONDS = 180.0


def until(condition: Callable[[], bool]) -> None:
    """Let Qt work until something is so."""
    end = time.monotonic() + SECONDS
    while not condition():
        QApplication.processEvents()
        if time.monotonic() > end:
            raise TimeoutError("a step of the tutorial did not happen")
        time.sleep(0.005)


def click(widget: QWidget, at: QPoint | None = None) -> None:
    """Click a widget, in its middle or at a place."""
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton, pos=at or widget.rect().center())
    QApplication.processEvents()


def choose(box: QComboBox, text: str) -> None:
    """Choose an entry by typing on a combo box."""
    box.setFocus()
    while box.currentText() != text:
        QTest.keyClick(box, Qt.Key.Key_Down)


class Walk:
    """The viewer, its panel, and the pictures taken on the way."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.viewer = napari.Viewer(title="FocusLab", show=True)
        self.viewer.window._qt_window.resize(*SIZE)
        self.panel = open_panel(self.viewer)
        QApplication.processEvents()

    def settled(self) -> None:
        """Wait until the preview is exact."""
        until(lambda: not self.panel.preview.busy and self.panel.preview.layer is not None)

    def picture(self, name: str) -> None:
        """Take a picture of the window."""
        for _ in range(10):
            QApplication.processEvents()
            time.sleep(0.03)
        self.viewer.screenshot(str(self.out / f"napari_{name}.png"), canvas_only=False, flash=False)


def walk(out: Path, folder: Path) -> None:
    """All steps of the tutorial."""
    path = Walk(out)
    viewer, panel = path.viewer, path.panel
    viewer.open_sample("focuslab", "nuclei")  # File > Open Sample > FocusLab > Nuclei
    panel.images.choose(viewer.layers["nuclei_20x"])
    viewer.dims.set_current_step(0, 4)  # the slider below the canvas
    path.settled()
    path.picture("opened")

    click(panel.shift.sharpest)
    path.settled()
    y0, y1, x0, x1 = panel.preview.shown[0].rectangle
    before = np.asarray(viewer.layers["nuclei_20x"].data[4, y0:y1, x0:x1], float)
    truth = np.asarray(viewer.layers["nuclei_20x truth"].data[y0:y1, x0:x1], float)
    made = np.asarray(panel.preview.layer.data, float)
    assert np.mean((made - truth) ** 2) < np.mean((before - truth) ** 2) / 3, "sharpest is not nearer to the truth"
    path.picture("sharpest")

    wipe = panel.compare.wipe
    for _ in range(5):
        QTest.keyClick(wipe, Qt.Key.Key_PageUp)
    assert panel.preview.layer.data.shape[1] < before.shape[1], "the wipe does not cut the preview"
    path.picture("wipe")
    for _ in range(5):
        QTest.keyClick(wipe, Qt.Key.Key_PageDown)

    click(panel.trust.check)
    until(lambda: panel.trust.about.text() != "" and not panel.trust.job.running)
    choose(panel.applying.scope, "all focal planes here")
    choose(panel.applying.how, "each to the sharpest")
    click(panel.applying.apply)
    until(lambda: panel.applying.result is not None)
    panel.preview.layer.visible = False
    panel.ensureWidgetVisible(panel.trust)
    path.picture("applied")

    saved = folder / "nuclei_sharp.ome.tif"
    panel.applying.save_to(saved)  # the file dialog of Save result
    panel.close_panel()
    viewer.close()

    again = Walk(out)
    stack = focuslab.read(saved)
    layer = open_file(again.viewer, saved, stack)  # focuslab gui nuclei_sharp.ome.tif
    assert np.allclose(layer.scale, (4.0, 0.645, 0.645)), "the scale is lost"
    assert stack.provenance["operation"] == "refocus", "the provenance is lost"
    again.settled()
    again.picture("reopened")
    again.panel.close_panel()
    again.viewer.close()


def main() -> None:
    """Walk the path and keep the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)
        walk(asked.out, Path(folder))


if __name__ == "__main__":
    main()
