import pytest
import torch

from focuslab.models.restoration import back_projector, blur_by, nonnegative_wiener, richardson_lucy
from focuslab.optics import Optics, camera_otf, otf, phantom, psf


@pytest.fixture(scope="module")
def scene(optics: Optics) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sharp specimen, transfer function, blurred and noisy plane, all periodic."""
    sharp = torch.from_numpy(phantom("nuclei", (192, 192), seed=2, scale_px=14))
    transfer = otf(psf(optics, optics.defocus_um(9.0), size=190)[0], (192, 192))
    noise = 0.005 * torch.randn(192, 192, generator=torch.Generator().manual_seed(0))
    return sharp, transfer, blur_by(sharp, transfer) + noise


def error(image: torch.Tensor, sharp: torch.Tensor) -> float:
    return float((image - sharp).square().mean().sqrt())


def test_light_is_not_negative_and_comes_closer(scene: tuple[torch.Tensor, ...]) -> None:
    sharp, transfer, plane = scene
    light = nonnegative_wiener(plane, transfer, 500 * 0.005**2, 8)
    assert float(light.min()) >= 0
    assert error(light, sharp) < 0.5 * error(plane, sharp)
    better = richardson_lucy(plane, light.clamp(min=0.03), transfer, (12,))[0]
    assert float(better.min()) >= 0
    assert error(better, sharp) < 0.4 * error(plane, sharp)


def test_a_few_steps_are_near_the_minimum(scene: tuple[torch.Tensor, ...]) -> None:
    _, transfer, plane = scene
    few, many = (nonnegative_wiener(plane, transfer, 500 * 0.005**2, n) for n in (8, 100))
    assert error(few, many) < 0.02


def test_perfect_data_of_a_known_specimen_are_a_fixed_point(scene: tuple[torch.Tensor, ...]) -> None:
    sharp, transfer, _ = scene
    light = sharp.clamp(min=0.01)
    plane = blur_by(light, transfer)
    assert error(richardson_lucy(plane, light, transfer, (10,))[0], light) < 1e-3


def test_a_wiener_back_projector_needs_a_fraction_of_the_iterations(scene: tuple[torch.Tensor, ...]) -> None:
    sharp, transfer, plane = scene
    start = plane.clamp(min=0.02)
    slow = richardson_lucy(plane, start, transfer, (10, 30))
    (fast,) = richardson_lucy(plane, start, transfer, (10,), back=back_projector(transfer, 0.1))
    assert error(fast, sharp) < 0.75 * error(slow[0], sharp)
    assert error(fast, sharp) < error(slow[1], sharp)
    assert torch.allclose(back_projector(transfer, 1e6), transfer.conj(), atol=1e-5)


def test_an_unmatched_back_projector_does_not_diverge_about_a_bright_spot(optics: Optics) -> None:
    y, x = torch.meshgrid(torch.arange(192.0) - 96, torch.arange(192.0) - 96, indexing="ij")
    light = torch.sigmoid((15 - torch.hypot(x, y)) * 2)  # an even disc on the dark
    transfer = otf(psf(optics, optics.defocus_um(20.0), size=190)[0], (192, 192))
    plane = blur_by(light, transfer) + 0.01 * torch.randn(192, 192, generator=torch.Generator().manual_seed(0))
    (found,) = richardson_lucy(plane, plane.clamp(min=0.02), transfer, (18,), back=back_projector(transfer, 0.1))
    assert error(found, light) < 0.5 * error(plane, light)


def test_several_levels_are_tried_at_once(scene: tuple[torch.Tensor, ...], optics: Optics) -> None:
    _, _, plane = scene
    transfer = camera_otf(optics, (6.0, 9.0), (192, 192))
    both = nonnegative_wiener(plane.expand(2, -1, -1), transfer, 0.01, 4)
    alone = nonnegative_wiener(plane, transfer[1], 0.01, 4)
    torch.testing.assert_close(both[1], alone, atol=1e-5, rtol=1e-4)
