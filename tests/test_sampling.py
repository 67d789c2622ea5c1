"""What is looked at of a large plane: specimens are found wherever they lie, and set the scale however few they are."""

import numpy as np
import pytest
import torch

from focuslab.optics import Optics, defocus, phantom
from focuslab.refocusing.intensity import intensity_of, measure_map
from focuslab.refocusing.sampling import sample_plane, saturated, spread_windows, structured_windows
from focuslab.refocusing.survey import focus_curve
from focuslab.stack import FocalStack


@pytest.mark.parametrize("shape", [(2048, 2048), (1500, 1100), (300, 9000), (5000, 260), (1025, 1024)])
@pytest.mark.parametrize(("budget", "side"), [(1 << 20, 256), (4 << 20, 512), (1 << 19, 128)])
def test_windows_are_spread_over_the_whole_plane(shape: tuple[int, int], budget: int, side: int) -> None:
    windows = spread_windows(shape, budget, side)
    if shape[0] * shape[1] <= min(budget, 1 << 20):
        assert windows == [(slice(0, shape[0]), slice(0, shape[1]))]
        return
    sizes = [(y.stop - y.start) * (x.stop - x.start) for y, x in windows]
    assert sum(sizes) <= budget and max(sizes) == min(side, shape[0]) * min(side, shape[1])
    for axis in (0, 1):
        starts, stops = ([getattr(w[axis], end) for w in windows] for end in ("start", "stop"))
        assert min(starts) >= 0 and max(stops) <= shape[axis]
        assert min(starts) == shape[axis] - max(stops) or abs(min(starts) + max(stops) - shape[axis]) <= 1, "centred"


def test_planes_that_fit_are_read_whole_and_2048_is_seen_whole() -> None:
    assert spread_windows((1024, 1024)) == [(slice(0, 1024), slice(0, 1024))]
    seen = np.zeros((2048, 2048), bool)
    for window in spread_windows(seen.shape, 4 << 20, 512):
        seen[window] = True
    assert seen.all()
    read = structured_windows(FocalStack(np.zeros(seen.shape, np.uint16), "YX"), ())
    assert [w.shape for w in read] == [(512, 512)] * 4, "and the most structured of it are read"


@pytest.mark.parametrize("at", [(0, 0), (800, 900), (1500, 40)], ids=["corner", "middle", "edge"])
def test_a_specimen_is_found_wherever_it_lies(optics: Optics, at: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 3, (2048, 2048))
    light = torch.as_tensor(phantom("nuclei", (384, 384), seed=2, scale_px=14))
    light = light * torch.as_tensor(np.outer(np.hanning(384), np.hanning(384)), dtype=light.dtype)
    part = defocus(light, optics, [8.0])[0].numpy() * 1000
    image[at[0] : at[0] + 384, at[1] : at[1] + 384] += part
    stack = FocalStack(np.rint(image).astype(np.uint16), "YX")
    assert max(w.max() for w in structured_windows(stack, ())) == stack.plane().max()
    bright = measure_map(stack, [()]).bright
    assert bright > 100 + 0.4 * part.max(), "not the brightness of the empty field"
    found = focus_curve(stack, optics=optics)[0].estimate
    assert found.found and found.level_px == pytest.approx(optics.radius_px(8.0), rel=0.3)


def test_few_bright_structures_set_the_scale_of_a_large_field() -> None:
    rng = np.random.default_rng(1)
    small = rng.normal(100, 4, (256, 256))
    small[100:110, 100:110] += 1000
    large = rng.normal(100, 4, (1024, 1024))
    large[:256, :256] = small
    alone, within = intensity_of([small]), intensity_of([large])
    assert within.scale == pytest.approx(alone.scale / 2, rel=0.02)
    even = rng.normal(100, 4, (1024, 1024))
    assert intensity_of([even]).bright == pytest.approx(np.percentile(even, 99.9)), "and nothing changes in others"


def test_light_between_the_windows_is_looked_for_before_a_stack_is_called_blank() -> None:
    plane = np.zeros((4096, 4096), np.uint16)
    windows = spread_windows(plane.shape, (4 << 20) // 8, 128)
    assert not any(plane[w].any() for w in windows)
    y = windows[0][0].stop + 30
    plane[y : y + 60, y : y + 60] = 500
    assert not any(plane[w].any() for w in windows), "none of them sees it"
    stack = FocalStack(np.stack([plane] * 8), "ZYX")
    found = measure_map(stack, list(stack.planes()))
    assert not found.blank and found.bright == 500
    assert measure_map(FocalStack(np.zeros_like(stack.array), "ZYX"), list(stack.planes())).blank


def test_windows_of_all_planes_are_the_same() -> None:
    stack = FocalStack(np.arange(2 * 1200 * 1300).reshape(2, 1200, 1300), "ZYX")
    first, second = sample_plane(stack, (0,)), sample_plane(stack, (1,))
    assert all((b - a == 1200 * 1300).all() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_a_camera_cut_off_is_seen(dtype: type) -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(200 * phantom("nuclei", (192, 192), seed=7)).astype(float)
    counts *= 250 / counts.max()
    assert saturated([counts.astype(dtype)]) == 0 and saturated([np.zeros((32, 32), dtype)]) == 0
    cut = np.minimum(counts, np.percentile(counts, 97)).astype(dtype)
    assert saturated([cut[:96], cut[96:]]) == pytest.approx(0.03, abs=0.01)
