import numpy as np
import pytest
import torch

from focuslab.models.explain import Explanation, explain
from focuslab.models.light import LightCopies, light_copies
from focuslab.models.noise import noise_sigma
from focuslab.optics import Optics, defocus, mirror_pad, phantom

OPTICS = Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.2)


def plane_of(kind: str, level: float, haze: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Normalised plane (Y, X), its specimen in the same units, and its noise."""
    light = torch.from_numpy(phantom(kind, (192, 192), seed=800_000)) + haze
    blurred = defocus(light, OPTICS, OPTICS.defocus_um(level))[0]
    noisy = blurred + 0.008 * torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    dark, bright = (float(v) for v in np.percentile(noisy.numpy(), (0.5, 99.9)))
    plane = (noisy - dark) / (bright - dark)
    return plane, (light - dark) / (bright - dark), float(noise_sigma(plane[None, None]))


@pytest.mark.parametrize("level", [4.0, 8.0, 16.0])
def test_where_structures_fill_the_field_the_dark_lies_deeper(level: float) -> None:
    plane, light, noise = plane_of("membranes", level)
    floor = explain(plane, OPTICS, level, noise).floor
    assert 0.03 < floor < 1.2 * -float(light.min())


@pytest.mark.parametrize("kind,haze", [("nuclei", 0.0), ("nuclei", 0.4), ("puncta", 0.0), ("filaments", 0.0)])
@pytest.mark.parametrize("level", [4.0, 8.0, 16.0])
def test_where_there_is_dark_to_be_seen_it_is_the_dark(kind: str, haze: float, level: float) -> None:
    plane, _, noise = plane_of(kind, level, haze)
    assert explain(plane, OPTICS, level, noise).floor < 0.06


def test_nothing_is_filled_up_without_blur_and_little_is_said_of_very_wide_blur() -> None:
    plane, _, noise = plane_of("membranes", 4.0)
    assert explain(plane, OPTICS, 0.0, noise) == Explanation()
    assert explain(plane, Optics.nominal(), 45.0, noise) == Explanation()
    assert explain(plane[:12], OPTICS, 4.0, noise) == Explanation()


def test_the_floor_brings_membranes_nearer_to_the_truth() -> None:
    plane, light, noise = plane_of("membranes", 8.0)
    floor = explain(plane, OPTICS, 8.0, noise).floor
    padded, truth = mirror_pad(plane, 176)[None, None], defocus(light - light.min(), OPTICS, 0.0)[0] + light.min()
    error = {
        f: [
            float((copy[0, 0, 176:-176, 176:-176] - truth).square().mean())
            for copy in (copies.filtered, copies.stopped[1])
        ]
        for f in (0.0, floor)
        if (copies := light_copies(OPTICS, padded, 8.0, noise, f))
    }
    assert all(with_floor < 0.95 * without for with_floor, without in zip(error[floor], error[0.0], strict=True))


def all_of(copies: LightCopies) -> tuple[torch.Tensor, ...]:
    return copies.filtered, *copies.stopped, copies.white


def test_a_floor_of_each_plane_is_its_own() -> None:
    plane, _, noise = plane_of("membranes", 4.0)
    pair, floors = plane.expand(2, 1, -1, -1), torch.tensor([0.0, 0.1]).view(2, 1, 1, 1)
    both = light_copies(OPTICS, pair, 4.0, noise, floors)
    for i, floor in enumerate((0.0, 0.1)):
        alone = light_copies(OPTICS, plane[None, None], 4.0, noise, floor)
        for one, several in zip(all_of(alone), all_of(both), strict=True):
            assert torch.allclose(several[i], one[0], atol=1e-4)


@pytest.mark.parametrize("kind", ["filaments", "puncta"])
def test_sparse_specimens_gain_from_a_start_at_the_plane(kind: str) -> None:
    plane, light, noise = plane_of(kind, 8.0)
    truth = defocus(light - light.min(), OPTICS, 0.0)[0] + light.min()  # imaged in focus
    filtered, *_, white = all_of(light_copies(OPTICS, mirror_pad(plane, 176)[None, None], 8.0, noise))
    errors = [float((copy[0, 0, 176:-176, 176:-176] - truth).square().mean()) for copy in (filtered, white)]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("kind", ["nuclei", "membranes", "puncta", "filaments"])
@pytest.mark.parametrize("level", [4.0, 8.0])
def test_the_right_level_leaves_nothing_but_noise(kind: str, level: float) -> None:
    plane, _, noise = plane_of(kind, level)
    assert explain(plane, OPTICS, level, noise).surplus < 1.5


def test_too_high_a_level_leaves_more_than_noise() -> None:
    plane, _, noise = plane_of("nuclei", 8.0)
    surplus = [explain(plane, OPTICS, level, noise).surplus for level in (8.0, 9.2, 9.6)]
    assert surplus[0] < 1.1 and surplus[0] < surplus[1] < surplus[2] < 10
