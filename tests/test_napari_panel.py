"""The refocus panel in a real viewer: needs a display with OpenGL (`xvfb-run -a`)."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import focuslab
from focuslab.models.bundle import Model
from focuslab.optics import Optics, phantom, psf
from focuslab.quality.classical import convolved

pytest.importorskip("napari", reason="the gui extra is not installed; make test installs it")

from focuslab_napari.apply_box import EACH_TIME, SHARPEST
from focuslab_napari.refocus_panel import RefocusPanel
from focuslab_napari.two_planes_box import noise_gain

OPTICS = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
LIGHT = phantom("nuclei", (192, 192), seed=77, scale_px=14)
LEVELS_UM = (0.0, 6.0, 10.0)


def plane(level_um: float, seed: int = 0) -> np.ndarray:
    blurred = convolved(LIGHT, psf(OPTICS, level_um)[0])
    counts = 110 + 1500 * blurred + 8 * np.random.default_rng(seed).standard_normal(LIGHT.shape)
    return counts.clip(0, 65535).astype(np.uint16)


STACK = np.stack([plane(level, i) for i, level in enumerate(LEVELS_UM)])
SPACE = {"scale": (4.0, 0.645, 0.645), "units": "um", "axis_labels": ("z", "y", "x")}


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


@pytest.fixture
def panel(viewer: Any, qtbot: Any, tmp_path: Path) -> Iterator[RefocusPanel]:
    from qtpy.QtCore import QSettings

    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path))
    made = RefocusPanel(viewer)
    yield made
    qtbot.waitUntil(lambda: not made.applying.job.running, timeout=60_000)
    made.close_panel()
    qtbot.waitUntil(lambda: made.preview._worker is None, timeout=60_000)


@pytest.fixture
def settle(panel: RefocusPanel, qtbot: Any) -> Callable[[], None]:
    def wait() -> None:
        qtbot.waitUntil(lambda: not panel.preview.busy, timeout=120_000)

    return wait


def type_optics(panel: RefocusPanel, **said: float) -> None:
    for name, value in said.items():
        panel.images.fields[name].setText(str(value))
        panel.images.fields[name].editingFinished.emit()


def psnr(made: np.ndarray) -> float:
    truth = 110 + 1500 * LIGHT.astype(float)
    return float(10 * np.log10(1500**2 / np.mean((made - truth) ** 2)))


def test_slide_see_apply_save(viewer: Any, panel: RefocusPanel, qtbot: Any, settle: Any, tmp_path: Path) -> None:
    layer = viewer.add_image(STACK, name="stack", translate=(0, 5, 7), contrast_limits=(100, 1500), **SPACE)
    type_optics(panel, na=0.5, wavelength_um=0.461)
    assert "Calibrated" in panel.images.state.text()
    viewer.dims.set_current_step(0, 2)
    settle()
    assert panel.shift.unit == "um"
    assert panel.shift.level_px == pytest.approx(OPTICS.radius_px(10.0), rel=0.2)

    panel.shift.sharpest.click()
    settle()
    preview = panel.preview.layer
    assert psnr(np.asarray(preview.data)) > psnr(STACK[2]) + 3
    assert tuple(preview.contrast_limits) == (100, 1500)

    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    result = panel.applying.result
    assert result.data.dtype == np.uint16
    assert np.abs(result.data.astype(float) - preview.data).max() <= 0.01 * np.ptp(preview.data)  # bfloat16
    assert np.allclose(result.scale, layer.scale[1:]) and np.allclose(result.translate, layer.translate[1:])
    assert [str(u) for u in result.units] == ["micrometer", "micrometer"]
    assert result.axis_labels == ("y", "x")
    assert result.metadata["focuslab"]["provenance"]["model"]["name"] == "default"

    qtbot.waitUntil(panel.applying.save.isEnabled, timeout=60_000)
    with qtbot.waitSignal(panel.applying.job.finished, timeout=60_000):
        panel.applying.save_to(tmp_path / "result.ome.tif")
    again = focuslab.read(tmp_path / "result.ome.tif")
    assert again.calibration.pixel_size_um == pytest.approx(0.645)
    assert again.provenance["operation"] == "refocus"
    assert np.array_equal(np.asarray(again.array), result.data)

    qtbot.waitUntil(panel.applying.apply.isEnabled, timeout=60_000)
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    assert panel.applying.result is result  # running again updates it


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((1,), "yx"), ((2,), "zyx"), ((2, 1), "tzyx"), ((1, 2), "czyx")],
    ids=["2D", "ZYX", "TZYX", "CZYX"],
)
@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_metadata_of_a_whole_stack(
    viewer: Any, panel: RefocusPanel, qtbot: Any, shape: tuple[int, ...], labels: str, lazy: bool
) -> None:
    part = STACK[1:, :64, :64]
    data = part[0] if labels == "yx" else np.broadcast_to(part[: shape[-1]], (*shape, 64, 64)).copy()
    if lazy:
        array = pytest.importorskip("dask.array")
        data = array.from_array(data, chunks=(*(1,) * (data.ndim - 2), 32, 32))
    units = ["um" if a in "zyx" else "pixel" for a in labels]
    scale = [2.0 if a == "z" else 0.645 if a in "yx" else 1.0 for a in labels]
    layer = viewer.add_image(data, scale=scale, units=units, axis_labels=tuple(labels), translate=range(len(labels)))
    panel.compare.live.setChecked(False)
    panel.shift.slider.set_value(-1.0)
    panel.applying.scope.setCurrentIndex(2)
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    result = panel.applying.result
    for name in ("scale", "translate", "units", "axis_labels"):
        assert np.all(np.asarray(getattr(result, name)) == np.asarray(getattr(layer, name))), name
    assert result.data.shape == layer.data.shape and result.data.dtype == layer.data.dtype
    assert not np.array_equal(result.data, np.asarray(layer.data))


def test_each_time_point_may_have_a_level_of_its_own(viewer: Any, panel: RefocusPanel, qtbot: Any) -> None:
    space = {"scale": (1, 0.645, 0.645), "units": ("pixel", "um", "um"), "axis_labels": ("t", "y", "x")}
    viewer.add_image(STACK[1:], **space)
    panel.compare.live.setChecked(False)
    panel.applying.scope.setCurrentIndex(2)
    panel.applying.how.setCurrentText(SHARPEST)
    panel.applying.levels.setCurrentText(EACH_TIME)
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000) as applied:
        panel.applying.apply.click()
    _, _, _, provenance = applied.args[0]
    assert len({plane["level_px"] for plane in provenance["planes"]}) == 2


def test_a_late_picture_never_lands_on_another_plane(viewer: Any, panel: RefocusPanel, settle: Any) -> None:
    viewer.add_image(STACK, **SPACE)
    viewer.dims.set_current_step(0, 1)
    settle()
    first = panel.preview.shown
    viewer.dims.set_current_step(0, 2)
    assert not panel.preview.layer.visible  # gone at once, not when the next picture comes
    panel.preview._made(first[0], type("Late", (), {"counts": first[1], "exact": True})())
    settle()
    assert panel.preview.shown[0].planes == ((2,),) and panel.preview.layer.visible


@pytest.mark.parametrize("level", [15.8349, 15.8351, 7.0])
def test_the_sharpest_is_not_called_extrapolated_because_it_was_rounded(qtbot: Any, level: float) -> None:
    from focuslab_napari.range_slider import RangeSlider

    slider = RangeSlider(-20.0, 20.0)
    qtbot.addWidget(slider)
    slider.set_range(-20.0, 20.0, (-level, 15.0))
    slider.set_value(-level)
    assert not slider.beyond
    slider.set_value(-level - 0.02)
    assert slider.beyond


def test_a_slider_that_a_level_moves_says_so(qtbot: Any) -> None:
    from focuslab_napari.session import LevelFound
    from focuslab_napari.shift_box import ShiftBox

    box = ShiftBox()
    qtbot.addWidget(box)
    box.show_plane((0,), None, (0.0, 45.0))
    box.slider.set_value(-20.0)
    with qtbot.waitSignal(box.changed):
        box.tell(LevelFound((0,), 5.0, None, None))
    assert box.move.value > -20.0


def test_a_typed_distance_stays_one_when_the_microscope_is_corrected(qtbot: Any) -> None:
    from focuslab_napari.shift_box import ShiftBox

    box, trained = ShiftBox(), (0.0, 45.0)
    qtbot.addWidget(box)
    box.show_plane((0,), OPTICS, trained)
    box.level.setValue(8.0)
    assert box.level_px == pytest.approx(OPTICS.radius_px(8.0))
    corrected = OPTICS.replace(na=0.25)
    box.show_plane((0,), corrected, trained)
    assert box.typed_level((0,)) == box.level_px == pytest.approx(corrected.radius_px(8.0))
    box.show_plane((0,), None, trained)
    assert box.level_px is None, "um mean nothing there"
    box.level.setValue(5.0)
    box.show_plane((0,), OPTICS, trained)
    assert box.level_px == 5.0, "px are px"


def test_a_shift_stays_the_same_blur_in_another_unit(qtbot: Any) -> None:
    from focuslab_napari.shift_box import ShiftBox

    box, trained = ShiftBox(), (0.0, 45.0)
    qtbot.addWidget(box)
    box.show_plane((0,), None, trained)
    box.slider.set_value(-3.0)
    box.show_plane((0,), OPTICS, trained)
    assert box.slider.value == pytest.approx(-OPTICS.defocus_um(3.0), abs=0.02)
    box.show_plane((0,), OPTICS.replace(na=0.4), trained)
    assert box.slider.value == pytest.approx(-OPTICS.defocus_um(3.0), abs=0.02), "um stay um"
    box.show_plane((0,), None, trained)
    assert box.slider.value == pytest.approx(-3.0 * 0.4 / 0.5, rel=0.1)


def test_the_viewer_keeps_its_keys_and_its_selection(viewer: Any, qtbot: Any) -> None:
    labels, own = viewer.add_labels(np.zeros((192, 192), int)), lambda _: None
    viewer.bind_key("B", own)
    made, other = RefocusPanel(viewer), RefocusPanel(viewer)
    viewer.add_image(STACK[2], scale=(0.645, 0.645), units="um", axis_labels=("y", "x"))
    viewer.layers.selection.active = labels
    qtbot.waitUntil(lambda: made.preview.layer is not None and not made.preview.busy, timeout=120_000)
    assert viewer.layers.selection.active is labels and set(viewer.layers.selection) == {labels}
    made.close_panel()
    taken = viewer.bind_key("B", None)
    assert taken is not own, "the other panel has it"
    viewer.bind_key("B", taken)
    other.close_panel()
    assert viewer.bind_key("B", None) is own
    qtbot.waitUntil(lambda: made.preview._worker is None and other.preview._worker is None, timeout=60_000)


def test_two_planes_of_another_time_point_are_others(qtbot: Any) -> None:
    from focuslab_napari.session import LevelFound
    from focuslab_napari.two_planes_box import TwoPlanesBox

    box = TwoPlanesBox()
    qtbot.addWidget(box)
    box.show_stack(3)
    for plane, level in ((0, 3.0), (1, 6.0)):
        box.tell(plane, (0, None), LevelFound((0, plane), level, None, None))
    assert "A is 3.0 px" in box.about.text()
    box.tell(0, (1, None), LevelFound((1, 0), 5.0, None, None))
    assert "px out of focus" not in box.about.text(), "the level of B is not known there"


def test_the_preview_follows_the_looks_of_its_layer(viewer: Any, panel: RefocusPanel, settle: Any) -> None:
    layer = viewer.add_image(STACK[1], name="a", **{**SPACE, "scale": (0.645, 0.645), "axis_labels": ("y", "x")})
    type_optics(panel, na=0.5, wavelength_um=0.461)
    settle()
    preview = panel.preview.layer
    layer.contrast_limits, layer.colormap, layer.gamma = (0, 500), "magenta", 0.7
    assert tuple(preview.contrast_limits) == (0, 500)
    assert preview.colormap.name == "magenta" and preview.gamma == 0.7


def test_the_layer_left_when_another_is_deleted_gets_its_preview(
    viewer: Any, panel: RefocusPanel, settle: Any, qtbot: Any
) -> None:
    flat = {**SPACE, "scale": (0.645, 0.645), "axis_labels": ("y", "x")}
    first = viewer.add_image(STACK[1], name="a", **flat)
    second = viewer.add_image(STACK[2], name="b", **flat)
    panel.images.choose(second)
    type_optics(panel, na=0.5, wavelength_um=0.461)
    settle()
    viewer.layers.remove(second)
    assert panel.images.layer is first
    settle()
    qtbot.waitUntil(lambda: panel.preview.layer is not None, timeout=60_000)
    assert panel.preview.layer.metadata["focuslab"]["preview"] == first.unique_id


def test_what_was_checked_is_said_of_its_plane_only(viewer: Any, panel: RefocusPanel, qtbot: Any, settle: Any) -> None:
    viewer.add_image(STACK, name="stack", **SPACE)
    type_optics(panel, na=0.5, wavelength_um=0.461)
    viewer.dims.set_current_step(0, 2)
    settle()
    asked = panel._to_check()[1]
    assert asked.estimate is panel.shift.estimate is not None, "the doubt of a level that was read goes with it"
    with qtbot.waitSignal(panel.trust.job.finished, timeout=120_000):
        panel.trust.check.click()
    qtbot.waitUntil(lambda: panel.trust.about.text().startswith("stack, plane 2:"), timeout=10_000)
    viewer.dims.set_current_step(0, 1)
    assert panel.trust.about.text() == ""


def test_two_planes(viewer: Any, panel: RefocusPanel, settle: Any) -> None:
    viewer.add_image(STACK, **SPACE)
    type_optics(panel, na=0.5, wavelength_um=0.461)
    panel.tabs.setCurrentWidget(panel.pair)
    panel.pair.a.setValue(2)
    panel.pair.b.setValue(1)
    panel.pair.slider.set_value(0.0)
    settle()
    assert np.abs(panel.preview.layer.data - STACK[2].astype(float)).max() < 2
    panel.pair.slider.set_value(2.5)
    settle()
    assert psnr(np.asarray(panel.preview.layer.data)) > psnr(STACK[1])
    assert "Extrapolation" in panel.pair.about.text()
    assert noise_gain(0.5) == pytest.approx(0.707, abs=1e-3) and noise_gain(8) == pytest.approx(10.63, abs=0.01)


def test_what_two_planes_show_is_applied(viewer: Any, panel: RefocusPanel, qtbot: Any, settle: Any) -> None:
    viewer.add_image(STACK, name="stack", **SPACE)
    type_optics(panel, na=0.5, wavelength_um=0.461)
    panel.tabs.setCurrentWidget(panel.pair)
    panel.pair.a.setValue(2)
    panel.pair.b.setValue(1)
    panel.pair.slider.set_value(1.6)
    settle()
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    made, shown = viewer.layers["stack between planes"], np.asarray(panel.preview.layer.data)
    assert np.abs(made.data.astype(float) - shown).max() <= 0.01 * np.ptp(shown)
    said = made.metadata["focuslab"]["provenance"]
    assert said["operation"] == "between" and said["request"] == {"plane_a": 2, "plane_b": 1, "t": 1.6}
    qtbot.waitUntil(panel.applying.apply.isEnabled, timeout=60_000)
    panel.applying.scope.setCurrentIndex(2)
    panel.applying.apply.click()
    qtbot.waitUntil(lambda: not panel.applying.job.running, timeout=60_000)  # one picture, refused for all
    assert [layer.name for layer in viewer.layers].count("stack refocused") == 0


def test_a_plane_without_structure_is_applied_unchanged(
    viewer: Any, panel: RefocusPanel, qtbot: Any, settle: Any
) -> None:
    noise = np.random.default_rng(0).normal(500, 20, (128, 128)).astype(np.uint16)
    viewer.add_image(noise, name="noise", scale=(0.645, 0.645), units="um", axis_labels=("y", "x"))
    settle()
    assert "No structure" in panel.shift.about.text()
    panel.shift.slider.set_value(3.0)
    settle()
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    assert np.array_equal(panel.applying.result.data, noise)
    with qtbot.waitSignal(panel.trust.job.finished, timeout=120_000):
        panel.trust.check.click()
    assert "No structure" in panel.trust.about.text()


def test_a_level_that_was_read_is_not_called_given(viewer: Any, panel: RefocusPanel, qtbot: Any, settle: Any) -> None:
    viewer.add_image(STACK[2], name="plane", scale=(0.645, 0.645), units="um", axis_labels=("y", "x"))
    for level, said in ((None, "estimated"), (8.0, "given")):
        if level is not None:
            panel.shift.level.setValue(level)
        settle()
        with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
            panel.applying.apply.click()
        record = panel.applying.result.metadata["focuslab"]["provenance"]["planes"][0]
        assert record["level"] == said and ("confidence" in record) == (said == "estimated")
        assert (record["doubt"] > 0) == (said == "estimated")
        qtbot.waitUntil(panel.applying.apply.isEnabled, timeout=60_000)


def test_what_is_doubted_is_seen_and_applied_so(viewer: Any, panel: RefocusPanel, qtbot: Any, settle: Any) -> None:
    viewer.add_image(STACK[2], name="plane", scale=(0.645, 0.645), units="um", axis_labels=("y", "x"))
    panel.shift.level.setValue(8.0)
    settle()
    panel.shift.to_sharpest()
    seen = []
    for percent in (-1, 20):
        panel.shift.doubt.setValue(percent)
        settle()
        with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
            panel.applying.apply.click()
        record = panel.applying.result.metadata["focuslab"]["provenance"]["planes"][0]
        assert record["doubt"] == max(percent, 0) / 100
        seen.append(np.asarray(panel.preview.layer.data).copy())
        qtbot.waitUntil(panel.applying.apply.isEnabled, timeout=60_000)
    assert not np.array_equal(*seen), "softer"


def test_a_result_is_never_saved_over_what_is_open(
    viewer: Any, panel: RefocusPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from focuslab_napari.opening import open_file
    from qtpy.QtWidgets import QFileDialog, QMessageBox

    raw = tmp_path / "cells.ome.tif"
    focuslab.write(raw, focuslab.FocalStack(STACK[2]))
    before = raw.read_bytes()
    panel.applying.result = open_file(viewer, raw, focuslab.read(raw))
    asked: list[str] = []
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *said: (asked.append(said[2]), next(answers))[1])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "cells.tif"), ""))
    for _ in range(2):  # the name becomes that of the raw data: asked first, and refused even then
        panel.applying._ask_where()
        assert raw.read_bytes() == before
    assert len(asked) == 2 and "cells.ome.tif" in asked[0]


def test_taking_the_panel_out_of_its_dock_lets_go(viewer: Any, qtbot: Any) -> None:
    made = RefocusPanel(viewer)
    dock = viewer.window.add_dock_widget(made, name="Refocus")
    layer = viewer.add_image(STACK[2], scale=(0.645, 0.645), units="um", axis_labels=("y", "x"))
    qtbot.waitUntil(lambda: made.preview.layer is not None and not made.preview.busy, timeout=120_000)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: list(viewer.layers) == [layer], timeout=60_000)
    layer.data = STACK[1]  # nobody hears of it any more
    qtbot.wait(200)
    assert list(viewer.layers) == [layer] and not made.preview.busy


def test_the_preview_looks_like_the_layer_that_it_is_of(
    viewer: Any, panel: RefocusPanel, settle: Callable[[], None]
) -> None:
    viewer.add_image(STACK[1], name="dim", contrast_limits=(0, 255), colormap="green")
    settle()
    panel.shift.slider.set_value(-2.0)
    settle()
    assert panel.preview.layer.colormap.name == "green"
    turned = viewer.add_image(STACK[2], name="turned", contrast_limits=(100, 1500), rotate=90)
    panel.images.choose(turned)
    settle()
    panel.shift.slider.set_value(-3.0)
    settle()
    preview = panel.preview.layer
    assert preview.colormap.name == "gray" and tuple(preview.contrast_limits) == (100, 1500)
    assert np.allclose(preview.data_to_world((0, 0)), turned.data_to_world((0, 0)))
    assert np.allclose(preview.data_to_world((5, 9)), turned.data_to_world((5, 9)))


def test_a_result_made_again_is_where_it_belongs(viewer: Any) -> None:
    from focuslab_napari.results import put_result

    layer = viewer.add_image(STACK[2], name="plane")
    sheet = np.zeros((9, 32, 32), np.float32)
    for corner in (0.0, 40.0):
        where = {"translate": (0, corner, corner), "scale": (1, 1, 1), "rotate": np.eye(3), "affine": np.eye(4)}
        names = {"units": ("pixel",) * 3, "axis_labels": ("s", "y", "x")}
        made = put_result(viewer, layer, "sheet", sheet, {}, kept=(0, 1), **where, **names)
        assert tuple(made.translate) == (0, corner, corner)
    assert len(viewer.layers) == 2


def test_compare_check_and_classical(viewer: Any, panel: RefocusPanel, qtbot: Any, settle: Any) -> None:
    viewer.add_image(STACK, name="stack", **SPACE)
    type_optics(panel, na=0.5, wavelength_um=0.461)
    viewer.dims.set_current_step(0, 1)
    panel.shift.sharpest.click()
    settle()
    whole = np.asarray(panel.preview.layer.data)
    panel.compare.wipe.setValue(50)
    assert panel.preview.layer.data.shape == (192, 96)
    assert np.allclose(panel.preview.layer.translate, (0, 96 * 0.645))
    assert np.array_equal(panel.preview.layer.data, whole[:, 96:])
    panel.compare.toggle()
    assert not panel.preview.layer.visible
    panel.compare.toggle()

    for button, job in ((panel.compare.sheet, panel.compare.job), (panel.trust.check, panel.trust.job)):
        with qtbot.waitSignal(job.finished, timeout=120_000):
            button.click()
    sheet = viewer.layers["stack contact sheet"]
    assert sheet.data.shape == (9, 192, 192) and sheet.axis_labels[0] == "shift"
    assert np.array_equal(sheet.data[4], STACK[1])  # no shift: the plane itself
    assert "to within its noise" in panel.trust.about.text()
    assert "Against plane 0" in panel.trust.about.text()
    with qtbot.waitSignal(panel.trust.job.finished, timeout=120_000):
        panel.trust.baselines.click()
    (lucy,) = (layer for layer in viewer.layers if layer.name.startswith("stack Richardson-Lucy, "))
    assert psnr(lucy.data) > psnr(STACK[1]) and psnr(viewer.layers["stack Wiener"].data) > psnr(STACK[1])


@pytest.mark.parametrize("deed", ["delete", "replace", "rename", "model", "axis", "close"])
def test_whatever_happens_while_it_runs(viewer: Any, panel: RefocusPanel, qtbot: Any, deed: str) -> None:
    layer = viewer.add_image(STACK, name="stack", **SPACE)
    panel.applying.scope.setCurrentIndex(2)
    panel.shift.slider.set_value(-2.0)
    panel.applying.apply.click()
    assert panel.applying.job.running
    if deed == "delete":
        viewer.layers.remove(layer)
    elif deed == "replace":
        layer.data = STACK[:, :128, :128]
    elif deed == "rename":
        layer.name = "other"
    elif deed == "model":
        panel.model.changed.emit()
    elif deed == "axis":
        panel.images.focus_axis.setCurrentIndex(panel.images.focus_axis.count() - 1)  # none
        panel.images.focus_axis.activated.emit(0)
        assert panel.images.image.stack.axes == "TYX"
    else:
        panel.close_panel()
        panel.images.close_events = panel.applying.close_events = panel.close_panel = lambda: None  # type: ignore
    qtbot.waitUntil(lambda: not panel.applying.job.running and not panel.preview.busy, timeout=120_000)
    names = [item.name for item in viewer.layers]
    made = "other refocused" if deed == "rename" else "stack refocused"
    assert (made in names) == (deed in ("replace", "rename", "model", "axis"))
    if deed == "delete":
        assert names == [] and not panel.images._heard, "a layer that is gone is let go of"


def test_apply_can_be_cancelled(viewer: Any, panel: RefocusPanel, qtbot: Any) -> None:
    viewer.add_image(np.tile(STACK, (1, 2, 2)), name="stack", **SPACE)
    panel.compare.live.setChecked(False)
    panel.applying.scope.setCurrentIndex(2)
    panel.applying.apply.click()
    panel.applying.job.stop.click()
    assert not panel.applying.job.running and panel.applying.apply.isEnabled()
    assert [item.name for item in viewer.layers] == ["stack"]


def test_a_colour_picture_keeps_all_of_its_colours(
    viewer: Any, panel: RefocusPanel, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("focuslab_napari.apply_box.show_warning", said.append)
    panel.compare.live.setChecked(False)
    colours = np.stack([STACK[2], STACK[2] // 2, STACK[2] // 3], -1) // 8
    viewer.add_image(colours.clip(0, 255).astype(np.uint8), name="colours", rgb=True)
    panel.images.per_channel.setChecked(True)
    panel.applying.scope.setCurrentIndex(0)
    panel.applying.apply.click()
    assert "in all of its colours" in said[0]
    panel.applying.scope.setCurrentIndex(1)
    panel.shift.slider.set_value(-2.0)
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    made = viewer.layers[-1]
    assert made.rgb and all((made.data[..., c] != colours[..., c]).any() for c in range(3))


def add_nothing(viewer: Any) -> None:
    pass


def add_labels(viewer: Any) -> None:
    viewer.add_labels(np.zeros((32, 32), int))
    viewer.add_points(np.zeros((3, 2)))


def add_colour(viewer: Any) -> None:
    viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True)


def add_sliver(viewer: Any) -> None:
    viewer.add_image(np.arange(64.0).reshape(64, 1))


def add_oblong(viewer: Any) -> None:
    viewer.add_image(STACK[1], scale=(0.5, 0.6), units="um")


def add_blank(viewer: Any) -> None:
    viewer.add_image(np.ones((64, 64), np.uint8))


@pytest.mark.parametrize(
    ("add", "sentence"),
    [
        (add_nothing, "Open an image"),
        (add_labels, "Open an image"),
        (add_colour, "RGB per channel"),
        (add_sliver, "at least 16"),
        (add_oblong, "square within 1 %"),
        (add_blank, "blank"),
    ],
)
def test_bad_input_is_one_sentence(
    viewer: Any, panel: RefocusPanel, settle: Any, add: Callable[[Any], None], sentence: str
) -> None:
    add(viewer)
    settle()
    assert sentence in panel.images.state.text() + panel.state.text()
    panel.applying.apply.click()
    viewer.add_image(STACK[1], name="good")
    panel.images.choose(viewer.layers["good"])
    settle()
    assert panel.shift.level_px is not None  # the panel stays usable


def test_nan_pixels_are_kept(viewer: Any, panel: RefocusPanel, qtbot: Any) -> None:
    image = STACK[1].astype(np.float32)
    image[50:53, 60:70] = np.nan
    viewer.add_image(image)
    panel.compare.live.setChecked(False)
    panel.shift.slider.set_value(-2.0)
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    assert np.array_equal(np.isnan(panel.applying.result.data), np.isnan(image))


def test_a_stack_of_one_plane_has_no_line(viewer: Any, panel: RefocusPanel, settle: Any) -> None:
    viewer.add_image(STACK[1:2], **SPACE)
    panel.tabs.setCurrentWidget(panel.pair)
    settle()
    assert not panel.pair.isEnabled() and "at least two planes" in panel.pair.about.text()
    assert panel.preview.layer is None
    panel.tabs.setCurrentWidget(panel.shift)
    settle()
    assert panel.preview.layer is not None


def test_a_pyramid_is_drawn_from_its_full_resolution(viewer: Any, panel: RefocusPanel, qtbot: Any, settle: Any) -> None:
    levels = [STACK, STACK[:, ::2, ::2], STACK[:, ::4, ::4]]
    viewer.add_image(levels, multiscale=True, name="pyramid", **SPACE)
    viewer.dims.set_current_step(0, 2)
    panel.shift.sharpest.click()
    settle()
    rectangle, picture = panel.preview.shown[0].rectangle, panel.preview.shown[1]
    assert picture.shape == (rectangle[1] - rectangle[0], rectangle[3] - rectangle[2])  # camera pixels
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    assert panel.applying.result.data.shape == (192, 192)
    assert np.allclose(panel.applying.result.scale, 0.645)


def test_a_full_disk_is_said(
    viewer: Any, panel: RefocusPanel, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer.add_image(STACK[1], name="plane")
    panel.compare.live.setChecked(False)
    panel.shift.slider.set_value(-2.0)
    with qtbot.waitSignal(panel.applying.applied, timeout=120_000):
        panel.applying.apply.click()
    said: list[str] = []
    qtbot.waitUntil(panel.applying.save.isEnabled, timeout=60_000)
    monkeypatch.setattr("focuslab_napari.jobs.show_warning", said.append)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with qtbot.waitSignal(panel.applying.job.finished, timeout=60_000):
        panel.applying.save_to(tmp_path / "result.ome.tif")
    assert "is full" in said[0] and list(tmp_path.glob("*.tif")) == []
    monkeypatch.undo()
    with qtbot.waitSignal(panel.applying.job.finished, timeout=60_000):
        panel.applying.save_to(tmp_path / "result.ome.tif")
    assert (tmp_path / "result.ome.tif").is_file()


def test_not_a_model(panel: RefocusPanel, tmp_path: Path) -> None:
    before = panel.model.model
    with pytest.raises(focuslab.errors.ModelError, match="not the card of a FocusLab model"):
        panel.model.add(tmp_path)
    assert panel.model.model == before


def test_a_device_that_is_not_there(viewer: Any, panel: RefocusPanel, settle: Any) -> None:
    viewer.add_image(STACK[1])
    settle()
    panel.model.devices.setCurrentText("mps" if sys.platform != "darwin" else "cuda")
    panel.model.devices.activated.emit(0)
    panel.preview.refresh()
    settle()
    assert "not available here" in panel.state.text()


def test_the_plugin_starts_without_torch() -> None:
    import subprocess

    code = "import sys, focuslab_napari.refocus_panel, focuslab_napari.opening; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_whose_folder_is_gone(panel: RefocusPanel, tiny_model: Model, tmp_path: Path) -> None:
    tiny_model.save(tmp_path / "mine")
    panel.model.add(tmp_path / "mine")
    at = panel.model.models.findData(str(tmp_path / "mine"))
    panel.model.models.setCurrentIndex(0)
    panel.model.models.activated.emit(0)
    before = panel.model.model
    shutil.rmtree(tmp_path / "mine")
    panel.model.models.setCurrentIndex(at)
    panel.model.models.activated.emit(at)
    assert panel.model.model == before and panel.model.models.currentData() == before
    assert "still there" in panel.model.about.text()


def test_the_preview_turns_with_its_layer(viewer: Any, panel: RefocusPanel, settle: Any) -> None:
    layer = viewer.add_image(STACK[1], name="a")
    settle()
    layer.rotate = 30
    settle()
    assert np.allclose(panel.preview.layer.rotate, layer.rotate)
    assert np.allclose(panel.preview.layer.data_to_world((5, 9)), layer.data_to_world((5, 9)), atol=1e-3)


def test_read_looks_at_pixels_that_were_changed_in_place(viewer: Any, panel: RefocusPanel, settle: Any) -> None:
    layer = viewer.add_image(STACK[1].copy(), name="a")
    settle()
    before = panel.shift.level_px
    layer.data[:] = STACK[0] if before > 3 else STACK[2]
    layer.refresh()
    panel.preview.refresh()
    settle()
    assert panel.shift.level_px == before, "nobody has told"
    panel.shift.automatic.click()
    settle()
    assert panel.shift.level_px != before
