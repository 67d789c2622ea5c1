"""Evaluation: measures, judges of both architectures, the report."""

import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from focuslab_training.data.field import Field, selected
from focuslab_training.data.gather import Gathered, gather_fields
from focuslab_training.data.open import source_of, specimens_in
from focuslab_training.data.split import Split
from focuslab_training.evaluation import baselines, protocol
from focuslab_training.evaluation.evaluate import Options, evaluate, unseen
from focuslab_training.evaluation.judges import LinearJudge, ReferenceJudge
from focuslab_training.evaluation.protocol import CEILING, OWN, Score, best_settings, judge_field, side_of
from focuslab_training.evaluation.report import _periods

from focuslab.errors import DeviceError, ImageError, RequestError
from focuslab.io import write
from focuslab.models.bundle import Model, ModelCard
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.optics import Optics, phantom, psf
from focuslab.quality import apd, ffl, lds, mse, psnr
from focuslab.quality.classical import convolved, fitted_gaussian, richardson_lucy, unsharp_mask, wiener
from focuslab.quality.trust import finest_period_px
from focuslab.simulation import simulate_stack


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory, optics: Optics) -> list[Field]:
    place = tmp_path_factory.mktemp("stacks")
    for seed in range(2):
        specimen = phantom("nuclei", (96, 104), seed=seed, scale_px=14)
        write(place / f"f{seed}.ome.tif", simulate_stack(specimen, optics, distances_um=[12, 8, 4, 0], seed=seed)[0])
    source = source_of(
        place,
        layout="auto",
        planes=None,
        columns="0:1",
        files="*.ome.tif",
        focus=3,
    )
    return gather_fields(source, place).fields


def test_measures_are_their_formulas() -> None:
    a, b = np.zeros((8, 8)), np.full((8, 8), 0.1)
    assert mse(a, b) == pytest.approx(0.01)
    # A constant gap lives in one frequency: (0.1 * 8)^2 there, weight 1, mean over 64.
    assert ffl(a, b) == pytest.approx(0.64 / 64) and ffl(a, a) == 0
    with pytest.raises(ImageError):
        ffl(a, b[:4])


def test_linearity_knows_a_line_from_a_bend() -> None:
    line = np.linspace(0, 1, 5)[:, None] * np.array([[1.0, -2.0, 3.0]])
    bend = np.array([[0.0, 0.0], [1, 0], [2, 0], [2, 1], [2, 2]])
    assert lds(line) == pytest.approx(1) and lds(line, as_published=True) == pytest.approx(1)
    assert apd(line) == pytest.approx(0, abs=1e-9)
    assert lds(bend) == pytest.approx(2 / 3)
    back = np.array([[0.0], [1], [0]])
    assert lds(back) == pytest.approx(-1) and lds(back, as_published=True) == pytest.approx(1), "squares hide turns"
    uneven = np.array([[0.0], [3], [4]])
    assert apd(uneven, [0, 0.75, 1]) == pytest.approx(0), "each where its level says"
    assert apd(uneven) == pytest.approx((1 + 1) / 2 / 4)
    assert apd(uneven, as_published=True) == pytest.approx((abs(9 - 4) + abs(1 - 4)) / 2 / 16)
    for scale in (1e-9, 1e9):
        assert lds(scale * bend) == pytest.approx(lds(bend)), "the scale of codes is nobody's concern"
        assert apd(scale * uneven, as_published=True) == pytest.approx(apd(uneven, as_published=True))
    assert lds(0 * line) == 0 and apd(0 * line) == 0
    with pytest.raises(RequestError, match="3 codes"):
        lds(line[:2])


def test_classical_methods_undo_what_they_should(optics: Optics) -> None:
    light = phantom("puncta", (96, 96), seed=3)
    kernel = psf(optics, 8.0)[0]
    blurred = convolved(light, kernel)
    before = psnr(blurred, light, data_range=1)
    for found in (richardson_lucy(blurred, kernel)[300], wiener(blurred, kernel)[0.01]):
        assert psnr(found, light, data_range=1) > before + 1
    assert richardson_lucy(blurred, kernel, (3,))[3].mean() == pytest.approx(blurred.mean(), rel=0.05)
    assert unsharp_mask(blurred, 2.0).std() > blurred.std()
    assert mse(fitted_gaussian(light, blurred), blurred) < mse(light, blurred) / 10


def test_finer_detail_is_supported_nearer_focus(optics: Optics) -> None:
    specimen = phantom("puncta", (192, 192), seed=4)
    stack, _ = simulate_stack(specimen, optics, distances_um=[0, 6, 12, 24], seed=1)
    periods = [finest_period_px(stack.plane((i,)), optics) for i in range(4)]
    assert periods == sorted(periods) and 2 <= periods[0] < periods[3]
    noise = np.random.default_rng(0).normal(0, 1, (128, 128))
    assert finest_period_px(noise, optics) > 20
    assert 2 <= finest_period_px(stack.plane((0,))[32:96, 32:96], optics) < 20, "of a small plane too"


def test_a_field_is_judged_on_one_side_with_all_methods(fields: list[Field], tiny_model: Model) -> None:
    field = fields[0]
    assert side_of(field) == [0, 1, 2, 3]
    result = judge_field(LinearJudge(tiny_model), field)
    methods = {(s.task, s.method) for s in result.scores}
    assert {
        ("deblurring", "model, level given"),
        ("deblurring", "model, blind"),
        ("deblurring", "model, two planes"),
        ("deblurring", "do nothing"),
        ("deblurring", "unsharp mask"),
        ("deblurring", "Richardson-Lucy [30, 1]"),
        ("synthesis", "model, sharp plane alone"),
        ("synthesis", "model, line between the ends"),
        ("synthesis", "convolution with the PSF [whole]"),
        ("synthesis", "do nothing"),
        ("synthesis", "fitted Gaussian"),
        ("round trip", "model"),
    } <= methods
    assert all(np.isfinite(s.ssim) and s.against in ("the plane", "own round trip") for s in result.scores)
    assert len(result.estimates_px) == len(result.finest_um) == 4
    best = [s for s in best_settings(result.scores) if s.method.startswith("Richardson-Lucy")]
    tried = [s.psnr for s in result.scores if s.method.startswith("Richardson-Lucy") and s.plane == 0]
    assert {s.method for s in best} == {"Richardson-Lucy, best"}
    assert max(tried) == next(s.psnr for s in best if s.plane == 0)


def test_what_is_kept_of_a_field_is_small_and_periods_are_counted_from_focus(
    fields: list[Field], tiny_model: Model
) -> None:
    result = judge_field(LinearJudge(tiny_model), fields[0], classical=False)
    for row in result.strips.values():
        assert all(max(image.shape) <= 128 and image.base is None for image in row)
    longer = replace(result, levels_px=[9.0, 6.0, 3.0, 0.0], finest_um=[8.0, 6.0, 4.0, 2.0])
    shorter = replace(result, levels_px=[4.0, 0.0], finest_um=[5.0, 3.0])
    assert _periods([longer, shorter]) == [
        ("9.0 px", "8.00 um"), ("6.0 px", "6.00 um"), ("3.5 px", "4.50 um"), ("0.0 px", "2.50 um")
    ]  # fmt: skip


def test_the_linearity_gap_compares_codes_and_not_remainders(fields: list[Field], tiny_model: Model) -> None:
    field, judge = fields[0], LinearJudge(tiny_model)
    scores = judge_field(judge, field, classical=False).scores
    found = next(s for s in scores if s.method == "model, line between the ends" and s.against == OWN and s.plane == 1)
    codes = [judge.code(field, plane) for plane in side_of(field)]
    levels = [field.levels_px[p] for p in side_of(field)]
    between = judge.line(codes[0], codes[-1], (levels[0] - levels[1]) / (levels[0] - levels[-1]))
    a, b = (np.clip(judge.round_trip(code), 0, 1).astype(np.float64) for code in (between, codes[1]))
    assert found.psnr == pytest.approx(min(psnr(a, b, data_range=1.0), 60), abs=1e-3)


def test_a_plane_as_blurred_as_the_end_gives_no_line(fields: list[Field], tiny_model: Model) -> None:
    levels = fields[0].levels_px
    for second, lines in ((levels[0], False), (1.1 * levels[0], True)):
        field = replace(fields[0], levels_px=(levels[0], second, *levels[2:]))
        scores = judge_field(LinearJudge(tiny_model), field, classical=False).scores
        found = [s for s in scores if s.method == "model, two planes" and s.plane == 1]
        assert bool(found) is lines and all(s.psnr > 10 for s in found)


def test_pictures_of_a_judge_are_those_of_the_engine(fields: list[Field], tiny_model: Model) -> None:
    import focuslab

    field, judge = fields[0], LinearJudge(tiny_model)
    code = judge.code(field, 1)
    plane = field.stack.plane((1,))
    made = focuslab.refocus(
        plane.astype(np.float32), sharpest=True, level_px=field.levels_px[1], model=tiny_model, optics=field.optics
    )
    own = field.intensity.counts(judge.picture(judge.shifted(code, -field.levels_px[1])))
    # Not the same intensity map: refocus knows one plane, the field the whole stack.
    assert np.corrcoef(np.asarray(made).ravel(), own.ravel())[0, 1] > 0.99
    back = judge.picture(judge.line(code, judge.code(field, 2), 0.0))
    assert np.abs(back - field.plane(1)).max() < 1e-4, "t = 0 is the plane itself"


def test_a_level_is_fitted_on_the_ladder_that_a_level_given_has(
    fields: list[Field], default_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "FITTED", (1.0,))
    levels = tuple(level + 1.6 for level in fields[0].levels_px)  # no plane is quite in focus
    result = judge_field(LinearJudge(default_model), replace(fields[0], levels_px=levels), classical=False, fitted=True)
    given, fitted = (
        {s.plane: s.psnr for s in result.scores if s.method == method and s.against == protocol.ORIGINAL}
        for method in ("model, level given", "model, level fitted [1]")
    )
    for plane, psnr_fitted in fitted.items():
        assert psnr_fitted == pytest.approx(given[plane], abs=0.3)


def test_a_fitted_psf_is_that_of_a_thin_specimen_too(
    fields: list[Field], tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("richardson_lucy", "wiener"):  # only what they are asked matters here
        monkeypatch.setattr(baselines, method, lambda plane, kernel: {10: plane})
    thick = replace(fields[0], optics=fields[0].optics.replace(thickness_um=6.0))

    def shapes(field: Field, fitted: bool) -> set[str]:
        result = judge_field(LinearJudge(tiny_model), field, fitted=fitted)
        found = [s.method for s in result.scores if s.method.startswith("Richardson-Lucy [")]
        return {method.split(", ", 1)[1].rstrip("]").removesuffix(", in focus") for method in found}

    assert shapes(fields[0], fitted=False) == {"1"}
    assert shapes(thick, fitted=False) == {"1"}
    assert {"0.5", "0.5, thin"} < shapes(thick, fitted=True)


def test_both_architectures_are_judged_into_a_report(fields: list[Field], tiny_model: Model, tmp_path: Path) -> None:
    reference = ReferenceJudge(
        ModelCard(name="ref", architecture="reference-autoencoder"), ReferenceAutoencoder((4, 4, 8, 8, 8)).eval()
    )
    for name, judge in (("ours", LinearJudge(tiny_model)), ("reference", reference)):
        done = []
        found = evaluate(
            judge,
            fields,
            tmp_path / name,
            about="Two simulated fields.",
            options=Options(classical=name == "ours"),
            report=lambda i, n: done.append((i, n)),  # noqa: B023
        )
        assert done == [(1, 2), (2, 2)]
        page = (tmp_path / name / "report.html").read_text()
        for part in ("Model card", "Two simulated fields.", "Linearity gap", "LDS as published", "data:image/png"):
            assert part in page
        words = re.sub("base64,[^\"')]*", "", page.replace("http-equiv", ""))  # pictures spell anything
        assert "http" not in words, "the page needs nothing else"
        text = (tmp_path / name / "scores.csv").read_text().splitlines()
        assert len(text) == 1 + len(found.scores) and text[0].startswith(
            "field,task,method,plane,steps,level_px,against"
        )


def test_only_unseen_fields_are_judged(fields: list[Field]) -> None:
    gathered = Gathered(fields)
    names = [f.name for f in fields]
    assert unseen(gathered, None)[0] == fields
    chosen, about = unseen(gathered, Split((names[0],), (), (names[1],)))
    assert [f.name for f in chosen] == names[1:] and "never trained" in about
    assert unseen(gathered, Split(("else",)))[0] == fields
    with pytest.raises(RequestError, match="trained on every field"):
        unseen(gathered, Split(tuple(names)))
    planes = Gathered([replace(fields[0], name="cells.tif//2", unit="cells.tif"), fields[1]])
    assert unseen(planes, Split(("cells.tif",)))[0] == fields[1:], "another plane of an image that was trained on"
    assert unseen(planes, Split(("cells.tif//7",)))[0] == fields[1:], "numbered otherwise in another data set"
    chosen, about = unseen(Gathered([*fields, replace(fields[0], name="more")]), Split(("else",)), 2)
    assert chosen == fields[:2] and about.startswith("2 of 3 fields")


def test_a_judge_uses_the_model_where_its_engine_is(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU that is a copy; here a copy stands for it."""
    monkeypatch.setattr(
        Model, "to", lambda model, device: Model(model.card, *deepcopy((model.autoencoder, model.estimator)))
    )
    judge = LinearJudge(tiny_model)
    assert judge.model is judge.engine.model is not tiny_model


def test_too_short_stacks_are_refused(fields: list[Field], tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no field"):
        evaluate(LinearJudge(tiny_model), [], tmp_path)


def test_sharp_images_are_simulated_for_evaluation(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", (1000 * phantom("nuclei", (96, 96), seed=1)).astype(np.uint16))
    said = {"na": 0.5, "wavelength_um": 0.461, "pixel_size_um": 0.645, "z_step_um": 2.0, "focus": 4}
    source = source_of(tmp_path, layout="simulated", planes="0:4:2", columns="0:1", **said)
    fields = gather_fields(source, tmp_path, specimens_in(source, tmp_path, "*.tif")).fields
    assert fields[0].stack.shape == (3, 96, 96) and fields[0].levels_px[2] == 0
    with pytest.raises(RequestError, match="--planes"):
        source_of(tmp_path, layout="stacks", planes="0:x:2", columns="0:1")
    with pytest.raises(RequestError, match="simulated stacks need"):
        source_of(tmp_path, layout="simulated", planes="0:4:2", columns="0:1")


def test_without_physics_the_features_see_the_plane_alone(tiny_model: Model, optics: Optics) -> None:
    specimen = phantom("nuclei", (96, 96), seed=3, scale_px=12)
    noisy, _ = simulate_stack(specimen, optics, distances_um=[-8.0, 0.0])
    field = Field("f", "f", None, noisy, 1, (optics.radius_px(8.0), 0.0), optics)
    judge = LinearJudge(tiny_model)
    rungs = ((0.0, 8.0), (0.0, 3.0, 20.0))
    with_physics, without = (
        [judge.vector(judge.encode(field, 0, 7.0, r, physics=physics), "features") for r in rungs]
        for physics in (True, False)
    )
    assert np.allclose(*without, atol=5e-5) and not np.allclose(with_physics[0], without[0], atol=1e-3)


def test_a_picture_that_is_its_own_truth_does_not_carry_a_mean(tiny_model: Model, optics: Optics) -> None:
    specimen = phantom("nuclei", (96, 96), seed=3, scale_px=12)
    noisy, _ = simulate_stack(specimen, optics, distances_um=[-12.0, -6.0, 0.0])
    field = Field("f", "f", None, noisy, 2, tuple(optics.radius_px(d) for d in (12.0, 6.0, 0.0)), optics)
    result = judge_field(LinearJudge(tiny_model), field)
    at_focus = [s for s in result.scores if s.steps == 0 and s.method == "model, level given"]
    assert [s.psnr for s in at_focus] == [CEILING]
    assert {(s.plane, s.steps) for s in result.scores} == {(0, 2), (1, 1), (2, 0)}
    settings = {s.method for s in result.scores if s.method.startswith(("Richardson", "convolution"))}
    assert {"Richardson-Lucy [10, 1, in focus]", "convolution with the PSF [relative]"} <= settings


def test_the_published_network_is_judged_on_the_device_that_is_asked_for() -> None:
    card = ModelCard(name="ref", architecture="reference-autoencoder")
    network = ReferenceAutoencoder((4, 4, 8, 8, 8)).eval()
    assert next(ReferenceJudge(card, network, "cpu").network.parameters()).device.type == "cpu"
    with pytest.raises(DeviceError, match="not available"):
        ReferenceJudge(card, network, "cuda:99")


def test_a_stack_too_short_for_lines_is_left_out_and_named(
    fields: list[Field], tiny_model: Model, tmp_path: Path
) -> None:
    whole, other = fields
    short = replace(other, stack=selected(other.stack, planes=[2, 3]), levels_px=other.levels_px[-2:], focus=1)
    judge = LinearJudge(tiny_model)
    with pytest.raises(RequestError, match="fewer than three planes"):
        evaluate(judge, [short], tmp_path)
    found = evaluate(judge, [whole, short], tmp_path, options=Options(classical=False))
    assert len(found.results) == 1
    assert f"Left out: {short.name}" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_settings_are_judged_by_all_fields() -> None:
    """Of a thick specimen the PSF of a thin one is a setting too; a thin one stands in both with what it has."""
    rows = [
        ("thin", "Wiener [1, 0.7]", 20.0), ("thin", "Wiener [1, 1]", 21.0),
        ("thick", "Wiener [1, 0.7]", 40.0), ("thick", "Wiener [1, 0.7, thin]", 42.0), ("thick", "Wiener [1, 1]", 30.0),
    ]  # fmt: skip
    scores = [Score(name, "deblurring", method, 0, 1, 4.0, "the plane", db, 0, 0, 0) for name, method, db in rows]
    found = {score.field: score.psnr for score in best_settings(scores)}
    assert found == {"thin": 20.0, "thick": 42.0}, "best in the mean of both fields"


def test_a_stack_without_blur_has_no_line(fields: list[Field], tiny_model: Model, tmp_path: Path) -> None:
    flat = replace(fields[0], name="flat", levels_px=(0.0, 0.1, 0.1, 0.0))
    with pytest.raises(RequestError, match="as sharp as focus"):
        evaluate(LinearJudge(tiny_model), [flat], tmp_path)
