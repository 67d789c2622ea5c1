import numpy as np
import pytest

import focuslab
from focuslab.calibration import Calibration
from focuslab.errors import ImageError, RequestError
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.bundle import Model
from focuslab.models.networks import AutoencoderConfig
from focuslab.optics import Optics, equivalent_radius, phantom, psf
from focuslab.quality.classical import convolved
from focuslab.quality.trust import consistency, finest_period_px
from focuslab.refocusing import Engine, refocus
from focuslab.refocusing.intensity import measure_map
from focuslab.refocusing.live import LiveView, binned, bins_for
from focuslab.refocusing.plan import plane_facts
from focuslab.refocusing.sampling import structured_windows
from focuslab.refocusing.tiling import Tile
from focuslab.stack import FocalStack

LEVEL = 6.0


@pytest.fixture(scope="module")
def stack(blurred: np.ndarray) -> FocalStack:
    both = np.stack([blurred[:192, :176], np.roll(blurred, 3, 1)[:192, :176]])
    return FocalStack(both, "ZYX", Calibration(pixel_size_um=0.645, na=0.5, wavelengths_um=(0.461,)))


def view_of(stack: FocalStack, model: Model, optics: Optics, *levels: float) -> LiveView:
    intensity = measure_map(stack, list(stack.planes()))
    parts = [structured_windows(stack, (z,)) for z in range(len(levels))]
    planes = [((z,), plane_facts(parts[z], level, optics, intensity)) for z, level in enumerate(levels)]
    return LiveView(stack, planes, Engine(model, "cpu", "float32"))


@pytest.mark.parametrize("shift", [-6.0, -2.5, 0.0, 4.0])
def test_the_exact_picture_is_what_applying_gives(
    stack: FocalStack, tiny_model: Model, optics: Optics, shift: float
) -> None:
    view, tile = view_of(stack, tiny_model, optics, LEVEL), Tile(40, 136, 24, 150)
    list(view.encode(tile))
    fast, exact = view.pictures(tile, shift)
    whole = refocus(stack, shift_px=shift, level_px=LEVEL, model=tiny_model).array[0].astype(float)
    part = whole[tile.slices]
    assert not fast.exact and exact.exact and exact.counts.shape == (96, 126)
    if shift == 0:
        assert np.array_equal(np.rint(exact.counts), stack.plane((0,))[tile.slices])
    # A region sees a halo of the whole, and autocast rounds what was applied.
    assert np.abs(exact.counts - part).max() <= 0.02 * np.ptp(whole)
    assert np.abs(fast.counts - part).mean() <= 0.15 * np.ptp(whole)


def test_a_short_ladder_draws_the_same(stack: FocalStack, tiny_model: Model, optics: Optics) -> None:
    view, tile = view_of(stack, tiny_model, optics, LEVEL), Tile(0, 96, 0, 96)
    short = LiveView(stack, view.planes, view.engine, largest_px=11.0)
    for one in (view, short):
        list(one.encode(tile))
    for whole, part in zip(view.pictures(tile, -3.0), short.pictures(tile, -3.0), strict=True):
        assert np.abs(whole.counts - part.counts).max() <= 5e-3 * np.ptp(whole.counts)


def test_panning_encodes_only_what_is_new(stack: FocalStack, tiny_model: Model, optics: Optics) -> None:
    view = view_of(stack, tiny_model, optics, LEVEL)
    first, second = Tile(0, 96, 0, 96), Tile(0, 96, 32, 128)
    list(view.encode(first))
    assert view.missing(first) == []
    assert view.missing(second) == [Tile(0, 96, 96, 128)]
    list(view.encode(second))
    pieced = [p.counts for p in view.pictures(second, -3.0)][1]
    fresh = view_of(stack, tiny_model, optics, LEVEL)
    list(fresh.encode(second))
    whole = [p.counts for p in fresh.pictures(second, -3.0)][1]
    assert np.abs(pieced - whole).max() <= 5e-3 * np.ptp(whole)  # no seam


def test_two_planes_return_themselves(stack: FocalStack, tiny_model: Model, optics: Optics) -> None:
    view, tile = view_of(stack, tiny_model, optics, LEVEL, 4.0), Tile(0, 192, 0, 176)
    list(view.encode(tile))
    for t, plane in ((0.0, stack.plane((0,))), (1.0, stack.plane((1,)))):
        exact = [p.counts for p in view.pictures(tile, t)][1]
        assert np.abs(exact - plane).max() < 0.5


def test_large_regions_are_binned_with_their_optics(stack: FocalStack) -> None:
    assert [bins_for(n, n) for n in (64, 1280, 1281, 4096, 20000)] == [1, 1, 2, 4, 16]
    small = binned(stack, 2)
    assert small.shape == (2, 96, 88) and small.calibration.pixel_size_um == pytest.approx(1.29)
    plane = stack.plane((1,)).astype(np.float32)
    assert np.allclose(small.plane((1,)), plane.reshape(96, 2, 88, 2).mean((1, 3)))
    assert np.allclose(small.array[1, 4:10, 80:], small.plane((1,))[4:10, 80:])


def test_the_equivalent_radius_is_that_of_a_disc_where_optics_are_geometric() -> None:
    middling = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
    assert equivalent_radius(middling, 14.0) == pytest.approx(14.0, rel=0.12)
    steep = Optics(na=0.95, wavelength_um=0.52, pixel_size_um=0.2)
    assert equivalent_radius(steep, 8.0) < 0.6 * 8.0  # most of its light is nearer the axis
    radii = [equivalent_radius(steep, level) for level in (0.0, 2.0, 4.0, 8.0, 16.0)]
    assert radii == sorted(radii) and radii[0] > 0.7


@pytest.mark.parametrize("pixel_um", [0.2, 0.645], ids=["diffraction", "camera"])
def test_what_explains_the_plane_is_consistent(pixel_um: float) -> None:
    optics = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=pixel_um)
    light = np.zeros((160, 160), np.float32)
    light[60:90, 50:100] = 1000
    rng = np.random.default_rng(0)
    distance = optics.defocus_um(LEVEL)
    plane = convolved(light, psf(optics, distance)[0]) + rng.normal(0, 2, light.shape).astype(np.float32)
    sharp = light if optics.sampling >= 0.5 else convolved(light, psf(optics, 0.0)[0])
    right, wrong = consistency(plane, sharp, optics, LEVEL), consistency(plane, sharp, optics, 1.5 * LEVEL)
    assert right.misfit == pytest.approx(1.0, abs=0.15) and "within its noise" in right.sentence
    assert wrong.misfit > 5 and "do not measure" in wrong.sentence


def test_what_is_drawn_is_never_forgotten(
    stack: FocalStack, tiny_model: Model, optics: Optics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focuslab.refocusing.live._KEPT", 112 * 112)  # room for little more than one rectangle
    view = view_of(stack, tiny_model, optics, LEVEL)
    for x in (0, 32, 64):
        tile = Tile(0, 96, x, x + 96)
        list(view.encode(tile))
        assert view.missing(tile) == []
        fast, exact = view.pictures(tile, -2.0)
        fresh = view_of(stack, tiny_model, optics, LEVEL)
        list(fresh.encode(tile))
        for one, other in zip((fast, exact), fresh.pictures(tile, -2.0), strict=True):
            assert np.abs(one.counts - other.counts).max() <= 0.02 * np.ptp(other.counts)
    with pytest.raises(RequestError, match="encode it"):
        list(view.pictures(Tile(96, 192, 0, 96), -2.0))


def test_a_model_without_physics_is_drawn_live(stack: FocalStack, tiny_model: Model, optics: Optics) -> None:
    autoencoder = LinearLatentAutoencoder(AutoencoderConfig(widths=(8, 16), code_widths=(4, 8), copies=0)).eval()
    view = view_of(stack, Model(tiny_model.card, autoencoder, tiny_model.estimator), optics, LEVEL)
    tile = Tile(0, 96, 0, 96)
    list(view.encode(tile))
    _, exact = view.pictures(tile, 0.0)
    assert np.abs(exact.counts - stack.plane((0,))[tile.slices]).max() <= 1
    assert all(np.isfinite(picture.counts).all() for picture in view.pictures(tile, -2.0))


@pytest.mark.parametrize("level", [0.0, 0.3, 2.0])
def test_what_was_not_changed_is_consistent(default_model: Model, level: float) -> None:
    optics = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
    light = convolved(phantom("nuclei", (128, 128), seed=1, scale_px=14), psf(optics, optics.defocus_um(level))[0])
    plane = (100 + np.random.default_rng(0).poisson(10000 * light.clip(0))).astype(np.uint16)
    sharp = focuslab.refocus(plane, sharpest=True, level_px=level, optics=optics, model=default_model)
    assert consistency(plane, sharp, optics, level).misfit < 1.25


def test_the_truth_is_consistent_where_bright_pixels_have_more_noise() -> None:
    optics = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
    truth = 10000 * phantom("nuclei", (128, 128), seed=1, scale_px=14)
    blurred = convolved(truth, psf(optics, optics.defocus_um(2.0))[0])
    plane = np.random.default_rng(1).poisson(blurred.clip(0)).astype(np.float32)
    assert consistency(plane, truth, optics, 2.0).misfit == pytest.approx(1.0, abs=0.15)


def test_trust_needs_numbers(optics: Optics) -> None:
    plane = np.random.default_rng(0).normal(10, 1, (64, 64))
    assert finest_period_px(np.ones((64, 64)), optics) == np.inf
    plane[3, 3] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        finest_period_px(plane, optics)
    with pytest.raises(ImageError, match="NaN"):
        consistency(plane, plane, optics, 2.0)
