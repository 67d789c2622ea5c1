"""The pictures of docs/napari.md: a newcomer's path through the panels, by mouse and keyboard alone.

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_screenshots.py [--out docs/images]

Open a sample, take a plane to the sharpest, wipe, apply, check, save, reopen; then the other panels. Every step is a
click or a key on the widget that a person would use; the script fails where a step does not do what the tutorial says.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import torch
from focuslab_napari.opening import open_file
from napari._qt.dialogs.qt_notification import NapariQtNotification
from qtpy.QtCore import QPoint, QSettings, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox, QLineEdit, QWidget

import focuslab
import focuslab.samples
from focuslab.optics import Optics, defocus_volume, phantom

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


def answer_dialog(path: str) -> None:
    """Type a path into the file dialog that is about to open, and press Enter."""
    typed: list[str] = []

    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        line = dialog.findChild(QLineEdit) if dialog is not None else None
        if line is not None:
            line.clear()
            QTest.keyClicks(line, path)
            QTest.keyClick(line, Qt.Key.Key_Return)
        if line is None and typed:
            return  # it has closed
        typed.extend([path] * (line is not None))
        QTimer.singleShot(1000 if typed else 100, answer)  # again, if the key came too early

    QTimer.singleShot(100, answer)


class Walk:
    """The viewer, one panel, and the pictures taken on the way."""

    def __init__(self, out: Path, panel: str = "Refocus") -> None:
        self.out = out
        self.viewer = napari.Viewer(title="FocusLab", show=True)
        self.viewer.window._qt_window.resize(*SIZE)
        _, self.panel = self.viewer.window.add_plugin_dock_widget("focuslab", panel)
        QApplication.processEvents()

    def sample(self) -> None:
        """Open the sample: File > Open Sample > FocusLab > Nuclei."""
        self.viewer.open_sample("focuslab", "nuclei")
        self.viewer.layers.selection.active = self.viewer.layers["nuclei_20x"]
        if hasattr(self.panel, "images"):
            self.panel.images.choose(self.viewer.layers["nuclei_20x"])

    def job(self, button: QWidget) -> None:
        """Click a button and wait for its work."""
        click(button)
        until(lambda: not self.panel.job.running)

    def close(self) -> None:
        """Close panel and viewer."""
        self.panel.close_panel()
        self.viewer.close()

    def settled(self) -> None:
        """Wait until the preview is exact."""
        until(lambda: not self.panel.preview.busy and self.panel.preview.layer is not None)

    def picture(self, name: str) -> None:
        """Take a picture of the window, when messages over it have been closed."""
        for toast in self.viewer.window._qt_window.findChildren(NapariQtNotification):
            toast.hide()
        for _ in range(10):
            QApplication.processEvents()
            time.sleep(0.03)
        self.viewer.screenshot(str(self.out / f"napari_{name}.png"), canvas_only=False, flash=False)


def walk(out: Path, folder: Path) -> None:
    """All steps of the tutorial."""
    path = Walk(out)
    viewer, panel = path.viewer, path.panel
    path.sample()
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
    until(panel.applying.save.isEnabled)
    panel.preview.layer.visible = False
    panel.ensureWidgetVisible(panel.trust)
    path.picture("applied")

    saved = folder / "nuclei_sharp.ome.tif"
    answer_dialog(str(saved))
    click(panel.applying.save)
    until(lambda: saved.is_file() and not panel.applying.job.running)
    path.close()

    again = Walk(out)
    stack = focuslab.read(saved)
    layer = open_file(again.viewer, saved, stack)  # focuslab gui nuclei_sharp.ome.tif
    assert np.allclose(layer.scale, (4.0, 0.645, 0.645)), "the scale is lost"
    assert stack.provenance["operation"] == "refocus", "the provenance is lost"
    again.settled()
    again.picture("reopened")
    again.close()


def tilted() -> focuslab.FocalStack:
    """Focal stack of nuclei on a slide that rises by 24 um from left to right."""
    optics = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
    light = torch.from_numpy(phantom("nuclei", (512, 512), seed=17, scale_px=16))
    height = torch.linspace(0, 24, 512)
    slices = torch.stack([light * (1 - (height / 2 - k).abs()).clamp(min=0) for k in range(13)])
    planes = defocus_volume(slices, optics, z_step_um=2.0, focus_um=[4.0 * z for z in range(7)]).numpy()
    planes = planes + np.random.default_rng(0).normal(0, 0.01, planes.shape)
    counts = (110 + 1500 * planes).clip(0, 65535).astype(np.uint16)
    known = focuslab.Calibration(pixel_size_um=0.645, z_step_um=4.0, na=0.5, index=1.0, wavelengths_um=(0.461,))
    return focuslab.FocalStack(counts, "ZYX", known)


def focus(out: Path) -> None:
    """Measure a stack of a tilted slide, map the blur of a plane."""
    path = Walk(out, "Focus")
    layer = open_file(path.viewer, Path("tilted.ome.tif"), tilted())
    path.viewer.dims.set_current_step(0, 0)
    path.job(path.panel.measure)
    path.job(path.panel.map)
    assert f"{layer.name} blur map" in path.viewer.layers, "there is no blur map"
    assert "From left to right it changes" in path.panel.about.text(), "the tilt is not seen"
    path.picture("focus")
    path.job(path.panel.all)
    assert f"{layer.name} all in focus" in path.viewer.layers, "nothing is all in focus"
    path.close()


def synthesis(out: Path) -> None:
    """Make a focal stack of the plane in focus."""
    path = Walk(out, "Synthesis")
    path.sample()
    path.viewer.dims.set_current_step(0, 0)
    path.job(path.panel.make)
    path.viewer.dims.set_point(0, 8.0)
    assert path.viewer.layers["nuclei_20x synthetic stack"].data.shape[0] == 11, "there is no focal stack"
    path.picture("synthesis")
    path.close()


def batch(out: Path, folder: Path) -> None:
    """Take the sample files to the sharpest, with a file among them that is none."""
    path = Walk(out, "Batch")
    panel = path.panel
    source = folder / "images"
    source.mkdir()
    for name in ("nuclei_20x", "filaments_40x"):
        focuslab.write(source / f"{name}.ome.tif", focuslab.samples.sample(name)[0])
    (source / "notes.tif").write_text("not a TIFF")
    QTest.keyClicks(panel.folder.line, source.name)
    QTest.keyClicks(panel.output.line, "sharp")
    path.job(panel.run)
    assert panel.list.count() == 3 and "2 of 3" in panel.about.text(), "the batch is not done"
    panel.list.itemDoubleClicked.emit(panel.list.item(1))
    panel.ensureWidgetVisible(panel.about)
    path.picture("batch")
    path.close()


def training(out: Path) -> None:
    """Fine-tune on the sample for a minute and stop."""
    path = Walk(out, "Training")
    panel = path.panel
    path.sample()
    choose(panel.source, "selected layers")
    panel.all.setChecked(True)  # one stack alone
    QTest.keyClicks(panel.output.line, "my_model")
    click(panel.train)
    until(lambda: len(panel.plot.left.lines) > 0 and len(panel.plot.left.lines[0].get_xdata()) >= 3)
    panel.ensureWidgetVisible(panel.about)
    path.picture("training")
    click(panel.stop)
    until(panel.train.isEnabled)
    assert "list of models" in panel.about.text(), "there is no new model"
    path.close()


def main() -> None:
    """Walk the path and keep the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    out = parser.parse_args().out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)
        walk(out, Path(folder))
        focus(out)
        synthesis(out)
        with contextlib.chdir(folder):
            batch(out, Path(folder))
            training(out)


if __name__ == "__main__":
    main()
