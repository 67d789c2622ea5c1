import numpy as np
import pytest
import torch

from focuslab.models.frontend import noise_sigma
from focuslab.models.light import LightCopies, light_copies
from focuslab.optics import Optics, crop, defocus, mirror_pad, phantom

OPTICS = Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.2)
SIDE, MARGIN = 192, 96


def blurred(light: torch.Tensor, level: float, noise: float) -> torch.Tensor:
    """Plane (1, 1, Y, X) of a specimen with 0 in the dark."""
    plane = defocus(light, OPTICS, OPTICS.defocus_um(level))[0]
    plane = plane + noise * torch.randn(plane.shape, generator=torch.Generator().manual_seed(0))
    return plane[None, None]


def error(copy: torch.Tensor, truth: torch.Tensor, rim: int = MARGIN) -> float:
    return float((crop(copy, rim)[0, 0] - truth).square().mean())


@pytest.mark.parametrize("kind", ["filaments", "nuclei"])
def test_the_less_noise_there_is_the_more_iterations_are_made(kind: str) -> None:
    light = torch.from_numpy(phantom(kind, (SIDE, SIDE), seed=800_000))  # type: ignore[arg-type]
    light, noise = light / float(np.percentile(light, 99.9)), 0.001
    plane, truth = mirror_pad(blurred(light, 4.0, noise), MARGIN), defocus(light, OPTICS, 0.0)[0]

    def errors(copies: LightCopies) -> list[float]:
        return [error(copy, truth) for copy in (copies.filtered, copies.white)]

    few, many = (errors(light_copies(OPTICS, plane, 4.0, told)) for told in (0.01, noise))
    assert all(late < 0.6 * early for late, early in zip(many, few, strict=True))
    assert errors(light_copies(OPTICS, plane, 4.0, 0.02))[1] == few[1], "and never fewer than in much noise"


def test_what_is_wrong_beyond_the_border_does_not_keep_an_iteration_going() -> None:
    light = torch.from_numpy(phantom("puncta", (SIDE, SIDE), seed=800_001))
    light, noise = light / float(np.percentile(light, 99.9)), 0.002
    plane = torch.full((1, 1, SIDE + 2 * MARGIN, SIDE + 2 * MARGIN), 0.3)  # nothing of the sort
    inside = slice(MARGIN, -MARGIN)
    plane[..., inside, inside] = blurred(light, 4.0, noise)
    truth, near = defocus(light, OPTICS, 0.0)[0], 24  # px at the rim where nothing is to be had
    truth = crop(truth[None, None], near)[0, 0]

    def wrong_by(rows: slice, columns: slice) -> float:
        return error(light_copies(OPTICS, plane, 4.0, noise, 0.0, (rows, columns)).white, truth, MARGIN + near)

    right, wrong = wrong_by(inside, inside), wrong_by(slice(None), slice(None))
    assert right < 0.7 * wrong


@pytest.mark.parametrize("sigma", [0.002, 0.01])
def test_edges_little_out_of_focus_are_not_taken_for_noise(sigma: float) -> None:
    light = torch.from_numpy(phantom("filaments", (256, 256), seed=800_000))
    plane = blurred(light, 2.0, sigma)
    assert float(noise_sigma(plane)) == pytest.approx(sigma, rel=0.15)
    if sigma < 0.01:
        assert float(noise_sigma(plane, differences=2)) > 1.5 * sigma
