"""Noise told from what is fine in the specimen."""

import math

import pytest
import torch

from focuslab.models.noise import noise_at, noise_sigma
from focuslab.optics import Optics, defocus, phantom

SIGMA = 0.01


def noisy(light: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Light (Y, X) as a plane (1, 1, Y, X) with known noise."""
    return (light + SIGMA * torch.randn(light.shape, generator=torch.Generator().manual_seed(seed)))[None, None]


@pytest.mark.parametrize("kind", ["nuclei", "filaments", "membranes", "puncta"])
@pytest.mark.parametrize("level", [2.0, 4.0, 12.0])
def test_noise_of_a_blurred_plane_is_found(optics: Optics, kind: str, level: float) -> None:
    light = torch.from_numpy(phantom(kind, (256, 256), seed=3))  # type: ignore[arg-type]
    plane = noisy(defocus(light, optics, optics.defocus_um(level))[0])
    assert float(noise_at(plane, optics, level)) == pytest.approx(SIGMA, rel=0.1)


@pytest.mark.parametrize("bright", [0.2, 0.5])
def test_fine_structure_is_not_taken_for_noise(optics: Optics, bright: float) -> None:
    """Spots of a pixel through the objective, in focus: the mask alone sees twice the noise there is and more."""
    generator = torch.Generator().manual_seed(1)
    spots = (torch.rand(512, 512, generator=generator) < 0.05).float() * bright
    plane = noisy(defocus(spots, optics, optics.defocus_um(1.7))[0])
    found, masked = float(noise_at(plane, optics, 1.7)), float(noise_sigma(plane))
    assert abs(math.log(found / SIGMA)) < 0.5 * abs(math.log(masked / SIGMA)) and found < 1.5 * SIGMA


@pytest.mark.parametrize("side", [3, 16, 40, 300, 700])
def test_noise_alone_is_noise_at_every_size(optics: Optics, side: int) -> None:
    plane = noisy(torch.full((side, side), 0.5))
    assert float(noise_at(plane, optics, 6.0)) == pytest.approx(SIGMA, rel=0.15 if side > 16 else 1.0)


def test_every_plane_of_a_batch_has_its_own(optics: Optics) -> None:
    light = torch.from_numpy(phantom("nuclei", (128, 128), seed=3))
    one, other = noisy(light), noisy(0.5 * light) * 2
    both = noise_at(torch.cat([one, other]), optics, 3.0)
    alone = torch.cat([noise_at(one, optics, 3.0), noise_at(other, optics, 3.0)])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=0)
    assert float(both[1]) > float(both[0])


def test_dark_planes_have_none(optics: Optics) -> None:
    assert float(noise_at(torch.zeros(1, 1, 64, 64), optics, 3.0)) == 0


def test_noise_of_small_planes_in_focus_is_never_nothing(optics: Optics) -> None:
    """In focus a falling spectrum and noise are alike, and a fit would give all of it to the specimen."""
    for seed in range(6):
        light = torch.from_numpy(phantom("nuclei", (128, 128), seed=seed, scale_px=15))
        for level in (0.3, 0.9):
            found = float(noise_at(noisy(defocus(light, optics, optics.defocus_um(level))[0], seed), optics, level))
            assert 0.6 * SIGMA < found < 1.7 * SIGMA
