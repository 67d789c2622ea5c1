"""The other panels in a real viewer: focus, synthesis, batch, training."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

import focuslab
from focuslab.refocusing import RefocusRequest
from focuslab.samples import sample

pytest.importorskip("napari", reason="the gui extra is not installed; make test installs it")

from focuslab_napari.batch_panel import LAYERS, SHIFT_PX, BatchPanel
from focuslab_napari.focus_panel import FocusPanel
from focuslab_napari.on_screen import plane_on_screen
from focuslab_napari.opening import layer_of, open_file
from focuslab_napari.panel import Panel
from focuslab_napari.preferences import choose_focus_axis
from focuslab_napari.synthesis_panel import OPTICS, SynthesisPanel
from focuslab_napari.training_panel import NOTHING, TrainingPanel
from focuslab_napari.training_process import LAYERS_FOLDER, TrainingOrder
from focuslab_training.status import TrainingStatus

STACK, TRUTH = sample("nuclei_20x")


@pytest.fixture
def opened(make_napari_viewer: Any, qtbot: Any, tmp_path: Path) -> Iterator[Callable[[type], Any]]:
    """Make a panel in a viewer that shows the sample; everything is let go of in the end."""
    from qtpy.QtCore import QSettings

    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    made: list[Panel] = []

    def make(kind: type) -> Any:
        viewer = make_napari_viewer()
        pixels, keywords = layer_of(STACK, "nuclei")
        viewer.add_image(pixels, **keywords)
        made.append(kind(viewer))
        return made[-1]

    yield make
    for panel in made:
        job = getattr(panel, "job", None)
        panel.close_panel()
        if job is not None:
            qtbot.waitUntil(lambda job=job: not job.running, timeout=60_000)


def run(qtbot: Any, panel: Any, button: Any) -> None:
    with qtbot.waitSignal(panel.job.finished, timeout=120_000):
        button.click()


def test_focus(opened: Any, qtbot: Any) -> None:
    panel = opened(FocusPanel)
    viewer = panel.viewer
    viewer.dims.set_current_step(0, 3)
    run(qtbot, panel, panel.measure)
    assert [p.index for p in panel.found] == [(z,) for z in range(7)]
    curve = panel.plot.left.lines[0]
    assert list(curve.get_xdata()) == list(range(7)) and curve.get_ydata()[4] == pytest.approx(16, rel=0.1)
    assert "um" in panel.plot.left.get_ylabel() and "sharpest plane is 0" in panel.about.text()
    panel.best.click()
    assert viewer.dims.current_step[0] == 0
    panel.plot.picked.emit(4.4)
    assert viewer.dims.current_step[0] == 4

    viewer.dims.set_current_step(0, 3)
    run(qtbot, panel, panel.map)
    layer = viewer.layers["nuclei blur map"]
    assert np.nanmedian(layer.data) == pytest.approx(12, rel=0.15)
    assert layer.scale[0] > 0.645 * 32 and [str(u) for u in layer.units] == ["micrometer"] * 2
    run(qtbot, panel, panel.all)
    made = viewer.layers["nuclei all in focus"]
    assert made.data.shape == (320, 320) and made.data.dtype == np.uint16 and np.allclose(made.scale, 0.645)
    assert "Fused 7 planes" in panel.about.text()

    run(qtbot, panel, panel.measure)
    panel.images.fields["na"].setText("0.4")  # another microscope: distances are not what they were
    panel.images.fields["na"].editingFinished.emit()
    assert not panel.found and not panel.plot.left.lines
    run(qtbot, panel, panel.measure)
    assert panel.found
    panel.images.choose(made)  # another image: what was measured is not its own
    assert not panel.found and not panel.plot.left.lines


def test_what_was_measured_goes_with_its_image(opened: Any, qtbot: Any) -> None:
    panel = opened(FocusPanel)
    run(qtbot, panel, panel.measure)
    assert panel.found
    panel.viewer.layers.clear()
    assert not panel.found and panel.images.content == ()


def test_a_file_opens_in_the_middle_of_its_own_focus(opened: Any, tmp_path: Path) -> None:
    viewer, path = opened(FocusPanel).viewer, focuslab.write(tmp_path / "s.ome.tif", STACK)
    viewer.add_image(np.zeros((5, 2, 3, 32, 32), np.uint16), name="more axes")
    layer = open_file(viewer, path, focuslab.read(path))
    assert plane_on_screen(viewer, layer)[0] == STACK.size("Z") // 2


def test_numbers_typed_in_one_panel_are_known_in_the_others(opened: Any) -> None:
    focus = opened(FocusPanel)
    other = SynthesisPanel(focus.viewer)
    bare = focus.viewer.add_image(STACK.plane((2,)), name="bare")
    focus.images.choose(bare)
    other.images.choose(bare)
    assert other.unit == "px"
    for name, value in (("na", 0.5), ("wavelength_um", 0.461), ("pixel_size_um", 0.645)):
        focus.images.fields[name].setText(str(value))
        focus.images.fields[name].editingFinished.emit()
    assert other.images.fields["na"].text() == "0.5" and other.images.origins["na"].text() == "typed"
    assert other.unit == "um" and other.range.boxes["last"].suffix() == " um"
    other.close_panel()


def test_wavelengths_are_typed_per_channel(opened: Any) -> None:
    panel = opened(FocusPanel)
    both = panel.viewer.add_image(np.stack([TRUTH.plane()] * 2), name="both", axis_labels=("c", "y", "x"))
    panel.images.choose(both)
    for name, text in (("na", "0.5"), ("pixel_size_um", "0.645"), ("wavelength_um", "0.461, 0.6")):
        panel.images.fields[name].setText(text)
        panel.images.fields[name].editingFinished.emit()
    stack = panel.images.image.stack
    assert [stack.optics(c).wavelength_um for c in (0, 1)] == [0.461, 0.6]
    assert panel.images.fields["wavelength_um"].text() == "0.461, 0.6"
    panel.images.fields["wavelength_um"].setText("0.52")  # one for all
    panel.images.fields["wavelength_um"].editingFinished.emit()
    assert [panel.images.image.stack.optics(c).wavelength_um for c in (0, 1)] == [0.52, 0.52]


@pytest.mark.parametrize("way", ["model", "optics"])
def test_synthesis(opened: Any, qtbot: Any, way: str) -> None:
    panel = opened(SynthesisPanel)
    panel.viewer.dims.set_current_step(0, 0)
    panel.range.boxes["last"].setValue(12)
    panel.range.boxes["planes"].setValue(4)
    if way == "optics":
        panel.way.setCurrentText(OPTICS)
    run(qtbot, panel, panel.make)
    layer = panel.viewer.layers["nuclei synthetic stack"]
    assert layer.data.shape == (4, 320, 320) and np.allclose(layer.scale, (4.0, 0.645, 0.645))
    assert layer.metadata["focuslab"]["provenance"]["way"] == way
    apart = [np.std(layer.data[z] - STACK.plane((z,)).astype(float)) for z in range(4)]
    assert max(apart) < 30 < np.std(layer.data[3] - STACK.plane((0,)).astype(float))  # counts; the noise is 10 to 30


def test_phantoms(opened: Any, qtbot: Any) -> None:
    panel = opened(SynthesisPanel)
    panel.kind.setCurrentText("filaments")
    for name, value in (("size", 96), ("planes", 3), ("seed", 7)):
        panel.phantom.boxes[name].setValue(value)
    run(qtbot, panel, panel.simulate)
    noisy, clean = panel.viewer.layers["filaments 7"], panel.viewer.layers["filaments 7 truth"]
    assert noisy.data.shape == clean.data.shape == (3, 96, 96) and not clean.visible
    assert np.allclose(noisy.scale, (2.0, 0.65, 0.65))
    panel.images.choose(noisy)
    assert panel.unit == "um"
    panel.phantom.boxes["na"].setValue(1.4)  # in air
    run(qtbot, panel, panel.simulate)
    assert len(panel.viewer.layers) == 3  # refused in a sentence, nothing added


def test_batch_of_a_folder(opened: Any, qtbot: Any, tmp_path: Path) -> None:
    panel = opened(BatchPanel)
    source = tmp_path / "in"
    source.mkdir()
    focuslab.write(source / "good.ome.tif", STACK)
    (source / "bad.tif").write_bytes(b"not a TIFF")
    tifffile.imwrite(source / "blank.tif", np.full((32, 32), 7, np.uint16))
    panel.run.click()
    assert "folder for the results" in panel.about.text()
    panel.output.line.setText(str(tmp_path / "out"))
    panel.run.click()
    assert "folder of images" in panel.about.text()
    panel.folder.line.setText(str(source))
    panel.files.setText("*.png")
    panel.run.click()
    assert "matches" in panel.about.text()
    panel.files.setText("*.tif*")
    panel.move.setCurrentText(SHIFT_PX)
    panel.shift.boxes["shift"].setValue(2.0)
    run(qtbot, panel, panel.run)
    rows = [panel.list.item(i).text() for i in range(panel.list.count())]
    assert rows[0].startswith("bad.tif: ") and "7 planes" in rows[2]
    assert rows[1].startswith("blank.tif: 1 plane copied") and "nothing to refocus" in rows[1]
    assert "2 of 3 images" in panel.about.text() and "1 failed" in panel.about.text()
    assert focuslab.read(tmp_path / "out" / "good.ome.tif").provenance["request"] == {"shift_px": 2.0}
    panel.list.itemDoubleClicked.emit(panel.list.item(2))
    assert panel.viewer.layers[-1].data.shape == STACK.shape


def test_batch_of_layers(opened: Any, qtbot: Any, tmp_path: Path) -> None:
    panel = opened(BatchPanel)
    panel.viewer.add_image(np.zeros((8, 8, 3), np.uint8), name="colours", rgb=True)
    panel.source.setCurrentText(LAYERS)
    panel.output.line.setText(str(tmp_path / "out"))
    panel.viewer.layers.selection.clear()
    panel.run.click()
    assert "Select image layers" in panel.about.text()
    panel.viewer.layers.selection.update(panel.viewer.layers)
    run(qtbot, panel, panel.run)
    assert {p.name for p in (tmp_path / "out").glob("*.tif")} == {"nuclei.ome.tif"}
    assert "colour picture" in panel.list.item(1).text()
    assert focuslab.read(tmp_path / "out" / "nuclei.ome.tif").calibration.na == 0.5
    frames = panel.viewer.add_image(np.zeros((3, 64, 64), np.uint16), name="frames", axis_labels=("t", "y", "x"))
    choose_focus_axis(frames, 0)
    panel.viewer.layers.selection.clear()
    panel.viewer.layers.selection.add(frames)
    assert [job.open().axes for job in panel._layer_jobs(tmp_path / "out")] == ["ZYX"], "chosen in whichever panel"


def test_batch_of_layers_never_replaces_what_they_are_of(opened: Any, tmp_path: Path) -> None:
    panel, raw = opened(BatchPanel), focuslab.write(tmp_path / "raw.ome.tif", STACK)
    layer = open_file(panel.viewer, raw, focuslab.read(raw))
    panel.viewer.layers.selection = {layer}
    panel.source.setCurrentText(LAYERS)
    panel.overwrite.setChecked(True)
    panel.output.line.setText(str(tmp_path))
    panel.run.click()
    assert "open as a layer" in panel.about.text()
    assert np.array_equal(focuslab.read(raw).array, STACK.array)


def test_batch_takes_the_pixel_size_where_a_file_has_an_unknown_unit(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    said = {"unit": "furlong", "axes": "YX"}
    image = np.ones((16, 16), np.uint16)
    tifffile.imwrite(tmp_path / "in" / "a.tif", image, imagej=True, resolution=(2, 2), metadata=said)
    panel = opened(BatchPanel)
    panel.folder.line.setText(str(tmp_path / "in"))
    panel.output.line.setText(str(tmp_path / "out"))
    panel.known.fields["pixel_size_um"].setText("0.5")
    assert panel._jobs()[0].open().calibration.pixel_size_um == 0.5


def test_batch_is_told_what_files_do_not_say(opened: Any, qtbot: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "colours.tif", np.zeros((16, 16, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "in" / "stack.tif", np.zeros((2, 3, 16, 16), np.uint16), photometric="minisblack")
    panel = opened(BatchPanel)
    panel.folder.line.setText(str(tmp_path / "in"))
    panel.output.line.setText(str(tmp_path / "out"))
    run(qtbot, panel, panel.run)
    said = "\n".join(panel.list.item(i).text() for i in range(panel.list.count()))
    assert "'RGB per channel'" in said and "'Axes' " in said and "--" not in said
    panel.files.setText("colours*")
    panel.per_channel.setChecked(True)
    assert panel._jobs()[0].open().axes == "CYX"
    panel.files.setText("stack*")
    panel.axes.setText("TZYX")
    assert panel._jobs()[0].open().shape == (2, 3, 16, 16)
    panel.per_frame.setChecked(True)
    assert panel._request() == RefocusRequest(sharpest=True, per_frame=True)


def test_training_in_its_own_process(opened: Any, qtbot: Any, tmp_path: Path) -> None:
    panel = opened(TrainingPanel)
    panel.recipe.setCurrentText("smoke")
    panel.source.setCurrentText(NOTHING)
    panel.output.line.setText(str(tmp_path / "model"))
    panel.length.boxes["minutes"].setValue(600.0)  # it is stopped before that
    panel.train.click()
    qtbot.waitUntil(lambda: len(panel.plot.left.lines) > 0, timeout=240_000)
    again = TrainingPanel(panel.viewer)  # another panel, as after the viewer was closed, takes it up
    again.output.line.setText(str(tmp_path / "model"))
    again.output.changed.emit()
    assert not again.train.isEnabled() and again.stop.isEnabled()
    again.stop.click()
    qtbot.waitUntil(lambda: panel.train.isEnabled() and again.train.isEnabled(), timeout=120_000)
    assert "list of models" in panel.about.text()
    assert str(tmp_path / "model") in [panel.model.models.itemData(i) for i in range(panel.model.models.count())]
    assert not panel.picture.pixmap().isNull()
    panel.train.click()
    assert "holds a run already" in panel.about.text()
    again.close_panel()


def test_what_training_refuses_and_orders(
    opened: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = opened(TrainingPanel)
    assert panel.recipe.currentText() == "finetune" and panel.length["minutes"] == 10
    panel.train.click()
    assert "folder for the new model" in panel.about.text()
    panel.output.line.setText(str(tmp_path / "model"))
    panel.train.click()
    assert "folder of focal stacks" in panel.about.text()
    panel.source.setCurrentText(LAYERS)
    ordered: list[TrainingOrder] = []
    monkeypatch.setattr("focuslab_napari.training_panel.start_training", ordered.append)
    monkeypatch.setattr(panel, "_watch", lambda _: None)
    (tmp_path / "model" / "data").mkdir(parents=True)
    (raw := tmp_path / "model" / "data" / "20240312_cells.ome.tif").write_bytes(b"the user's own")
    data = tmp_path / "model" / LAYERS_FOLDER
    data.mkdir()
    (data / "notes.txt").write_text("mine")
    (data / "1_gone.ome.tif").write_bytes(b"of a larger selection")
    panel.train.click()
    assert "There is one focal stack" in panel.about.text() and not ordered
    panel.all.setChecked(True)
    run(qtbot, panel, panel.train)
    assert ordered[0].keep_none_apart and ordered[0].data == data
    assert sorted(p.name for p in data.iterdir()) == ["0_nuclei.focuslab.json", "0_nuclei.ome.tif", "notes.txt"]
    assert raw.read_bytes() == b"the user's own"
    assert focuslab.read(data / "0_nuclei.ome.tif").shape == STACK.shape
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    run(qtbot, panel, panel.train)
    assert panel.run is None and panel.train.isEnabled()  # refused in a sentence, no run was started
    monkeypatch.undo()
    command = TrainingOrder("finetune", tmp_path, tmp_path, 4.0, "default", "cpu", {"na": 0.5}).command()
    assert {"minutes.autoencoder=4.0", "stacks.na=0.5", "start=default"} < set(command)
    panel.source.setCurrentText("files of a folder")
    panel.folder.line.setText(str(tmp_path / "broken"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "one.tif").write_bytes(b"nothing")
    panel.train.click()
    qtbot.waitUntil(panel.train.isEnabled, timeout=240_000)
    assert "No usable focal stack" in panel.about.text()


def test_a_run_that_was_killed_can_be_gone_on_with(opened: Any, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    folder = tmp_path / "model"
    (folder / "training").mkdir(parents=True)
    status = TrainingStatus("smoke", ("autoencoder",), process=gone.pid, notes=tuple("abcde"))
    (folder / "training" / "status.json").write_text(json.dumps(dataclasses.asdict(status)))
    panel = opened(TrainingPanel)
    panel.output.line.setText(str(folder))
    panel.output.changed.emit()
    panel.look()
    assert panel.train.isEnabled() and "ended from outside" in panel.about.text()
    assert panel.notes.text() == "a\nb\nc\nand 2 more", "what is left out of the data"
    status.host = "another machine"
    (folder / "training" / "status.json").write_text(json.dumps(dataclasses.asdict(status)))
    panel.output.changed.emit()
    assert not panel.train.isEnabled()
    panel.output.line.setText(str(tmp_path / "new"))
    panel.output.changed.emit()
    assert panel.train.isEnabled(), "another folder is free, whatever goes on in the first"


def test_panels_start_without_torch() -> None:
    code = (
        "import sys; import focuslab_napari.focus_panel, focuslab_napari.synthesis_panel, focuslab_napari.batch_panel,"
        "focuslab_napari.training_panel, focuslab_napari.refocus_panel; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
