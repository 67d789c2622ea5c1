import itertools

import numpy as np
import pytest
import torch

from focuslab.models.latent import LatentCode, along_line, between_codes, fade
from focuslab.models.networks import conditions
from focuslab.optics import Optics


def code(seed: int, level: float, rungs: tuple[float, ...] = (0.0, 5.0)) -> LatentCode:
    g = torch.Generator().manual_seed(seed)
    return LatentCode(
        (torch.randn(1, 3, 4, 4, generator=g), torch.randn(1, 2, 2, 2, generator=g)),
        torch.randn(1, 2, 16, 16, generator=g),
        torch.full((1, 1, 1, 1), level),
        torch.randn(1, 1, 16, 16, generator=g),
        rungs,
    )


def test_codes_are_vectors() -> None:
    a, b = code(0, 2.0), code(1, 6.0)
    middle = a + 0.5 * (b - a)
    for m, p, q in zip(middle.features, a.features, b.features, strict=True):
        assert torch.allclose(m, (p + q) / 2)
    assert float(middle.level) == 4.0
    assert torch.allclose((a * 2).remainder, 2 * a.remainder)


def test_codes_on_different_ladders_do_not_mix() -> None:
    with pytest.raises(ValueError, match="ladders"):
        code(0, 1.0) + code(1, 1.0, rungs=(0.0, 7.0))


def test_the_line_is_straight_and_starts_at_the_code() -> None:
    here, direction = code(0, 4.0), code(1, 1.0)
    assert torch.equal(along_line(here, direction, 0.0).features[0], here.features[0])
    assert torch.equal(along_line(here, direction, 0.0).remainder, here.remainder)
    one, two = (along_line(here, direction, s).features[0] - here.features[0] for s in (-1.0, -2.0))
    assert torch.allclose(two, 2 * one, atol=1e-6)


@pytest.mark.parametrize(("level", "reach"), [(0.0, 1.0), (2.0, 1.0), (8.0, 2.0), (36.0, 9.0)])
def test_the_remainder_is_gone_a_quarter_of_the_level_away(level: float, reach: float) -> None:
    here, direction = code(0, level), code(1, 1.0)
    for way in (-1, 1):
        half = along_line(here, direction, way * reach / 2).remainder
        assert torch.allclose(half, 0.5 * here.remainder, atol=1e-6)
        assert float(along_line(here, direction, way * reach).remainder.abs().max()) < 1e-6
        assert float(along_line(here, direction, way * 3 * reach).remainder.abs().max()) < 1e-6


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0, 8.0])
def test_fade_is_flat_at_zero_and_falls(level: float) -> None:
    at = [float(fade(s, torch.tensor(level))) for s in (0.0, 0.01, 0.3, 0.6, 1.0)]
    assert at[0] == 1.0
    assert at[1] > 0.999
    assert all(p >= q for p, q in itertools.pairwise(at))


def test_between_codes_meets_both_planes_and_never_extrapolates_noise() -> None:
    blurred, sharp = (code(0, 6.0), code(2, 1.0)), (code(1, 2.0), code(3, 1.0))
    for a, b in ((blurred, sharp), (sharp, blurred)):
        for t, end in ((0.0, a[0]), (1.0, b[0])):
            at = between_codes(a, b, t)
            for name in ("ladder", "remainder", "level"):
                assert torch.allclose(getattr(at, name), getattr(end, name), atol=1e-6)
            assert torch.allclose(at.features[0], end.features[0], atol=1e-6)
        half = between_codes(a, b, 0.5)
        assert torch.allclose(half.features[0], 0.5 * (a[0].features[0] + b[0].features[0]))
        assert torch.equal(half.ladder, sharp[0].ladder), "blurring loses nothing"
        beyond = between_codes(a, b, 3.0)
        assert torch.allclose(beyond.features[0], along_line(*b, 2 * (b[0].level - a[0].level)).features[0])
        assert float(beyond.level.mean()) == pytest.approx(float((a[0].level + 3 * (b[0].level - a[0].level)).mean()))
        assert float(beyond.remainder.abs().max()) <= float(b[0].remainder.abs().max())


def test_a_shift_of_numpy_keeps_the_precision_of_the_level() -> None:
    """Apple's GPU has no numbers of 64 bits."""
    assert fade(np.float64(-0.5), torch.tensor(2.0)).dtype == torch.float32
    assert (
        conditions(Optics(na=0.5, wavelength_um=0.5, pixel_size_um=0.6), np.float64(2.0), np.float64(0.01)).dtype
        == torch.float32
    )
