"""Contracts of the engine, on a network with random weights: they hold by construction, not by training."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import focuslab
from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError, DeviceError, ImageError, RequestError
from focuslab.models.bundle import Model
from focuslab.optics import Optics, defocus, phantom
from focuslab.quality import psnr, scaled_to
from focuslab.refocusing import Engine, RefocusRequest, finish, refocus_steps
from focuslab.refocusing import levels as levels_module
from focuslab.refocusing import steps as steps_module
from focuslab.refocusing.filling import Tally
from focuslab.refocusing.levels import LevelEstimate
from focuslab.refocusing.plan import plan_refocus
from focuslab.simulation import simulate_stack
from focuslab.stack import FocalStack

CALIBRATED = Calibration(pixel_size_um=0.645, z_step_um=2.0, na=0.5, wavelengths_um=(0.461,))


def run(
    image: np.ndarray,
    model: Model,
    tile: int = 1024,
    precision: str = "float32",
    optics: Optics | None = None,
    **request: object,
) -> np.ndarray:
    out = np.empty_like(image)
    engine = Engine(model, "cpu", precision)
    finish(refocus_steps(FocalStack(image), RefocusRequest(**request), engine, out, optics=optics, tile=tile))
    return out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "uint64"])
@pytest.mark.parametrize("level", [0.0, 6.0, 30.0])
def test_shift_zero_returns_the_input_bit_for_bit(
    blurred: np.ndarray, tiny_model: Model, dtype: str, level: float
) -> None:
    wide = {"uint8": 1 / 16, "uint32": 50000, "int32": 20000, "uint64": 10**9}.get(dtype, 1)
    image = (blurred.astype(np.float64) * wide).astype(dtype)
    for precision in ("float32", "bfloat16"):
        assert np.array_equal(run(image, tiny_model, precision=precision, shift_px=0.0, level_px=level), image)


def test_doubt_is_that_of_the_estimate_unless_it_is_said(default_model: Model, blurred: np.ndarray) -> None:
    def doubt(**request: object) -> float:
        plan = finish(plan_refocus(FocalStack(blurred), RefocusRequest(sharpest=True, **request), default_model))
        return plan.planes[0].facts.doubt

    assert doubt(level_px=6.0) == 0.0
    stack = FocalStack(blurred[None], "ZYX", CALIBRATED)
    from_z = finish(plan_refocus(stack, RefocusRequest(sharpest=True, focus_plane=0), default_model))
    assert from_z.planes[0].facts.doubt == 0.1
    assert doubt(level_px=6.0, doubt=0.2) == doubt(doubt=0.2) == 0.2
    assert 0.0 < doubt() < 1.0
    with pytest.raises(RequestError, match="doubt"):
        RefocusRequest(sharpest=True, doubt=-0.1)


def test_there_is_no_special_case_for_shift_zero() -> None:
    import inspect

    from focuslab.models import autoencoder, latent
    from focuslab.refocusing import engine, refocus

    for module in (autoencoder, latent, engine, refocus, steps_module):
        source = inspect.getsource(module)
        assert "shift == 0" not in source and "shift_px == 0" not in source and "not shift" not in source


def test_a_thick_specimen_comes_out_better_when_its_thickness_is_known(default_model: Model) -> None:
    thin = Optics(na=0.5, wavelength_um=0.52, pixel_size_um=0.65)
    thick = thin.replace(thickness_um=14.0)
    specimen = torch.from_numpy(phantom("nuclei", (224, 224), seed=6, scale_px=14))
    truth, light = defocus(specimen, thin, 0.0)[0].numpy(), defocus(specimen, thick, 12.0)[0].numpy()
    image = (100 + 1500 * light + np.random.default_rng(0).normal(0, 8, light.shape)).astype(np.float32)

    def left(thickness_um: float | None) -> float:
        known = Calibration(na=0.5, wavelengths_um=(0.52,), pixel_size_um=0.65, thickness_um=thickness_um)
        stack = FocalStack(image, "YX", known)
        result = focuslab.refocus(stack, model=default_model, sharpest=True, level_um=12.0)
        assert result.provenance["planes"][0]["optics"]["thickness_um"] == (thickness_um or 0.0)
        return psnr(scaled_to(np.asarray(result.array), truth), truth, data_range=1.0)

    assert left(14.0) > left(None) + 0.5


# Up to the first rung of the ladder, 2 px, the way to the sharpest image undoes the in-focus blur too: steeper there.
@pytest.mark.parametrize("level,limit", [(0.0, 0.003), (0.8, 0.003), (3.0, 0.002), (9.0, 0.002), (25.0, 0.002)])
def test_a_tiny_shift_changes_next_to_nothing(default_model: Model, optics: Optics, level: float, limit: float) -> None:
    specimen = torch.from_numpy(phantom("nuclei", (203, 181), seed=5, scale_px=14))
    light = defocus(specimen, optics, optics.defocus_um(level))[0].numpy()
    image = (100 + 1500 * light + np.random.default_rng(0).normal(0, 8, light.shape)).astype(np.float32)
    span = float(np.percentile(image, 99.9) - np.percentile(image, 0.5))
    for shift in (0.01, -0.01):
        change = np.abs(run(image, default_model, precision="auto", shift_px=shift, level_px=level) - image)
        assert change.max() <= limit * span


@pytest.mark.parametrize(
    ("precision", "tolerance", "level", "thickness"),
    [
        *(("float32", 1e-3, level, 0.0) for level in (0.0, 4.0, 8.0, 12.0, 45.0)),
        ("float32", 1e-3, 4.0, 8.0),
        ("bfloat16", 5e-3, 4.0, 0.0),  # slow where the processor only emulates it
        ("bfloat16", 5e-3, 12.0, 0.0),
    ],
)
def test_tiled_is_untiled(
    default_model: Model, precision: str, tolerance: float, level: float, thickness: float
) -> None:
    optics = Optics.nominal().replace(thickness_um=thickness)
    specimen = torch.from_numpy(phantom("mixed", (411, 397), seed=11))
    noise = np.random.default_rng(0).normal(0, 0.004, specimen.shape)
    image = (defocus(specimen, optics, optics.defocus_um(level))[0].numpy() + noise).astype(np.float32)
    for request in ({"sharpest": True}, {"shift_px": 5.0}):
        if level + request.get("shift_px", 0) > 45:
            continue
        request = {**request, "level_px": level, "optics": optics}
        whole = run(image, default_model, 1024, precision, **request)
        span = float(np.percentile(whole, 99.9) - np.percentile(whole, 0.5))  # range of the picture that is compared
        for tile in (128, 256):
            assert np.abs(run(image, default_model, tile, precision, **request) - whole).max() <= tolerance * span


def test_a_stack_keeps_kind_shape_dtype_metadata_and_tells_its_story(blurred: np.ndarray, tiny_model: Model) -> None:
    stack = FocalStack(np.stack([blurred, blurred[::-1], blurred]), "ZYX", CALIBRATED, {"operation": "older"}, "imagej")
    result = focuslab.refocus(stack, sharpest=True, focus_plane=1, model=tiny_model, device="cpu")
    assert (result.axes, result.shape, result.dtype, result.family) == (
        stack.axes,
        stack.shape,
        stack.dtype,
        "imagej",
    )
    assert result.calibration == stack.calibration
    story = result.provenance
    assert story["model"]["name"] == "tiny" and story["device"] == "cpu" and story["operation"] == "refocus"
    assert [p["level_um"] for p in story["planes"]] == [2.0, 0.0, 2.0]
    assert [p["shift_px"] for p in story["planes"]] == [
        pytest.approx(-1.79, abs=0.01),
        0.0,
        pytest.approx(-1.79, abs=0.01),
    ]
    assert np.array_equal(result.plane((1,)), stack.plane((1,)))
    assert "mean_intensity_drift" in story and "saturated_pixels" in story


def test_arrays_come_back_as_arrays(blurred: np.ndarray, tiny_model: Model) -> None:
    image = np.stack([[blurred, blurred]])
    result = focuslab.refocus(image, shift_px=1.0, level_px=4.0, model=tiny_model)
    assert isinstance(result, np.ndarray) and result.shape == image.shape and result.dtype == image.dtype
    assert np.array_equal(result[0, 0], result[0, 1])


def test_channels_are_normalised_apart_and_planes_together(blurred: np.ndarray, tiny_model: Model) -> None:
    bright = (blurred.astype(np.int64) * 10).astype(np.uint16)
    image = np.stack([np.stack([blurred, blurred // 4]), np.stack([bright, bright // 4])])
    plan = finish(plan_refocus(FocalStack(image, "CZYX"), RefocusRequest(shift_px=-1, level_px=3.0), tiny_model))
    maps = [p.facts.intensity for p in plan.planes]
    assert maps[0] == maps[1] != maps[2] == maps[3]


def test_the_level_is_one_per_plane_across_time(blurred: np.ndarray, default_model: Model) -> None:
    movie = FocalStack(np.stack([blurred, np.roll(blurred, 7, 0), blurred[:, ::-1]]), "TYX", CALIBRATED)
    plan = finish(plan_refocus(movie, RefocusRequest(sharpest=True), default_model))
    assert len({p.facts.level_px for p in plan.planes}) == 1


def test_um_and_px_say_the_same(blurred: np.ndarray, tiny_model: Model, optics: Optics) -> None:
    stack = FocalStack(blurred, "YX", CALIBRATED)
    um = focuslab.refocus(stack, shift_um=-3.0, level_um=10.0, model=tiny_model)
    px = focuslab.refocus(stack, shift_px=-optics.radius_px(3.0), level_px=optics.radius_px(10.0), model=tiny_model)
    assert np.array_equal(um.array, px.array)


def test_saturation_is_counted_and_drift_reported(blurred: np.ndarray, default_model: Model) -> None:
    image = np.clip(blurred.astype(np.int64) * 60, 0, 65535).astype(np.uint16)
    result = focuslab.refocus(FocalStack(image, "YX", CALIBRATED), sharpest=True, level_um=10.0, model=default_model)
    assert result.provenance["saturated_pixels"] > 0
    lost = np.asarray(result).mean(dtype=float) / image.mean() - 1
    assert lost < -0.05
    assert result.provenance["mean_intensity_drift"] == pytest.approx(lost, abs=1e-5), "of what is kept"
    whole = focuslab.refocus(FocalStack(blurred, "YX", CALIBRATED), sharpest=True, level_um=10.0, model=default_model)
    assert abs(whole.provenance["mean_intensity_drift"]) < 0.01


def test_memory_running_out_makes_smaller_tiles(
    blurred: np.ndarray, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.tile(blurred, (2, 2))
    expected = run(image, tiny_model, shift_px=-2.0, level_px=4.0)
    real = steps_module.read_region

    def short_of_memory(stack, index, tile, halo, **said):
        if tile.y1 - tile.y0 > 200:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(stack, index, tile, halo, **said)

    monkeypatch.setattr(steps_module, "read_region", short_of_memory)
    out = np.empty_like(image)
    told = finish(
        refocus_steps(
            FocalStack(image),
            RefocusRequest(shift_px=-2.0, level_px=4.0),
            Engine(tiny_model, "cpu", "float32"),
            out,
        )
    )
    assert any("Memory ran out" in note for note in told["notes"])
    assert np.abs(out.astype(int) - expected).max() <= 1

    def hopeless(*_: object, **__: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(steps_module, "read_region", hopeless)
    with pytest.raises(DeviceError, match="memory"):
        run(image, tiny_model, shift_px=-2.0, level_px=4.0)


def test_errors_that_are_not_about_memory_are_not_swallowed(
    blurred: np.ndarray, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> np.ndarray:
        raise RuntimeError("something else")

    monkeypatch.setattr(steps_module, "read_region", broken)
    with pytest.raises(RuntimeError, match="something else"):
        run(blurred, tiny_model, shift_px=1.0, level_px=4.0)


def test_nan_borders_are_refused_or_kept(blurred: np.ndarray, tiny_model: Model) -> None:
    mosaic = blurred.astype(np.float32)
    mosaic[:, :20] = np.nan
    mosaic[5, 100] = np.inf
    with pytest.raises(ImageError, match="--nan keep"):
        run(mosaic, tiny_model, shift_px=-1.0, level_px=3.0)
    out = np.empty_like(mosaic)
    engine = Engine(tiny_model, "cpu", "float32")
    finish(refocus_steps(FocalStack(mosaic), RefocusRequest(shift_px=-1.0, level_px=3.0), engine, out, keep_nan=True))
    assert np.array_equal(np.isnan(out), np.isnan(mosaic)) and np.isinf(out[5, 100])


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_blank_images_are_copied_with_a_note(tiny_model: Model, value: int) -> None:
    image = np.full((40, 50), value, np.uint16)
    result = focuslab.refocus(FocalStack(image), sharpest=True, model=tiny_model)
    assert np.array_equal(result.array, image)
    assert any("blank" in note for note in result.provenance["notes"])


def test_negative_floats_are_fine(blurred: np.ndarray, tiny_model: Model) -> None:
    image = blurred.astype(np.float32) - 5000
    assert np.isfinite(run(image, tiny_model, shift_px=-2.0, level_px=4.0)).all()


def test_beyond_the_trained_range_works_and_says_so(blurred: np.ndarray, tiny_model: Model) -> None:
    stack = FocalStack(blurred)
    beyond = focuslab.refocus(stack, shift_px=-6.0, level_px=4.0, model=tiny_model)
    assert any("beyond the sharpest" in n for n in beyond.provenance["notes"])
    card = tiny_model.card.model_copy(update={"levels_px": (0.0, 20.0)})
    narrow = Model(card, tiny_model.autoencoder, tiny_model.estimator)
    beyond = focuslab.refocus(stack, shift_px=30.0, level_px=4.0, model=narrow)
    assert any("outside the trained range" in n for n in beyond.provenance["notes"])
    with pytest.raises(RequestError, match="more than can be drawn"):
        focuslab.refocus(stack, shift_px=60.0, level_px=4.0, model=tiny_model)
    inside = focuslab.refocus(stack, shift_px=-3.0, level_px=4.0, model=tiny_model)
    assert not any("Extrapolated" in n for n in inside.provenance["notes"])


@pytest.mark.parametrize(
    "request_,error,word",
    [
        ({}, RequestError, "exactly one"),
        ({"shift_px": 1.0, "sharpest": True}, RequestError, "exactly one"),
        ({"shift_px": 1.0, "level_px": 1.0, "level_um": 1.0}, RequestError, "once"),
        ({"shift_px": 1.0, "level_px": -2.0}, RequestError, "negative"),
        ({"shift_px": float("nan"), "level_px": 2.0}, RequestError, "finite"),
        ({"shift_um": 1.0, "level_px": 2.0}, CalibrationError, "numerical aperture"),
        ({"sharpest": True, "level_um": 3.0}, CalibrationError, "--level-px"),
        ({"sharpest": True, "level_px": 400.0}, RequestError, "half of the image"),
        ({"sharpest": True, "focus_plane": 0}, CalibrationError, "um need"),
    ],
)
def test_requests_that_cannot_be_served(
    blurred: np.ndarray, tiny_model: Model, request_: dict, error: type, word: str
) -> None:
    with pytest.raises(error, match=word):
        focuslab.refocus(FocalStack(blurred), model=tiny_model, **request_)


@pytest.mark.parametrize(
    "change,word",
    [({"focus_plane": 7}, "0 to 1"), ({"focus_plane": 0, "calibration": {"z_step_um": None}}, "z-step")],
)
def test_focus_planes_are_checked(blurred: np.ndarray, tiny_model: Model, change: dict, word: str) -> None:
    stack = FocalStack(np.stack([blurred, blurred]), "ZYX", CALIBRATED.replace(**change.pop("calibration", {})))
    with pytest.raises((RequestError, CalibrationError), match=word):
        focuslab.refocus(stack, sharpest=True, model=tiny_model, **change)


@pytest.mark.parametrize("shape", [(1, 1), (8, 200), (15, 15)])
def test_tiny_images_are_refused(tiny_model: Model, shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="too small"):
        focuslab.refocus(np.random.default_rng(0).random(shape), shift_px=1.0, level_px=2.0, model=tiny_model)


@pytest.mark.parametrize("bad", [np.ones((20, 20), bool), np.ones((20, 20), complex), np.ones((2, 0, 20)), np.ones(5)])
def test_arrays_that_are_no_images(tiny_model: Model, bad: np.ndarray) -> None:
    with pytest.raises(ImageError):
        focuslab.refocus(bad, shift_px=1.0, level_px=2.0, model=tiny_model)


def test_a_device_that_is_not_there_is_an_error(tiny_model: Model) -> None:
    for name in ("cuda:7", "quantum"):
        with pytest.raises(DeviceError, match="not available"):
            Engine(tiny_model, name)


def test_between_meets_its_planes_and_warns(blurred: np.ndarray, tiny_model: Model) -> None:
    other = np.roll(blurred, 3, 0)
    assert np.array_equal(focuslab.between(blurred, other, 0.0, levels_px=(8.0, 4.0), model=tiny_model), blurred)
    assert (
        np.abs(focuslab.between(blurred, other, 1.0, levels_px=(8.0, 4.0), model=tiny_model).astype(int) - other).max()
        <= 1
    )
    with pytest.raises(ImageError, match="Two planes"):
        focuslab.between(blurred, other[:-1], 0.5, levels_px=(8.0, 4.0), model=tiny_model)


def test_between_across_focus_says_so(blurred: np.ndarray, tiny_model: Model) -> None:
    from focuslab.refocusing import between_steps

    stack = FocalStack(np.stack([blurred] * 3), "ZYX", CALIBRATED)
    out = np.empty(blurred.shape, blurred.dtype)
    told = finish(between_steps(stack, 0, 2, 0.5, Engine(tiny_model, "cpu"), out, focus_plane=1))
    assert any("different sides" in n for n in told["notes"])
    with pytest.raises(RequestError, match="focus axis"):
        finish(between_steps(replace(stack, axes="TYX"), 0, 2, 0.5, Engine(tiny_model, "cpu"), out))


def test_between_reads_one_level_for_all_time_points(
    blurred: np.ndarray, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from focuslab.refocusing import between_steps, levels

    def said(windows: object, model: Model, optics: object) -> LevelEstimate:
        read.append(1)
        return LevelEstimate(4.0 + len(read), 1.0, 1.0, 0.0)

    read: list[int] = []
    monkeypatch.setattr(levels, "estimate_level", said)
    stack = FocalStack(np.stack([np.stack([blurred] * 2)] * 6), "TZYX")
    out = np.empty((6, *blurred.shape), blurred.dtype)
    told = finish(between_steps(stack, 0, 1, 0.5, Engine(tiny_model, "cpu"), out))
    assert len({tuple(record["levels_px"]) for record in told["planes"]}) == 1 and len(read) == 8
    assert any("Not calibrated" in note for note in told["notes"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"levels_px": (-8.0, 4.0)}, "cannot be negative"),
        ({"levels_px": (float("nan"), 4.0)}, "finite"),
        ({"levels_px": (900.0, 4.0)}, "half of the image"),
        ({"focus_plane": 3}, "3 focal planes"),
        ({"focus_plane": 1, "levels_px": (8.0, 4.0)}, "once"),
    ],
)
def test_between_refuses_what_refocus_refuses(
    blurred: np.ndarray, tiny_model: Model, asked: dict[str, object], said: str
) -> None:
    from focuslab.refocusing import between_steps

    stack = FocalStack(np.stack([blurred] * 3), "ZYX", CALIBRATED)
    out = np.empty(blurred.shape, blurred.dtype)
    with pytest.raises(RequestError, match=said):
        finish(between_steps(stack, 0, 2, 0.5, Engine(tiny_model, "cpu"), out, **asked))  # type: ignore[arg-type]


def test_between_of_noise_says_that_it_knows_no_level(default_model: Model) -> None:
    from focuslab.refocusing import between_steps

    noise = np.random.default_rng(0).normal(100, 5, (2, 96, 96)).astype(np.float32)
    out = np.empty((96, 96), np.float32)
    told = finish(between_steps(FocalStack(noise, "ZYX"), 0, 1, 0.5, Engine(default_model, "cpu"), out))
    assert any("No structure" in n for n in told["notes"])
    assert told["planes"][0]["levels_px"] == [0, 0] and told["planes"][0]["levels"] == "estimated"


def test_provenance_keeps_what_is_zero(blurred: np.ndarray, tiny_model: Model) -> None:
    stack = FocalStack(blurred[None], "ZYX", CALIBRATED)
    made = focuslab.refocus(stack, shift_px=0.0, focus_plane=0, model=tiny_model)
    assert made.provenance["request"] == {"shift_px": 0.0, "focus_plane": 0}
    assert made.provenance["planes"][0]["level"] == "from z"


def test_a_coded_region_is_drawn_at_any_shift(blurred: np.ndarray, default_model: Model) -> None:
    from focuslab.refocusing.intensity import measure_map
    from focuslab.refocusing.plan import plane_facts
    from focuslab.refocusing.tiling import Tile, read_region

    stack, engine = FocalStack(blurred, "YX", CALIBRATED), Engine(default_model, "cpu")
    facts = plane_facts([blurred], 9.0, stack.optics(), measure_map(stack, [()]))
    tile = Tile(0, 128, 0, 128)
    coded = engine.encode(read_region(stack, (), tile, engine.halo(facts)), facts)
    spread = [coded.at(shift)[:128, :128].std() for shift in (-9.0, -5.0, 0.0, 6.0)]
    assert all(a > b for a, b in itertools.pairwise(spread)), spread


def test_an_uncalibrated_result_names_no_um(blurred: np.ndarray, tiny_model: Model, optics: Optics) -> None:
    for said, calibrated in ((None, False), (optics, True)):
        stack = FocalStack(blurred, "YX", Calibration() if said is None else Calibration.of(said))
        (record,) = focuslab.refocus(stack, shift_px=-1, level_px=3, model=tiny_model).provenance["planes"]
        assert record["calibrated"] is calibrated and (record["level_um"] is not None) is calibrated


def test_levels_that_are_guessed_are_told(
    blurred: np.ndarray, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sure, told in ((0.1, True), (0.9, False)):
        found = LevelEstimate(5.0, 1.0, sure, 0.1)
        monkeypatch.setattr(levels_module, "estimate_level", lambda *args, found=found: found)
        made = focuslab.refocus(FocalStack(np.stack([blurred] * 2), "ZYX"), sharpest=True, model=tiny_model)
        notes = made.provenance["notes"]
        assert any("2 of 2 planes (z = 0, 1) is read with less than 30% certainty" in note for note in notes) is told


def test_parts_of_stacks_know_what_is_theirs(blurred: np.ndarray) -> None:
    known = Calibration(
        pixel_size_um=0.645, z_step_um=2.0, time_step_s=5.0, na=0.5, wavelengths_um=(0.46, 0.6),
        channel_names=("DAPI", "Cy3"), position_um=(10.0, 1.0, 2.0),
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 999, (2, 2, 3, 20, 24)).astype(np.uint16)
    stack = FocalStack(pixels, "TCZYX", known)
    part = stack.take(C=1, Z=2)
    assert part.axes == "TYX" and np.array_equal(np.asarray(part), pixels[:, 1, 2])
    assert part.calibration.wavelengths_um == (0.6,) and part.calibration.channel_names == ("Cy3",)
    assert part.calibration.position_um == (14.0, 1.0, 2.0) and part.calibration.time_step_s == 5.0
    assert np.array_equal(part.array[1, ::-2, 3], pixels[1, 1, 2, ::-2, 3])
    assert np.array_equal(stack.at((1, 0, 2)).plane(), pixels[1, 0, 2])
    for wrong in ({"C": 2}, {"Z": -1}, {"Y": 0}):
        with pytest.raises(RequestError, match="from 0"):
            stack.take(**wrong)


def test_every_call_takes_arrays_and_stacks(blurred: np.ndarray, tiny_model: Model, tmp_path: Path) -> None:
    ask: dict = {"model": tiny_model, "device": "cpu"}
    sharp = focuslab.refocus(blurred, sharpest=True, level_px=6.0, **ask)
    assert np.array_equal(focuslab.read(focuslab.write(tmp_path / "a.tif", sharp)).plane(), sharp)
    assert len(focuslab.focus_curve(blurred, **ask)) == 1
    assert focuslab.focal_stack(blurred, 0, 4, 2, unit="px", level_px=0.0, **ask).shape == (2, *blurred.shape)
    assert focuslab.all_in_focus(np.stack([blurred, blurred]), **ask).picture.shape == blurred.shape
    one = FocalStack(blurred, "YX", CALIBRATED)
    line = focuslab.between(one, one.with_array(blurred[::-1]), 0.5, levels_um=(8.0, 10.0), doubt=0.1, **ask)
    assert line.axes == "YX" and line.calibration == CALIBRATED
    assert line.provenance["request"] == {"plane_a": 0, "plane_b": 1, "t": 0.5, "doubt": 0.1}
    with pytest.raises(ImageError, match="take"):
        focuslab.between(one, np.stack([blurred] * 2), 0.5, **ask)


def test_the_level_of_a_time_point_is_its_own_if_asked_for(
    blurred: np.ndarray, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for all of them otherwise, which is told where they differ."""
    frames = np.stack([blurred, blurred // 2])
    monkeypatch.setattr(
        levels_module, "estimate_level",
        lambda windows, *_: LevelEstimate(4.0 if windows[0].max() > blurred.max() / 2 else 12.0, 1.0, 0.9, 0.02),
    )  # fmt: skip
    ask: dict = {"sharpest": True, "model": tiny_model}
    one = focuslab.refocus(FocalStack(frames, "TYX"), **ask).provenance
    assert [plane["level_px"] for plane in one["planes"]] == [8.0, 8.0]
    assert any("changes with time, from 4.0 to 12.0 px" in note for note in one["notes"])
    each = focuslab.refocus(FocalStack(frames, "TYX"), per_frame=True, **ask).provenance
    assert [plane["level_px"] for plane in each["planes"]] == [4.0, 12.0]
    assert not any("changes with time" in note for note in each["notes"])


def test_a_level_that_explains_nothing_is_told(optics: Optics, tiny_model: Model) -> None:
    light = torch.from_numpy(phantom("filaments", (256, 256), seed=3))
    mean = 2000 * defocus(light, optics, [optics.defocus_um(4.0)])[0].clamp(min=0).numpy()
    image = 100 + np.random.default_rng(0).poisson(mean)
    stack = FocalStack(image.astype(np.uint16), "YX", CALIBRATED)
    right, wrong = (focuslab.refocus(stack, sharpest=True, level_px=x, model=tiny_model) for x in (4.0, 9.0))
    assert not any("does not explain" in note for note in right.provenance["notes"])
    assert any("does not explain" in note for note in wrong.provenance["notes"])
    assert wrong.provenance["planes"][0]["floor"] == 0.0


def test_what_is_cut_off_at_either_end_is_counted(tiny_model: Model) -> None:
    tally, out = Tally(), np.zeros((2, 2), np.float16)
    before = np.array([[1, 2], [3, np.nan]], np.float16)
    tally.write(out, np.s_[:, :], before, np.array([[1e6, 7.0], [-1e6, 5.0]]), np.isfinite(before))
    assert np.isfinite(out[before == before]).all() and np.isnan(out[1, 1])
    assert (tally.saturated, tally.darkened) == (1, 1)
    whole = np.zeros((1, 2), np.uint64)
    tally.write(whole, np.s_[:, :], whole.copy(), np.array([[2.0**65, -1.0]]), np.ones((1, 2), bool))
    assert whole.tolist() == [[2**64 - 1, 0]] and (tally.saturated, tally.darkened) == (2, 2)


def test_a_frame_without_light_stays_so(blurred: np.ndarray, tiny_model: Model) -> None:
    frames = np.stack([blurred, np.full_like(blurred, 100), blurred])
    made = focuslab.refocus(FocalStack(frames, "TYX", CALIBRATED), sharpest=True, level_px=4.0, model=tiny_model)
    assert np.array_equal(made.array[1], frames[1]) and not np.array_equal(made.array[0], frames[0])
    assert made.provenance["notes"] == ["A blank plane has nothing to refocus and is copied unchanged."]


def test_a_movie_that_is_half_empty_has_the_level_of_its_specimen(blurred: np.ndarray, default_model: Model) -> None:
    empty = 100 + np.random.default_rng(0).poisson(20, blurred.shape).astype(blurred.dtype)
    movie = FocalStack(np.stack([empty, empty, empty, blurred]), "TYX", CALIBRATED)
    plan = finish(plan_refocus(movie, RefocusRequest(sharpest=True), default_model))
    alone = finish(plan_refocus(FocalStack(blurred, "YX", CALIBRATED), RefocusRequest(sharpest=True), default_model))
    assert plan.planes[3].facts.level_px == alone.planes[0].facts.level_px
    assert plan.planes[3].estimate.found


def test_a_tile_in_a_black_frame_stays_black(blurred: np.ndarray, tiny_model: Model) -> None:
    framed = blurred.copy()
    framed[:, framed.shape[1] // 2 :] = 0
    made = run(framed, tiny_model, tile=32, shift_px=-2.0, level_px=4.0)
    assert not made[:, framed.shape[1] // 2 :].any() and not np.array_equal(made, framed)


def test_light_is_spread_into_a_dark_that_is_no_frame(tiny_model: Model) -> None:
    """A background that was cut off at 0 is of one value, too."""
    y, x = np.ogrid[:160, :160]
    disc = np.where((y - 80) ** 2 + (x - 40) ** 2 < 400, 4000, 0).astype(np.uint16)
    made = focuslab.refocus(disc, shift_px=12.0, level_px=0.0, model=tiny_model, tile=64)
    assert made[70:90, 64:70].min() > 0, "over the border of a tile of zeros"


def test_far_beyond_the_sharpest_is_refused(blurred: np.ndarray, tiny_model: Model) -> None:
    with pytest.raises(RequestError, match=r"997\.0 px beyond the sharpest"):
        run(blurred, tiny_model, shift_px=-1000.0, level_px=3.0)
    run(blurred, tiny_model, shift_px=-12.0, level_px=3.0)  # extrapolated, and said so
    with pytest.raises(RequestError, match="beyond the sharpest"):
        focuslab.between(blurred, blurred, -100.0, levels_px=(2.0, 4.0), model=tiny_model)


def test_between_draws_nothing_where_one_of_the_planes_knows_nothing(blurred: np.ndarray, tiny_model: Model) -> None:
    a, b = blurred.astype(np.float32), blurred.astype(np.float32)
    b[5, 7] = np.nan
    levels = {"levels_px": (8.0, 4.0), "model": tiny_model}
    with pytest.raises(ImageError, match="NaN"):
        focuslab.between(a, b, 0.5, **levels)
    kept = focuslab.between(a, b, 1.0, keep_nan=True, **levels)
    assert np.isnan(kept[5, 7]) and np.isnan(kept).sum() == 1
    framed = blurred.copy()
    framed[20:60, 20:60] = 0
    assert (focuslab.between(blurred, framed, 1.0, **levels)[20:60, 20:60] == 0).all(), "t = 1 gives b"
    assert np.array_equal(focuslab.between(framed, blurred, 1.0, **levels)[20:60, 20:60], blurred[20:60, 20:60])


@pytest.mark.parametrize("unit", ["µm", "nm"])
def test_units_are_um_and_px(blurred: np.ndarray, tiny_model: Model, unit: str) -> None:
    with pytest.raises(RequestError, match="'um' or in 'px'"):
        focuslab.focal_stack(blurred, first=0, last=3, planes=2, level_px=0, unit=unit, model=tiny_model)


def test_a_focal_stack_knows_the_microscope_it_was_made_by(blurred: np.ndarray, tiny_model: Model) -> None:
    stack = FocalStack(np.stack([blurred] * 2), "ZYX", Calibration(pixel_size_um=0.3, position_um=(1.0, 2.0, 3.0)))
    optics = Optics(na=0.5, wavelength_um=0.5, pixel_size_um=0.3)
    made = focuslab.focal_stack(stack, index=1, first=0, last=4, planes=3, level_px=0, optics=optics, model=tiny_model)
    known = made.calibration
    assert (known.na, known.wavelengths_um, known.z_step_um, known.position_um) == (0.5, (0.5,), 2.0, None)


def test_planes_and_levels_are_asked_for_in_a_sentence(blurred: np.ndarray, tiny_model: Model) -> None:
    with pytest.raises(RequestError, match="number of a plane"):
        RefocusRequest(sharpest=True, focus_plane=1.5)  # type: ignore[arg-type]
    for levels in ((1.0, 2.0, 3.0), 3.0):
        with pytest.raises(RequestError, match="two levels"):
            focuslab.between(blurred, blurred, 0.5, levels_px=levels, model=tiny_model)


def test_a_simulated_stack_that_is_not_even_has_no_z_step() -> None:
    specimen, optics = phantom("nuclei", (64, 64), seed=1), Optics(na=0.5, wavelength_um=0.5, pixel_size_um=0.6)
    assert simulate_stack(specimen, optics, distances_um=[0, 1, 5])[0].calibration.z_step_um is None
    assert simulate_stack(specimen, optics, distances_um=[4, 2, 0])[0].calibration.z_step_um == 2


def test_what_the_camera_cut_off_is_told(blurred: np.ndarray, default_model: Model) -> None:
    cut = np.minimum(blurred, np.percentile(blurred, 97)).astype(blurred.dtype)
    for image, told in ((blurred, False), (cut, True)):
        for level in ({}, {"level_px": 6.0}):
            stack = FocalStack(image, "YX", CALIBRATED)
            made = focuslab.refocus(stack, sharpest=True, model=default_model, **level)  # type: ignore[arg-type]
            notes = [note for note in made.provenance["notes"] if note.startswith("Saturated")]
            assert bool(notes) is told
            assert not told or ("far too low" in notes[0]) is (not level)


def test_a_way_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RequestError, match="model, optics"):
        RefocusRequest(shift_px=1.0, way="magic")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="finite number"):
        RefocusRequest(shift_px="1")  # type: ignore[arg-type]
