"""Layers as focal stacks: no window needed."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from focuslab import Calibration, FocalStack, read, write
from focuslab.errors import CalibrationError, ImageError

pytest.importorskip("napari", reason="the gui extra is not installed; make test installs it")

from focuslab_napari.applying import PLANE, STACK, planes_in, write_steps
from focuslab_napari.decimal_box import DecimalBox
from focuslab_napari.layers import axes_of, read_layer
from focuslab_napari.opening import layer_of, open_file
from focuslab_napari.preferences import choose_focus_axis, chosen_focus_axis, type_numbers, typed_numbers
from focuslab_napari.results import put_result, same_place, stacked_place
from napari.layers import Image
from qtpy.QtCore import QLocale, QSettings


def layer(shape: tuple[int, ...], **keywords: object) -> Image:
    return Image(np.arange(np.prod(shape), dtype=np.uint16).reshape(shape), **keywords)


@pytest.mark.parametrize(
    ("shape", "labels", "axes", "guessed"),
    [
        ((8, 8), None, "YX", True),
        ((7, 8, 8), None, "ZYX", True),
        ((3, 7, 8, 8), None, "CZYX", True),
        ((9, 7, 8, 8), None, "TZYX", True),
        ((2, 3, 4, 8, 8), None, "TCZYX", True),
        ((7, 8, 8), ("time", "y", "x"), "TYX", False),
        ((7, 3, 8, 8), ("Z", "channel", "Y", "X"), "ZCYX", False),
    ],
)
def test_axes(shape: tuple[int, ...], labels: tuple[str, ...] | None, axes: str, guessed: bool) -> None:
    made = layer(shape, **({"axis_labels": labels} if labels else {}))
    assert axes_of(made) == (axes, guessed)


def test_the_user_names_the_focus_axis() -> None:
    made = layer((7, 3, 8, 8))
    assert axes_of(made, 1) == ("TZYX", False)
    assert axes_of(made, -1) == ("TCYX", False)
    with pytest.raises(ImageError, match="one must be focus"):
        axes_of(layer((2, 3, 4, 8, 8)), -1)


def test_one_channel_of_several_has_no_wavelength_of_another() -> None:
    said = Calibration(pixel_size_um=0.5, na=0.8, index=1.0, wavelengths_um=(0.46, 0.69))
    pixels, keywords = layer_of(FocalStack(np.ones((2, 16, 16), np.uint16), "CYX", said), "name")
    split = Image(np.asarray(pixels)[1], metadata=keywords["metadata"])
    assert read_layer(split).stack.calibration.wavelength_um(0) is None
    assert read_layer(split, typed={"wavelength_um": 0.69}).stack.calibration.wavelength_um(0) == 0.69


def test_axes_in_another_order_are_sorted_and_put_back() -> None:
    made = layer((7, 3, 8, 8), axis_labels=("z", "c", "y", "x"))
    image = read_layer(made)
    assert image.stack.axes == "CZYX" and image.stack.shape == (3, 7, 8, 8)
    assert np.array_equal(image.stack.plane((2, 5)), made.data[5, 2])
    assert np.array_equal(image.stack.array[1, slice(2, 4), slice(0, 3), slice(1, 4)], made.data[2:4, 1, :3, 1:4])
    whole = np.stack([[image.stack.plane((c, z)) for z in range(7)] for c in range(3)])
    assert np.array_equal(image.to_layer(whole), made.data)
    assert image.index_at((5, 2, 0, 0)) == (2, 5)


def test_numbers_and_their_sources(tmp_path: Path) -> None:
    said = Calibration(pixel_size_um=0.5, z_step_um=2.0, na=0.8, index=1.0, wavelengths_um=(0.6,))
    path = write(tmp_path / "stack.ome.tif", FocalStack(np.zeros((3, 16, 16), np.uint16) + 7, "ZYX", said))
    made = layer((3, 16, 16), scale=(3.0, 0.4, 0.4), units="um")
    made._source = made.source.model_copy(update={"path": str(path)})
    image = read_layer(made, typed={"na": 0.7, "thickness_um": 6.0})
    found = image.stack.calibration
    assert (found.pixel_size_um, found.z_step_um, found.na, found.wavelength_um(0)) == (0.4, 3.0, 0.7, 0.6)
    assert found.thickness_um == image.stack.optics().thickness_um == 6.0
    assert image.sources["na"] == "typed" and image.sources["pixel_size_um"] == "layer"
    assert image.sources["wavelength_um"] == "file" and image.sources["index"] == "file"


def test_units_of_other_kinds() -> None:
    assert read_layer(layer((8, 8), scale=(400.0, 400.0), units="nm")).stack.calibration.pixel_size_um == 0.4
    assert read_layer(layer((8, 8))).stack.calibration.pixel_size_um is None  # 1 px says nothing
    with pytest.raises(CalibrationError, match="square within 1 %"):
        read_layer(layer((8, 8), scale=(0.4, 0.5), units="um"))


def test_colours_only_when_asked() -> None:
    made = Image(np.zeros((16, 16, 3), np.uint8), rgb=True)
    with pytest.raises(ImageError, match="RGB per channel"):
        read_layer(made)
    image = read_layer(made, per_channel=True)
    assert image.stack.axes == "CYX" and image.stack.shape == (3, 16, 16)
    assert image.to_layer(np.zeros((3, 16, 16)), rgb=True).shape == (16, 16, 3)


def test_a_colour_picture_is_refocused_in_all_of_its_colours() -> None:
    image = read_layer(Image(np.zeros((2, 16, 16, 3), np.uint8), rgb=True), per_channel=True)
    assert image.colours and image.stack.axes == "CZYX"
    assert planes_in(image, (0, 1), PLANE) == [(0, 1)], "one colour is one plane, to check"
    assert sorted(planes_in(image, (0, 1), STACK)) == sorted(image.stack.planes())
    channels = read_layer(layer((3, 7, 16, 16)))
    assert not channels.colours and planes_in(channels, (1, 2), PLANE) == [(1, 2)]


def test_files_are_written_plane_by_plane_or_not_at_all(tmp_path: Path) -> None:
    whole = FocalStack(np.arange(5 * 64, dtype=np.int64).reshape(5, 8, 8), "ZYX", family="ome")
    steps = write_steps([(tmp_path / "a.ome.tif", whole)])
    assert [(step.done, step.total) for step in (next(steps), next(steps))] == [(1, 5), (2, 5)]
    steps.close()
    assert list(tmp_path.iterdir()) == [], "cancelled"
    for _ in write_steps([(tmp_path / "a.ome.tif", whole)]):
        pass
    assert np.array_equal(read(tmp_path / "a.tif").array, whole.array), "OME has no name for int64"


def test_planes_one_behind_the_other_lie_where_their_plane_does() -> None:
    turned = np.array([[0.8, -0.6, 5.0], [0.6, 0.8, -2.0], [0.0, 0.0, 1.0]])
    plane = layer((8, 9), scale=(2.0, 2.0), translate=(3.0, 4.0), rotate=30, affine=turned)
    place = stacked_place(same_place(plane, (0, 1)), "um", 0.5, -1.0)
    sheet = Image(np.zeros((3, 8, 9)), **place)
    assert sheet.data_to_world((2, 5, 6)) == pytest.approx((0.0, *plane.data_to_world((5, 6))))


def test_full_resolution_of_a_multiscale_layer() -> None:
    made = Image([np.ones((64, 64), np.uint8), np.ones((32, 32), np.uint8)], multiscale=True)
    assert read_layer(made).stack.shape == (64, 64)


def test_a_file_as_a_layer_and_back() -> None:
    said = Calibration(pixel_size_um=0.5, z_step_um=2.0, na=0.8, index=1.0, wavelengths_um=(0.6, 0.5))
    stack = FocalStack(np.random.default_rng(0).integers(0, 99, (2, 3, 16, 16), np.uint16), "CZYX", said)
    pixels, keywords = layer_of(stack, "name")
    again = read_layer(Image(pixels, **keywords))
    assert again.stack.axes == "CZYX" and not again.guessed
    assert again.stack.calibration == said.replace(channel_names=())
    assert same_place(Image(pixels, **keywords), (2, 3))["axis_labels"] == ("y", "x")


@pytest.mark.parametrize(("axes", "shape"), [("ZCYX", (15, 2, 16, 16)), ("TYX", (7, 16, 16)), ("CYX", (2, 16, 16))])
def test_a_file_that_napari_opened_says_its_axes(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint16), imagej=True, metadata={"axes": axes})
    opened = layer(shape)
    opened._source = opened.source.model_copy(update={"path": str(path)})
    assert axes_of(opened) == (axes, False)
    part = layer(shape[1:])  # split from it
    part._source = opened.source
    assert axes_of(part)[1], "guessed: it is not the whole file"


def test_a_choice_of_the_focus_axis_is_of_as_many_axes() -> None:
    made = layer((3, 7, 8, 8))
    choose_focus_axis(made, 1)
    assert chosen_focus_axis(made) == 1
    split = layer((7, 8, 8), metadata=made.metadata)
    assert chosen_focus_axis(split) is None


def test_wavelengths_are_of_the_channel_that_they_were_typed_for(tmp_path: Path) -> None:
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    source = SimpleNamespace(path=str(tmp_path / "cells.tif"))
    dapi, gfp, again = (
        SimpleNamespace(source=source, metadata={}, name=name) for name in ("cells DAPI", "cells GFP", "cells DAPI")
    )
    type_numbers(dapi, {"na": 0.8, "wavelength_um": 0.461})
    assert typed_numbers(gfp) == {"na": 0.8}
    assert typed_numbers(again) == {"na": 0.8, "wavelength_um": 0.461}
    of_both = {"na": 0.8, "wavelength_um": [0.461, 0.69]}
    assert read_layer(layer((2, 8, 8), axis_labels=("c", "y", "x")), typed=of_both).stack.calibration.wavelengths_um
    split = read_layer(layer((8, 8)), typed=of_both)
    assert split.stack.calibration.wavelengths_um == () and split.stack.calibration.na == 0.8


def test_a_flipped_layer_has_square_pixels() -> None:
    assert read_layer(layer((8, 8), scale=(-0.5, 0.5))).stack.calibration.pixel_size_um == 0.5


def test_a_layer_of_an_open_file_can_be_duplicated(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", FocalStack(np.ones((2, 16, 16), np.uint16), "ZYX"))
    pixels, _ = layer_of(read(tmp_path / "a.tif"), "a")
    assert np.array_equal(np.asarray(copy.deepcopy(pixels)[1]), np.ones((16, 16)))


@pytest.mark.parametrize("language", ["de_DE", "C", "en_US", "fr_FR"])
@pytest.mark.parametrize("text", ["12.5", "12,5"])
def test_point_and_comma_are_the_decimal_sign(qtbot: Any, language: str, text: str) -> None:
    box = DecimalBox()
    qtbot.addWidget(box)
    box.setLocale(QLocale(language))
    box.setRange(-100.0, 1e4)
    box.setSuffix(" um")
    box.lineEdit().setText(f"{text} um")
    box.interpretText()
    assert box.value() == 12.5
    box.lineEdit().setText(f"-{text} um")
    box.interpretText()
    assert box.value() == -12.5


def test_channels_have_looks_of_their_own(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    said = Calibration(channel_colours=("0000ff", "00ff00"))
    pixels = np.stack([np.full((3, 16, 16), top, np.uint16) for top in (4000, 300)])
    pixels[..., :8] = 0
    shown = open_file(viewer, Path("a.tif"), FocalStack(pixels, "CZYX", said))
    assert shown.contrast_limits[1] == 4000 and shown.colormap.map([1.0])[0][:3].tolist() == [0, 0, 1]
    viewer.dims.set_point(0, 1)
    assert shown.contrast_limits[1] == 300 and shown.colormap.map([1.0])[0][:3].tolist() == [0, 1, 0]
    shown.contrast_limits = (0, 99)
    viewer.dims.set_point(0, 0)
    viewer.dims.set_point(0, 1)
    assert shown.contrast_limits == [0, 99], "what the user has set stays"
    viewer.layers.remove(shown)
    viewer.add_image(np.zeros((2, 3, 16, 16)))
    viewer.dims.set_point(0, 0)


def test_results_lie_right_above_their_source(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    source = viewer.add_image(np.zeros((16, 16)), name="a", blending="additive", opacity=0.7)
    viewer.add_labels(np.zeros((16, 16), int), name="painted")
    made = put_result(viewer, source, "refocused", np.ones((16, 16)), {})
    assert [one.name for one in viewer.layers] == ["a", "a refocused", "painted"]
    assert made.blending == "additive" and made.opacity == 0.7
