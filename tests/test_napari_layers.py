"""Layers as focal stacks: no window needed."""

from pathlib import Path

import numpy as np
import pytest

from focuslab import Calibration, FocalStack, read, write
from focuslab.errors import CalibrationError, ImageError

pytest.importorskip("napari", reason="the gui extra is not installed; make test installs it")

from focuslab_napari.applying import PLANE, STACK, planes_in, write_steps
from focuslab_napari.layers import axes_of, read_layer
from focuslab_napari.opening import layer_of
from focuslab_napari.results import same_place, stacked_place
from napari.layers import Image


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
