"""Where an iteration is stopped by what it leaves unexplained."""

import pytest
import torch

from focuslab.models.light import light_copies
from focuslab.models.whiteness import GRID, correlation, grain, picture_at, stop_at
from focuslab.optics import Optics, defocus, mirror_pad, phantom


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("pixel", [1, 2])
def test_noise_is_white_and_structure_is_not(pixel: int) -> None:
    white = noise(1, 1, 256 // pixel, 256 // pixel)
    smooth = (white + white.roll(1, -1) + white.roll(1, -2) + white.roll((1, 1), (-2, -1))) / 4
    found = [correlation(image, pixel, 24.0) for image in (white, smooth)]
    assert all(one.shape[-2:] == (256 // GRID, 256 // GRID) for one in found)
    assert found[0].abs().max() < 0.1 * pixel
    assert (found[1] - 0.5).abs().max() < 0.15


def test_a_residual_of_nothing_is_no_number_to_divide_by() -> None:
    assert torch.equal(correlation(torch.zeros(1, 1, 64, 64), 1, 16.0), torch.zeros(1, 1, 8, 8))


def grainy(spread: float) -> torch.Tensor:
    """Noise smoothed by a Gaussian of so many px."""
    f = torch.fft.fftfreq(256).square()
    smooth = torch.exp(-2 * (torch.pi * spread) ** 2 * (f[:, None] + f))
    made = torch.fft.ifft2(torch.fft.fft2(noise(1, 1, 256, 256)) * smooth).real
    return made / made.std()


def test_the_grain_of_noise_is_found_through_structure() -> None:
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    structure = 5 * torch.sin(y / 9) * torch.cos(x / 7)
    assert grain(noise(1, 1, 256, 256) + structure, 1, 32.0).mean() < 0.01
    for spread in (0.45, 0.55, 0.65):
        plain = grainy(spread)
        alike = (plain * plain.roll(1, -1)).mean()
        assert (grain(plain + structure, 1, 32.0).mean() + 0.1 - alike).abs() < 0.1


def test_grainy_noise_is_not_taken_for_structure() -> None:
    optics = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
    light = torch.from_numpy(phantom("nuclei", (256, 256), seed=5))
    plane = defocus(light, optics, optics.defocus_um(4.0))[0] + 0.05 * grainy(0.6)
    dark = plane.quantile(0.005)
    found = light_copies(optics, plane.float() - dark, 4.0, 0.05)
    latest, stopped = (
        (copy[0, 0, 32:-32, 32:-32] + dark - light[32:-32, 32:-32]).square().mean()
        for copy in (found.stopped[2], found.white)
    )
    assert stopped < 0.4 * latest


def test_the_stop_lies_where_the_correlation_has_fallen() -> None:
    falling = [torch.full((1, 1, 1, 1), value) for value in (0.4, 0.0, -0.08, 0.3)]  # a rise is not waited for
    assert stop_at(falling).item() == pytest.approx(1.5)
    assert stop_at([torch.full((1, 1, 1, 1), -0.2)] * 3).item() == 0
    assert stop_at([torch.full((1, 1, 1, 1), 0.2)] * 3).item() == 2


def test_a_picture_lies_between_its_stops() -> None:
    stops = [torch.full((1, 1, 40, 36), value) for value in (0.0, 1.0, 4.0)]  # a little larger than the grid's 4 x 4
    for position, value in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (1.5, 2.5), (2.0, 4.0)):
        picture = picture_at(stops, torch.full((1, 1, 4, 4), position), 1)
        assert torch.allclose(picture, torch.full_like(picture, value))


def test_every_specimen_is_stopped_near_its_best() -> None:
    optics, level, lost = Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.2), 8.0, []
    for kind in ("filaments", "puncta", "membranes"):
        for photons in (200.0, 20_000.0):
            light = torch.from_numpy(phantom(kind, (256, 256), seed=910_000))
            plane, truth = (defocus(light, optics, optics.defocus_um(at))[0] for at in (level, 0.0))
            plane = plane + (plane.clamp(min=0) / photons).sqrt() * noise(256, 256)
            copies = light_copies(optics, mirror_pad(plane, 64)[None, None], level, 0.01)
            errors = [
                float((copy[0, 0, 96:-96, 96:-96] - truth[32:-32, 32:-32]).square().mean().log10())
                for copy in (*copies.stopped, copies.white)
            ]
            lost.append([10 * (error - min(errors[:3])) for error in errors])
    losses = torch.tensor(lost).mean(0)  # dB, of the stops and of the white one, to each specimen's best stop
    assert losses[3] < 0.6 * losses[:3].min()


def test_dense_specimens_get_the_detail_of_single_pixels_where_the_camera_is_the_limit() -> None:
    optics, level = Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.5), 8.0
    light = torch.from_numpy(phantom("puncta", (256, 256), seed=910_003))
    plane = defocus(light, optics, optics.defocus_um(level))[0]
    plane = plane + (plane.clamp(min=0) / 1500).sqrt() * noise(256, 256)
    copies = light_copies(optics, mirror_pad(plane, 64)[None, None], level, 0.01).stopped
    binned, fine = ((copy[0, 0, 96:-96, 96:-96] - light[32:-32, 32:-32]).square().mean() for copy in copies[1:])
    assert fine < 0.6 * binned
