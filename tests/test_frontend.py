import pytest
import torch

from focuslab.models.frontend import LADDER, PhysicsFrontEnd, bracket
from focuslab.models.light import light_copies
from focuslab.models.noise import noise_sigma
from focuslab.optics import Optics, defocus, mirror_pad, phantom


@pytest.mark.parametrize("level", [0.0, 2.0, 7.0, 20.0, 45.0])
def test_flat_light_stays_flat(optics: Optics, level: float) -> None:
    copies = PhysicsFrontEnd(optics).copies(torch.full((1, 1, 256, 256), 0.7), level, 0.01, bracket([0.0, level]))
    assert all(torch.allclose(copy, torch.tensor(0.7), atol=5e-3) for copy in copies.deconvolved)
    assert torch.allclose(copies.ladder, torch.tensor(0.7), atol=5e-3)


@pytest.mark.parametrize("level", [2.0, 4.0, 8.0, 15.0])
def test_deconvolved_copies_are_nearer_to_the_truth(optics: Optics, level: float) -> None:
    specimen = torch.from_numpy(phantom("nuclei", (256, 256), seed=8, scale_px=15))
    blurred = defocus(specimen, optics, optics.defocus_um(level))[0]
    noisy = blurred + 0.01 * torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    front_end = PhysicsFrontEnd(optics)
    margin = front_end.radius(level, bracket([0.0, level]))
    plane = mirror_pad(noisy, margin)[None, None]
    copies = front_end.copies(plane, level, float(noise_sigma(plane)), bracket([0.0, level]), margin=margin)
    before = float((noisy - specimen).square().mean())
    after = [(copy[0, 0] - specimen).square().mean() for copy in copies.deconvolved]
    assert float(after[1]) < 0.6 * before, "Wiener"
    assert float(after[4]) < 0.6 * before, "Richardson-Lucy"


def test_synthesis_rungs_are_the_relative_blur(optics: Optics) -> None:
    specimen = torch.from_numpy(phantom("nuclei", (256, 256), seed=8, scale_px=15))
    sharp = defocus(specimen, optics, 0.0)[0]
    truth = defocus(specimen, optics, [optics.defocus_um(r) for r in (7.0, 14.0)])
    front_end = PhysicsFrontEnd(optics)
    margin = front_end.radius(0.0, (7.0, 14.0))
    rungs = front_end.copies(mirror_pad(sharp, margin)[None, None], 0.0, 0.0, (7.0, 14.0), margin=margin).ladder[0]
    assert float((rungs - truth).abs().max()) < 0.02


@pytest.mark.parametrize("kind", ["nuclei", "filaments", "membranes"])
@pytest.mark.parametrize("target", [4.0, 8.0])
def test_one_specimen_seen_at_every_level_beats_a_filter_from_level_to_level(
    optics: Optics, kind: str, target: float
) -> None:
    level, specimen = 8.0, torch.from_numpy(phantom(kind, (256, 256), seed=8))  # type: ignore[arg-type]
    blurred, truth = defocus(specimen, optics, [optics.defocus_um(r) for r in (level, target)])
    noisy = blurred + 0.01 * torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    front_end, rungs = PhysicsFrontEnd(optics), (0.0, target)
    margin = front_end.radius(level, rungs)
    plane, noise = mirror_pad(noisy, margin)[None, None], float(noise_sigma(noisy[None, None]))
    rung = front_end.copies(plane, level, noise, rungs, margin=margin).ladder[0, 1]
    filtered = front_end.blurred(plane, level, noise, (target,), margin)[0, 0]
    share = 0.8 if target < level else 1.3  # at the level of the plane itself a filter has nothing to do
    assert float((rung - truth).square().mean()) < share * float((filtered - truth).square().mean())


def test_a_ladder_is_made_again_from_its_source(optics: Optics) -> None:
    specimen = torch.from_numpy(phantom("nuclei", (128, 128), seed=8, scale_px=15))
    for level in (1.0, 8.0):
        blurred = defocus(specimen, optics, optics.defocus_um(level))
        front_end, rungs = PhysicsFrontEnd(optics), (0.0, 4.8, 10.0)
        margin = front_end.radius(level, rungs)
        copies = front_end.copies(mirror_pad(blurred, margin)[None], level, 0.01, rungs, margin=margin)
        again = front_end.rung_copies(copies.source, level, 0.01, (10.0,), front_end.reach(level, rungs))
        assert torch.allclose(again, copies.ladder[:, 2:], atol=1e-5)


def test_noise_is_measured_through_blurred_structure(optics: Optics) -> None:
    specimen = torch.from_numpy(phantom("mixed", (256, 256), seed=2))
    blurred = defocus(specimen, optics, 8.0)
    for sigma in (0.003, 0.03):
        noisy = blurred + sigma * torch.randn(blurred.shape, generator=torch.Generator().manual_seed(1))
        assert float(noise_sigma(noisy[None])) == pytest.approx(sigma, rel=0.1)


def test_bracket_names_the_rungs_around_each_level() -> None:
    assert bracket([0.0]) == (0.0,)
    assert bracket([0.0, 8.0]) == (0.0, 7.0, 10.0)
    assert bracket([LADDER[-1] + 10])[-1] == LADDER[-1]
    assert bracket([-3.0]) == (0.0,)


def test_a_bright_spot_found_on_binned_pixels_leaves_no_lines() -> None:
    optics = Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.2)
    light = torch.full((256, 256), 0.02)
    light[128, 128] = 400.0
    plane = defocus(light, optics, optics.defocus_um(16.0))[0]
    late = light_copies(optics, (plane / plane.max())[None, None], 16.0, 0.002).stopped[2][0, 0]
    beside = torch.cat([late[128, 150:230], late[150:230, 128]]) - late[150:230, 60:120].mean()
    assert beside.abs().max() < 2e-3 * late.max()
