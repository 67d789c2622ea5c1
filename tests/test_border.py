"""What lies beyond the border of an image: found from what it casts inside, not mirrored."""

import numpy as np
import pytest
import torch

from focuslab.models.border import beyond_border
from focuslab.models.light import light_copies
from focuslab.optics import Optics, crop, defocus, mirror_pad, phantom

SIDE, PAD, RIM = 160, 96, 24


def cut(optics: Optics, level: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A blurred, noisy field (1, 1, Y, X) cut from a larger one, mirrored by PAD px, and its specimen."""
    light = torch.from_numpy(phantom("nuclei", (448, 448), seed=31, scale_px=14))
    plane = defocus(light, optics, optics.defocus_um(level))[0]
    plane = plane + 0.01 * torch.randn(plane.shape, generator=torch.Generator().manual_seed(0))
    inside = slice((448 - SIDE) // 2, (448 + SIDE) // 2)
    return mirror_pad(plane[inside, inside], PAD)[None, None], light[inside, inside]


def rim_error(copy: torch.Tensor, truth: torch.Tensor) -> float:
    rim = torch.ones_like(truth, dtype=torch.bool)
    rim[RIM:-RIM, RIM:-RIM] = False
    return float((crop(copy, PAD)[0, 0] - truth)[rim].square().mean())


@pytest.mark.parametrize("level", [4.0, 8.0, 16.0])
def test_the_rim_is_nearer_to_the_truth_than_by_a_mirror(optics: Optics, level: float) -> None:
    mirrored, truth = cut(optics, level)
    recorded = (slice(PAD, PAD + SIDE), slice(PAD, PAD + SIDE))
    found = beyond_border(mirrored, recorded, optics, level)
    before, after = (light_copies(optics, plane, level, 0.01) for plane in (mirrored, found))
    assert rim_error(after.filtered, truth) < 0.85 * rim_error(before.filtered, truth)
    assert rim_error(after.white, truth) < 0.7 * rim_error(before.white, truth)


def test_recorded_pixels_stay_and_mirrored_ones_do_not_matter(optics: Optics) -> None:
    plane, _ = cut(optics, 6.0)
    plane = plane.double()  # wide pixels keep their digits
    recorded = (slice(0, PAD + SIDE), slice(PAD, plane.shape[-1]))
    found = beyond_border(plane, recorded, optics, 6.0)
    assert found.dtype == torch.float64 and torch.equal(found[..., *recorded], plane[..., *recorded])
    other = plane.clone()
    other[..., PAD + SIDE :, :] = 7.0
    other[..., :, :PAD] = -3.0
    assert torch.equal(beyond_border(other, recorded, optics, 6.0), found)
    assert bool(torch.isfinite(found).all()) and float(found.min()) > -1 and float(found.max()) < 3


def test_nothing_is_done_where_there_is_no_border_or_no_blur(optics: Optics) -> None:
    plane, _ = cut(optics, 6.0)
    everything = (slice(0, plane.shape[-2]), slice(0, plane.shape[-1]))
    assert beyond_border(plane, everything, optics, 6.0) is plane
    assert beyond_border(plane, (slice(8, 96), slice(8, 96)), optics, 0.5) is plane


def test_flat_light_stays_flat_beyond_the_border(optics: Optics) -> None:
    plane = torch.full((1, 1, 160, 160), 0.5)
    found = beyond_border(plane, (slice(0, 160), slice(64, 160)), optics, 8.0)
    assert np.isclose(float(found[..., 56:64].mean()), 0.5, atol=0.1)
