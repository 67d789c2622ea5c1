import itertools

import numpy as np
import pytest
import torch
from focuslab_training.data.observations import normalise

from focuslab.models.bundle import Model
from focuslab.models.estimator import LevelEstimator, safest_level
from focuslab.models.evidence import TRIAL_LEVELS, gather_evidence
from focuslab.models.spectrum import fit_spectrum, radial_power, radial_spectrum
from focuslab.optics import Optics, defocus, phantom
from focuslab.refocusing.levels import estimate_level, how_sure


def test_the_spectrum_of_noise_is_flat_and_that_of_structure_is_not() -> None:
    noise = torch.randn(2, 1, 200, 150, generator=torch.Generator().manual_seed(0))
    flat = radial_spectrum(noise, 48)
    assert flat.shape == (2, 48) and float(flat[:, 10:].abs().max()) < 0.3
    smooth = torch.nn.functional.avg_pool2d(noise, 9, 1, 4) + 0.01 * noise
    assert float((radial_spectrum(smooth, 48)[:, 10] - radial_spectrum(smooth, 48)[:, -1]).min()) > 0.5


@pytest.mark.parametrize("shape", [(16, 16), (33, 200), (512, 600)])
def test_any_size_is_read(optics: Optics, shape: tuple[int, int]) -> None:
    scores, odds = LevelEstimator()(gather_evidence(torch.rand(shape), optics))
    assert scores.shape == (1, 1 + len(TRIAL_LEVELS)) and odds.shape == (1,)
    assert torch.isfinite(scores).all() and torch.isfinite(odds).all()


@pytest.mark.parametrize("level", [13.0, 25.0])
def test_the_misfit_has_its_last_dip_at_the_true_level(optics: Optics, level: float) -> None:
    curve = gather_evidence(normalise(torch.from_numpy(planes(optics, level, 1)[0]).float()), optics).misfit[0, 0]
    dips = [i for i in range(1, len(curve) - 1) if curve[i] < min(curve[i - 1], curve[i + 1])]
    assert TRIAL_LEVELS[dips[-1]] == pytest.approx(level, rel=0.1)
    above = [i for i, trial in enumerate(TRIAL_LEVELS) if trial > 1.3 * level]
    assert float((curve[above] - curve[dips[-1]]).min()) > 0.5


def few_nuclei(optics: Optics, level: float, seed: int) -> np.ndarray:
    """Three even discs at eight times the noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:192, :192]
    light = np.zeros((192, 192), np.float32)
    for cy, cx in rng.uniform(40, 152, (3, 2)):
        light[np.hypot(y - cy, x - cx) < 10] = 1
    clean = defocus(torch.from_numpy(light), optics, optics.defocus_um(level))[0].numpy()
    return np.asarray(clean + rng.normal(0, 0.125, clean.shape), np.float32)


def test_what_noise_drowns_shows_where_light_is(optics: Optics) -> None:
    plane = normalise(torch.from_numpy(few_nuclei(optics, 5.0, 1)))
    fine, _, weighed = gather_evidence(plane, optics).misfit[0]
    at, beyond = (int(np.searchsorted(TRIAL_LEVELS, level)) for level in (5.0, 8.0))
    assert float(weighed[beyond] - weighed[at]) > 0.5 > 4 * float(fine[beyond] - fine[at])


@pytest.mark.parametrize("level", [5.0, 9.0, 12.0])
def test_few_faint_nuclei_are_not_taken_for_points(default_model: Model, optics: Optics, level: float) -> None:
    found = [estimate_level([few_nuclei(optics, level, seed)], default_model, optics).level_px for seed in range(5)]
    assert max(found) < 1.25 * level
    if level > 5:  # less blur cannot be told from none, and is taken for none
        assert np.median([abs(f - level) / level for f in found]) < 0.15


def test_the_level_is_where_the_scores_are() -> None:
    scores = torch.full((5, 1 + len(TRIAL_LEVELS)), -20.0)
    scores[0, 0] = 5
    scores[1, 21] = scores[1, 22] = 5
    scores[2, 30] = 5
    scores[3, 20] = scores[3, 22] = 5
    scores[4, 30], scores[4, 0] = 5, 3
    level, chance, doubt = safest_level(scores)
    assert float(level[0]) == 0
    assert float(level[1]) == pytest.approx((TRIAL_LEVELS[20] * TRIAL_LEVELS[21]) ** 0.5, rel=1e-3)
    assert float(level[2]) == pytest.approx(TRIAL_LEVELS[29], rel=1e-3)
    assert float(chance[:3].min()) > 0.99
    assert doubt[:3].tolist() == pytest.approx([0.01] * 3, abs=0.003), "one answer, or two neighbours that share it"
    assert 0.06 < float(doubt[3]) < 0.08, "two answers two steps of 8 % apart"
    assert 0.01 <= float(doubt[4]) < 0.03, "a far answer, one in eight, adds a little"


def planes(optics: Optics, level: float, count: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    specimens = (phantom("nuclei", (384, 384), seed=910_000 + i, scale_px=16) for i in range(count))
    clean = [defocus(torch.from_numpy(s), optics, optics.defocus_um(level))[0].numpy() for s in specimens]
    return [c + rng.normal(0, 0.008, c.shape) for c in clean]


def test_a_plane_that_may_be_in_focus_is_taken_for_slightly_out_of_it() -> None:
    scores = torch.full((3, 1 + len(TRIAL_LEVELS)), -20.0)
    slight = TRIAL_LEVELS.index(min(TRIAL_LEVELS, key=lambda level: abs(level - 1.8)))
    scores[:, 1 + slight], scores[:, 0] = torch.tensor([5.0, 5.0, 5.0]), torch.tensor([5.0, 9.0, 0.0])
    level, _, doubt = safest_level(scores)
    assert 0.6 < float(level[0]) < 1.4, "too little costs less than too much"
    assert float(level[1]) == 0, "what is sharp is left as it is"
    assert float(level[2]) == pytest.approx(TRIAL_LEVELS[slight], rel=1e-3)
    assert float(doubt[0]) > 0.05 > float(doubt[2])


def test_more_blur_is_a_higher_level(default_model: Model, optics: Optics) -> None:
    found = [
        np.median([estimate_level([p], default_model, optics).level_px for p in planes(optics, level)])
        for level in (2.0, 5.0, 10.0, 20.0, 30.0)
    ]
    assert all(a < b for a, b in itertools.pairwise(found)), found


@pytest.mark.parametrize("level", [8.0, 14.0, 25.0])
def test_levels_are_about_right(default_model: Model, optics: Optics, level: float) -> None:
    found = [estimate_level([p], default_model, optics) for p in planes(optics, level)]
    assert all(f.found for f in found)
    assert np.median([abs(f.level_px - level) / level for f in found]) < 0.12


@pytest.mark.parametrize("seed", range(10))
def test_empty_fields_have_no_structure(default_model: Model, seed: int) -> None:
    rng = np.random.default_rng(seed)
    empty = rng.poisson(rng.uniform(5, 300), (256, 256)) + rng.normal(100, 2, (256, 256))
    assert not estimate_level([empty], default_model, Optics.nominal()).found


def test_brightness_and_offset_do_not_matter(default_model: Model, optics: Optics) -> None:
    plane = planes(optics, 8.0, 1)[0]
    plain = estimate_level([plane], default_model, optics)
    moved = estimate_level([plane * 3000 + 500], default_model, optics)
    assert moved.level_px == pytest.approx(plain.level_px, rel=1e-3)


def test_what_diffraction_hides_is_not_doubted() -> None:
    scores = torch.full((1, 1 + len(TRIAL_LEVELS)), -20.0)
    scores[0, [1, 8]] = 5.0  # 1 or 1.7 px
    fine = Optics(na=0.3, wavelength_um=0.52, pixel_size_um=0.2)  # an Airy disc of 5 px
    coarse = fine.replace(pixel_size_um=2.0)
    (_, _, hidden), (_, _, seen) = (safest_level(scores, microscope) for microscope in (fine, coarse))
    assert float(hidden) < 0.02 < 0.04 < float(seen)


def test_the_spectrum_of_white_noise_is_its_variance() -> None:
    noise = 0.1 * torch.randn(300, 200, generator=torch.Generator().manual_seed(1))
    power, samples, beyond = radial_power(noise)
    assert float(power[samples > 50].mean()) == pytest.approx(0.01, rel=0.02)
    assert float(beyond) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("level", [0.0, 3.0, 8.0])
def test_a_specimen_that_falls_as_a_power_is_told_its_level(optics: Optics, level: float) -> None:
    rng = torch.Generator().manual_seed(2)
    rows, columns = torch.fft.fftfreq(384), torch.fft.rfftfreq(384)
    fall = torch.hypot(rows[:, None], columns[None]).clamp(min=1 / 384) ** -1.5
    specimen = torch.fft.irfft2(torch.fft.rfft2(torch.randn(384, 384, generator=rng)) * fall)
    light = specimen / specimen.std()  # nothing in it is dark: only its spectrum says how it is blurred
    plane = defocus(light, optics, optics.defocus_um(level))[0]
    plane = plane + 0.003 * torch.randn(plane.shape, generator=rng)
    levels = (0.0, *TRIAL_LEVELS)
    residual, exponent = fit_spectrum(plane, optics, levels)
    found = int(residual.argmin())
    assert levels[found] == pytest.approx(level, rel=0.1, abs=1.1)
    assert float(exponent[found]) == pytest.approx(-3.0, abs=0.3)


def test_no_reading_is_told_as_certain() -> None:
    assert how_sure(0.326) == "33% sure"
    assert how_sure(0.9999) == "at least 99% sure"
    assert how_sure(1.0, 0.62) == "at least 62% sure"
