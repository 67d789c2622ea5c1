"""Focus curve, blur map, all in focus, and focal stacks made of one plane."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import focuslab
from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError, ImageError, RequestError
from focuslab.models.zoo import load_model
from focuslab.optics import Optics, defocus_volume, phantom, psf
from focuslab.quality import psnr
from focuslab.quality.classical import convolved
from focuslab.refocusing import Engine, all_in_focus_steps, finish
from focuslab.samples import sample
from focuslab.stack import FocalStack

OPTICS = Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.325)
KNOWN = Calibration(pixel_size_um=0.325, z_step_um=2.0, na=0.75, index=1.0, wavelengths_um=(0.52,))


def tilted(kind: str = "nuclei", size: int = 256, depth_um: float = 12.0) -> tuple[FocalStack, np.ndarray]:
    """Focal stack of a specimen whose depth rises from left to right, and what it would be if it were flat."""
    light = phantom(kind, (size, size), seed=5, scale_px=16)  # type: ignore[arg-type]
    slices = np.arange(depth_um + 1)
    depth = np.tile(np.linspace(0, depth_um, size), (size, 1))
    volume = np.stack([light * np.clip(1 - np.abs(depth - z), 0, 1) for z in slices]).astype(np.float32)
    focus = np.arange(0, depth_um + 1, 2.0)
    planes = defocus_volume(torch.from_numpy(volume), OPTICS, z_step_um=1.0, focus_um=list(focus)).numpy()
    random = np.random.default_rng(1)
    counts = 100 + random.poisson(np.clip(planes, 0, None) * 1000) + random.normal(0, 3, planes.shape)
    return FocalStack(counts.clip(0, 65535).astype(np.uint16), "ZYX", KNOWN), 100 + 1000 * convolved(
        light, psf(OPTICS, 0.0)[0]
    )


@pytest.fixture(scope="module")
def nuclei() -> tuple[FocalStack, FocalStack]:
    return sample("nuclei_20x")


def test_focus_curve_follows_z(nuclei: tuple[FocalStack, FocalStack]) -> None:
    curve = focuslab.focus_curve(nuclei[0])
    assert [p.index for p in curve] == [(z,) for z in range(7)]
    assert all(a.sharpness > b.sharpness for a, b in pairwise(curve))
    assert [p.level_um for p in curve[2:]] == pytest.approx([8, 12, 16, 20, 24], rel=0.1)


def test_focus_curve_without_calibration_or_structure() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (1, 96, 96)).astype(np.float32)
    (empty,) = focuslab.focus_curve(FocalStack(noise, "ZYX"))
    assert not empty.estimate.found and empty.level_um is None


def test_blur_map_sees_a_tilt() -> None:
    stack, _ = tilted()
    found = focuslab.blur_map(stack, (0,))
    assert found.levels_um is not None and found.levels_um.shape == (len(found.rows), len(found.columns))
    assert found.columns[0] == (found.window - 1) / 2
    down, across = found.tilt()  # type: ignore[misc]
    assert 8 < across < 16 and abs(down) < across / 3  # 12 um over the field
    with pytest.raises(ImageError, match="no structure"):
        focuslab.blur_map(FocalStack(np.random.default_rng(0).normal(100, 5, (96, 96)).astype(np.float32), "YX"))


def test_blur_map_of_a_small_plane_is_one_window(nuclei: tuple[FocalStack, FocalStack]) -> None:
    part = FocalStack(nuclei[0].plane((3,))[:100, :100], "YX", nuclei[0].calibration)
    found = focuslab.blur_map(part)
    assert found.levels_px.shape == (1, 1) and found.tilt() is None


def test_all_in_focus_beats_every_plane() -> None:
    stack, truth = tilted()
    made = focuslab.all_in_focus(stack)
    best = max(psnr(stack.plane((z,)).astype(float), truth, data_range=1000) for z in range(stack.size("Z")))
    assert psnr(np.asarray(made.picture, float), truth, data_range=1000) > best + 6
    assert made.picture.dtype == np.uint16
    bright = truth > 400  # the relief is that of structures; the dark between them is from anywhere
    assert np.median(np.abs(made.plane - np.linspace(0, 6, 256))[bright]) < 0.5  # planes of 2 um
    assert made.picture.provenance["fused"] == [[z] for z in range(7)]
    assert made.picture.axes == "YX" and made.picture.calibration.pixel_size_um == stack.calibration.pixel_size_um
    tiled = finish(all_in_focus_steps(stack, list(stack.planes()), Engine(load_model()), tile=64))
    assert np.array_equal(tiled.plane, made.plane)
    assert np.abs(np.asarray(tiled.picture, float) - np.asarray(made.picture, float)).max() < 5
    with pytest.raises(ImageError, match="at least two planes"):
        focuslab.all_in_focus(FocalStack(np.asarray(stack.array)[:1], "ZYX"))
    with pytest.raises(ImageError, match="one focal stack"):
        focuslab.all_in_focus(FocalStack(stack.plane((0,)), "YX"))


@pytest.mark.parametrize("way", ["model", "optics"])
def test_focal_stack_of_a_sharp_plane(nuclei: tuple[FocalStack, FocalStack], way: str) -> None:
    stack, truth = nuclei
    made = focuslab.focal_stack(truth, 0, 24, 7, level_px=0.0, way=way)  # type: ignore[arg-type]
    assert made.axes == "ZYX" and made.array.dtype == np.uint16 and made.calibration.z_step_um == 4.0
    noise = [psnr(made.plane((z,)), stack.plane((z,)), data_range=3000) for z in range(7)]
    assert min(noise) > 44  # the stack's own noise
    assert np.array_equal(made.plane((0,)), truth.plane())
    mirrored = focuslab.focal_stack(truth, -8, 8, 3, level_px=0.0, way=way)  # type: ignore[arg-type]
    assert np.array_equal(mirrored.plane((0,)), mirrored.plane((2,)))
    assert mirrored.provenance["way"] == way


def test_focal_stack_does_not_depend_on_tiles(nuclei: tuple[FocalStack, FocalStack]) -> None:
    from focuslab.models.zoo import load_model
    from focuslab.refocusing import Engine, SynthesisRequest, finish, focal_stack_steps

    engine = Engine(load_model("default"), "cpu", "float32")
    request = SynthesisRequest(0, 16, 10, level_px=0.0)  # more planes than are drawn at once
    whole, tiled = (finish(focal_stack_steps(nuclei[1], (), request, engine, tile=size)).array for size in (512, 128))
    assert np.abs(np.asarray(whole, float) - np.asarray(tiled, float)).max() <= 1e-3 * np.ptp(whole) + 1


def test_focal_stack_refuses(nuclei: tuple[FocalStack, FocalStack]) -> None:
    bare = FocalStack(nuclei[1].plane(), "YX")
    with pytest.raises(CalibrationError, match="um need"):
        focuslab.focal_stack(bare, 0, 10, 3)
    with pytest.raises(RequestError, match="at least one plane"):
        focuslab.focal_stack(nuclei[1], 0, 10, 0)
    with pytest.raises(RequestError, match="finite"):
        focuslab.focal_stack(nuclei[1], 0, float("nan"), 3)
    with pytest.raises(RequestError, match="no structure"):
        focuslab.focal_stack(FocalStack(np.random.default_rng(0).normal(9, 1, (96, 96)), "YX"), 0, 4, 3, unit="px")
    blurred = focuslab.focal_stack(nuclei[0], 0, 20, 3, index=(3,), way="optics")
    assert "can only blur" in " ".join(blurred.provenance["notes"])
    with pytest.raises(RequestError, match="more than can be drawn"):
        focuslab.focal_stack(bare, 0, 60, 2, unit="px")


def test_a_tiny_plane_has_no_level() -> None:
    tiny = FocalStack(np.random.default_rng(0).integers(0, 999, (12, 12)).astype(np.uint16), "YX")
    (found,) = focuslab.focus_curve(tiny)
    assert not found.estimate.found and found.estimate.level_px == 0


def test_pixels_that_are_no_numbers_stay_so(nuclei: tuple[FocalStack, FocalStack]) -> None:
    plane = nuclei[1].plane().astype(np.float32)
    plane[10:14, 20] = np.nan
    ask: dict = {"first": 0, "last": 8, "planes": 2, "level_px": 0.0, "way": "optics"}
    with pytest.raises(ImageError, match="NaN"):
        focuslab.focal_stack(FocalStack(plane, "YX", nuclei[1].calibration), **ask)
    made = focuslab.focal_stack(FocalStack(plane, "YX", nuclei[1].calibration), **ask, keep_nan=True)
    assert all(np.array_equal(np.isnan(made.plane((z,))), np.isnan(plane)) for z in range(2))
    planes = np.stack([plane, nuclei[0].plane((5,)).astype(np.float32)])
    planes[1, 10, 20] = np.nan  # finite nowhere
    fused = focuslab.all_in_focus(FocalStack(planes, "ZYX", nuclei[1].calibration)).picture
    assert np.argwhere(np.isnan(np.asarray(fused))).tolist() == [[10, 20]]


def test_a_plane_must_be_named_where_there_are_several(nuclei: tuple[FocalStack, FocalStack]) -> None:
    one = FocalStack(nuclei[1].plane()[None], "ZYX", nuclei[1].calibration)
    assert focuslab.focal_stack(one, 0, 8, 2, level_px=0.0, way="optics").size("Z") == 2
    for index in ((), (7,), (0, 0)):
        with pytest.raises(RequestError, match="Which plane"):
            focuslab.blur_map(nuclei[0], index)
