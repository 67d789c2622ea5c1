"""Areas that hold no light: what is taken for one, and that it spoils nothing around it."""

import numpy as np
import pytest
import torch
from scipy import ndimage

import focuslab
from focuslab.calibration import Calibration
from focuslab.models.bundle import Model
from focuslab.optics import Optics, defocus, phantom
from focuslab.quality import psnr
from focuslab.refocusing import Engine
from focuslab.refocusing.intensity import measure_map
from focuslab.refocusing.live import LiveView
from focuslab.refocusing.masks import masked, unmasked
from focuslab.refocusing.plan import plane_facts
from focuslab.refocusing.sampling import structured_windows
from focuslab.refocusing.spots import without_spots
from focuslab.refocusing.tiling import Tile
from focuslab.stack import FocalStack

LEVEL = 8.0
BOX = np.s_[100:160, 60:140]


@pytest.fixture(scope="module")
def field(optics: Optics) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei out of focus, 16-bit counts with photon noise, and their truth in counts."""
    light = torch.from_numpy(phantom("nuclei", (256, 320), seed=4, scale_px=14)).clamp(min=0)
    blurred, sharp = defocus(light, optics, [optics.defocus_um(LEVEL), 0.0]).clamp(min=0).numpy()
    random = np.random.default_rng(0)
    counts = 100 + random.poisson(1500 * blurred) + random.normal(0, 2, blurred.shape)
    return counts.astype(np.uint16), 100 + 1500 * sharp


@pytest.mark.parametrize(
    ("name", "where", "value"),
    [
        ("a black box", BOX, 0),
        ("a scale bar", np.s_[240:246, 200:300], 65535),
        ("a black edge", np.s_[:30], 0),
        ("nothing", np.s_[:0], 0),
    ],
)
def test_what_holds_no_light_is_found(
    field: tuple[np.ndarray, np.ndarray], name: str, where: tuple, value: int
) -> None:
    plane = field[0].copy()
    plane[where] = value
    wanted = np.zeros(plane.shape, bool)
    wanted[where] = True
    for turned, found in ((plane, masked(plane)), (plane.astype(np.float32), masked(plane.astype(np.float32)))):
        assert (found is None) == (name == "nothing")
        assert found is None or np.array_equal(found, wanted)
        seen = np.asarray(unmasked(FocalStack(turned)).array)
        assert np.array_equal(np.isnan(seen), wanted) and np.array_equal(seen[~wanted], turned[~wanted])
    parts = unmasked(FocalStack(plane)).array[90:170, 50:150]
    assert np.array_equal(np.isnan(parts), wanted[90:170, 50:150]), "the same wherever it is cut"


def test_what_only_looks_alike_is_light(field: tuple[np.ndarray, np.ndarray]) -> None:
    plane = field[0]
    assert masked(np.minimum(plane, 500)) is None, "saturated structures"
    assert masked(np.maximum(plane, 200)) is None, "a background that was cut off"
    assert masked((plane // 64).astype(np.uint8)) is None, "coarse numbers"
    assert masked(np.full((40, 40), 7, np.uint8)) is None and masked(np.zeros((2, 9))) is None
    drawn = np.zeros((64, 64), np.uint8)
    drawn[20:40, 20:40] = 255
    assert masked(drawn) is None, "a drawing has no noise to stand out from"


@pytest.mark.parametrize(("where", "value"), [(BOX, 0), (np.s_[240:246, 200:300], 65535)])
def test_a_mask_spoils_nothing_around_it(
    field: tuple[np.ndarray, np.ndarray], optics: Optics, default_model: Model, where: tuple, value: int
) -> None:
    plane, sharp = field
    spoilt = plane.copy()
    spoilt[where] = value
    known = Calibration.of(optics)
    ask: dict = {"sharpest": True, "level_px": LEVEL, "model": default_model}
    made = focuslab.refocus(FocalStack(spoilt, "YX", known), **ask)
    whole = np.asarray(focuslab.refocus(FocalStack(plane, "YX", known), **ask), float)
    assert np.array_equal(np.asarray(made)[where], spoilt[where]), "it stays as it is"
    assert any("scale bar" in note for note in made.provenance["notes"])
    free = np.ones(plane.shape, bool)
    free[where] = False
    free = ndimage.binary_erosion(free, iterations=16, border_value=1)  # what is nearer lacks the light that is lost
    with_mask, without = (psnr(image[free], sharp[free], data_range=1500) for image in (np.asarray(made, float), whole))
    assert with_mask > without - 1 and with_mask > psnr(plane[free].astype(float), sharp[free], data_range=1500) + 3
    stack = FocalStack(spoilt, "YX", known)
    facts = plane_facts(structured_windows(unmasked(stack), ()), LEVEL, optics, measure_map(unmasked(stack), [()]))
    view, tile = LiveView(stack, [((), facts)], Engine(default_model)), Tile(0, 256, 0, 320)
    list(view.encode(tile))
    shown = list(view.pictures(tile, -LEVEL))[-1].counts
    assert np.array_equal(shown[where], spoilt[where]) and np.abs(shown - np.asarray(made, float))[free].mean() < 5
    unmoved = focuslab.refocus(FocalStack(spoilt, "YX", known), shift_px=0.0, level_px=LEVEL, model=default_model)
    assert np.array_equal(np.asarray(unmoved), spoilt)


def test_hot_and_dead_pixels_become_no_cells(
    field: tuple[np.ndarray, np.ndarray], optics: Optics, default_model: Model
) -> None:
    plane, known = field[0], Calibration.of(optics)
    random = np.random.default_rng(1)
    where = tuple(random.integers(0, n, 40) for n in plane.shape)
    spoilt = plane.copy()
    spoilt[where] = np.where(random.random(40) < 0.7, 9000, 0)
    ask: dict = {"level_px": LEVEL, "model": default_model}
    clean, made = (
        np.asarray(focuslab.refocus(FocalStack(p, "YX", known), sharpest=True, **ask)) for p in (plane, spoilt)
    )
    assert np.abs(made.astype(float) - clean).max() < 0.2 * np.ptp(clean)
    assert np.array_equal(np.asarray(focuslab.refocus(FocalStack(spoilt, "YX", known), shift_px=0.0, **ask)), spoilt)


@pytest.mark.parametrize("level", [0.0, 1.5, 4.0])
@pytest.mark.parametrize("sampled", [(0.75, 0.2), (0.95, 0.5)])
def test_points_are_no_hot_pixels(sampled: tuple[float, float], level: float) -> None:
    optics = Optics(na=sampled[0], wavelength_um=0.52, pixel_size_um=sampled[1])
    light = torch.from_numpy(phantom("puncta", (200, 200), seed=3)).clamp(min=0)
    image = defocus(light, optics, [optics.defocus_um(level)])[0].clamp(min=0)
    image = torch.poisson(400 * image, generator=torch.Generator().manual_seed(0))[None, None] / 400
    assert torch.equal(without_spots(image, optics, level, 0.01), image)
    image[..., 50, 60] += 3
    assert (without_spots(image, optics, level, 0.01) != image).sum() == 1
