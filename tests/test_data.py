"""Focal stacks for training: layouts, what is left out, honest splits, triplets that never cross focus."""

import json
import multiprocessing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from focuslab_training.card import model_card
from focuslab_training.data.batches import MARGIN, CopyBatch
from focuslab_training.data.copies import CopySource, copies_of
from focuslab_training.data.echo import Echo, turned
from focuslab_training.data.field import Field, selected
from focuslab_training.data.fits import fit_levels
from focuslab_training.data.gather import gather_fields
from focuslab_training.data.module import StreamModule, open_data
from focuslab_training.data.open import source_of, specimens_in
from focuslab_training.data.specimens import Specimen, SpecimenPool
from focuslab_training.data.split import Split, split_names
from focuslab_training.data.triplets import PlanePairSource, TripletSource, bisection
from focuslab_training.recipe import load_recipe
from focuslab_training.sections import SplitRule, StackSource

from focuslab.errors import CalibrationError, FocusLabError, ImageError, ModelError, RequestError
from focuslab.io import write
from focuslab.io.pattern import well_in
from focuslab.models.light import EVERYTHING
from focuslab.models.zoo import load_model
from focuslab.optics import Optics, phantom
from focuslab.quality.focus import disorder, find_focus, sharpness
from focuslab.simulation import simulate_stack
from focuslab.stack import FocalStack

STACKS = {"layout": "stacks", "files": "*.ome.tif"}
DISTANCES = [16.0, 12.0, 8.0, 4.0, 0.0, -4.0]


def stack_of(optics: Optics, seed: int, size: tuple[int, int] = (128, 144)) -> FocalStack:
    specimen = phantom("nuclei", size, seed=seed, scale_px=14)
    return simulate_stack(specimen, optics, distances_um=DISTANCES, seed=seed)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, optics: Optics) -> Path:
    place = tmp_path_factory.mktemp("stacks")
    for seed in range(4):
        write(place / f"f{seed}.ome.tif", stack_of(optics, seed))
    return place


def bbbc006(root: Path, planes: int = 5, wells: tuple[str, ...] = ("a01", "b02")) -> None:
    rng = np.random.default_rng(0)
    for z in range(planes):
        place = root / f"BBBC006_v1_images_z_{z:02d}"
        place.mkdir(parents=True)
        for well in wells:
            for w in (1, 2):
                name = f"mcf-z-stacks-03212011_{well}_s1_w{w}{rng.integers(1 << 40):x}.tif"
                plane = np.full((80, 96), 100 * w + z, np.uint16)
                plane[::2] += 10 + z * 40
                tifffile.imwrite(place / name, plane)


def test_fields_of_a_folder_know_focus_and_levels(folder: Path, optics: Optics) -> None:
    found = gather_fields(StackSource(**STACKS), folder)
    assert [f.name for f in found.fields] == [f"f{i}.ome.tif" for i in range(4)] and not found.skipped
    field = found.fields[0]
    assert field.focus == 4 and field.levels_px[4] == 0
    assert field.levels_px[0] == pytest.approx(optics.radius_px(16.0))
    assert [list(side) for side in field.sides] == [[0, 1, 2, 3, 4], [4, 5]]
    window, recorded = field.window(2, 0, 16, 32, margin=8)
    whole = field.plane(2)
    assert np.allclose(window[8:-8, 8:-8], whole[:32, 16:48])
    assert recorded == (slice(8, 48), slice(0, 48)) and np.allclose(window[*recorded], whole[:40, 8:56])
    assert field.window(2, 100, 100, 64)[0].shape == (64, 64), "mirrored outside the image"


def test_levels_are_fitted_when_the_optics_are_overstated(optics: Optics) -> None:
    stack = selected(stack_of(optics, 3, (192, 192)))
    fitted = fit_levels(stack, 4, optics)
    assert fitted[4] == 0
    for plane, away in enumerate(DISTANCES):
        if abs(away) >= 8:
            assert fitted[plane] == pytest.approx(optics.radius_px(away), rel=0.15)
    wide = optics.replace(na=0.65)  # said, not true: the fit is of the pixels
    assert fit_levels(stack, 4, wide)[0] == pytest.approx(optics.radius_px(16.0), rel=0.2)


def test_bbbc006_folders_become_stacks(tmp_path: Path) -> None:
    bbbc006(tmp_path)
    source = StackSource(layout="bbbc006", planes=(0, 4, 2), focus=4)
    fields = gather_fields(source, tmp_path).fields
    assert [f.name for f in fields] == ["a01_s1", "b02_s1"] and [f.well for f in fields] == ["a01", "b02"]
    assert fields[0].stack.shape == (3, 80, 96) and fields[0].focus == 2
    assert fields[0].levels_px[1] > 0 and fields[0].levels_px[0] == pytest.approx(2 * fields[0].levels_px[1])
    assert int(fields[0].stack.plane((1,))[1, 0]) == 102, "w1, plane z = 2"
    with pytest.raises(CalibrationError, match="wavelength"):
        gather_fields(source.replace(channel=1), tmp_path)
    second = gather_fields(source.replace(channel=1, wavelength_um=0.6), tmp_path).fields
    assert second[0].optics.wavelength_um == 0.6
    assert int(second[0].stack.plane((0,))[1, 0]) == 200, "w2"


def test_missing_planes_are_reported_and_others_go_on(tmp_path: Path) -> None:
    bbbc006(tmp_path)
    next((tmp_path / "BBBC006_v1_images_z_03").glob("*_b02_s1_w1*")).unlink()
    found = gather_fields(StackSource(layout="bbbc006", focus=4), tmp_path)
    assert [f.name for f in found.fields] == ["a01_s1"]
    assert found.skipped == ["b02_s1: The stack lacks 1 of 5 planes, the first at z = 3."]
    with pytest.raises(ImageError, match="lacks 1 of 5"):
        gather_fields(StackSource(layout="bbbc006", focus=4, on_bad="refuse"), tmp_path)


def test_one_file_per_plane_by_pattern(tmp_path: Path, optics: Optics) -> None:
    stack = stack_of(optics, 1)
    for z in range(stack.shape[0]):
        tifffile.imwrite(tmp_path / f"A1_z{z}.tif", stack.plane((z,)))
        tifffile.imwrite(tmp_path / f"C1_z{z}.tif", stack.plane((z,))[: 128 if z else 100])
    tifffile.imwrite(tmp_path / "B1_z0.tif", stack.plane((0,)))
    tifffile.imwrite(tmp_path / "B1_z2.tif", stack.plane((2,)))
    said = {"na": 0.5, "wavelength_um": 0.461, "pixel_size_um": 0.645, "z_step_um": 4.0}
    found = gather_fields(StackSource(layout="pattern", pattern="{well}_z{z}.tif", **said), tmp_path)
    assert [f.name for f in found.fields] == ["A1"] and found.fields[0].focus == 4
    assert [line[:2] for line in found.skipped] == ["C1", "B1"] and "C1_z1.tif is (128, 144)" in found.skipped[0]
    with pytest.raises(CalibrationError, match="numerical aperture"):
        gather_fields(StackSource(layout="pattern", pattern="{well}_z{z}.tif"), tmp_path)


def test_stacks_that_do_not_fit_are_left_out_with_the_reason(tmp_path: Path, optics: Optics) -> None:
    good = stack_of(optics, 0)
    write(tmp_path / "a.ome.tif", good)
    write(tmp_path / "0.ome.tif", FocalStack(np.asarray(good.array)[:4], "ZYX", good.calibration))
    write(tmp_path / "b.ome.tif", good)
    write(tmp_path / "c.ome.tif", FocalStack(np.asarray(good.array).astype(np.float32), "ZYX", good.calibration))
    noise = np.random.default_rng(0).normal(100, 5, good.shape).astype(np.uint16)
    write(tmp_path / "d.ome.tif", FocalStack(noise, "ZYX", good.calibration))
    (tmp_path / "e.ome.tif").write_bytes(b"not a picture")
    write(tmp_path / "f.ome.tif", FocalStack(np.asarray(good.array)[0], "YX", good.calibration))
    found = gather_fields(StackSource(**STACKS), tmp_path)
    assert [f.name for f in found.fields] == ["a.ome.tif", "b.ome.tif"]
    reasons = {line.split(":")[0]: line for line in found.skipped}
    assert "most have" in reasons["0.ome.tif"], "the first is not the measure of the others"
    assert reasons["c.ome.tif"].endswith("of float32.")
    assert "no focus" in reasons["d.ome.tif"] and "e.ome.tif" in reasons
    assert "two planes" in reasons["f.ome.tif"]
    with pytest.raises(RequestError, match="No usable focal stack"):
        gather_fields(StackSource(**{**STACKS, "files": "*.png"}), tmp_path)


def test_simulated_stacks_are_made_on_demand(optics: Optics) -> None:
    pool = SpecimenPool(((1.0, (Specimen("s/a.tif", (96, 96), partial(phantom, "puncta", (96, 96), seed=1)),)),))
    said = {"na": 0.5, "wavelength_um": 0.461, "pixel_size_um": 0.645, "z_step_um": 2.0}
    source = StackSource(layout="simulated", planes=(0, 16, 2), focus=16, **said)
    field = gather_fields(source, None, pool).fields[0]
    assert field.stack.shape == (9, 96, 96) and field.focus == 8
    assert field.levels_px[0] == pytest.approx(optics.radius_px(32.0))
    assert sharpness(field.plane(8)) > sharpness(field.plane(6)) > sharpness(field.plane(4))


def test_sharpness_peaks_in_focus(optics: Optics) -> None:
    stack = stack_of(optics, 2)
    values = [sharpness(stack.plane(index)) for index in stack.planes()]
    assert find_focus(values) == 4 and values[4] > values[3] > values[2]
    with pytest.raises(ImageError, match="no focus"):
        find_focus([1.0, 1.01, 1.02])


def test_disorder_is_seen_by_the_sharpness_of_each_side() -> None:
    assert disorder([1, 2, 4, 9, 30, 7, 3], 4) == 0
    assert disorder([30, 9, 4, 2, 1], 0) == 0, "focus may be at the end"
    assert disorder([1.1, 1, 1.2, 9, 1, 1.3, 0.9], 3) == 0, "what noise does is no disorder"
    assert disorder([2, 5, 9, 3, 2.5, 2.2], 2) == 0, "nor are sides that differ"
    assert disorder([9, 1, 4, 30, 4, 1, 9], 3) == pytest.approx(4 / 6)
    assert disorder([0, 0, 1, 0, 0], 2) == 0


@pytest.mark.parametrize("focus", [None, 4], ids=["found", "said"])
def test_planes_out_of_order_have_no_levels_from_z(tmp_path: Path, optics: Optics, focus: int | None) -> None:
    good = stack_of(optics, 0)
    write(tmp_path / "a.ome.tif", good)
    mixed = np.asarray(good.array)[[3, 0, 1, 2, 4, 5]]
    write(tmp_path / "b.ome.tif", FocalStack(mixed, "ZYX", good.calibration))
    found = gather_fields(StackSource(**STACKS, focus=focus), tmp_path)
    assert [f.name for f in found.fields] == ["a.ome.tif"]
    assert "not in the order of z" in found.skipped[0] and "plane 4" in found.skipped[0]
    with pytest.raises(ImageError, match="order of z"):
        gather_fields(StackSource(**STACKS, focus=focus, on_bad="refuse"), tmp_path)
    fitted = gather_fields(StackSource(**STACKS, focus=focus, levels="fitted"), tmp_path).fields[1].levels_px
    assert fitted[0] < fitted[3] < fitted[2] < fitted[1], "read from the pixels they are what they are"


@pytest.mark.parametrize("focus", [None, 4], ids=["found", "said"])
def test_nothing_is_learned_from_pixels_that_are_not_numbers(tmp_path: Path, optics: Optics, focus: int | None) -> None:
    good = stack_of(optics, 0)
    for name, plane, value in (("a", 3, np.nan), ("b", 0, np.inf)):
        bad = np.asarray(good.array).astype(np.float32)
        bad[plane, 5, 7] = value
        write(tmp_path / f"{name}.ome.tif", FocalStack(bad, "ZYX", good.calibration))
    write(tmp_path / "c.ome.tif", FocalStack(np.full(good.shape, 7, np.float32), "ZYX", good.calibration))
    with pytest.raises(RequestError, match="Plane 3 holds pixels that are NaN"):
        gather_fields(StackSource(**{**STACKS, "files": "a.ome.tif"}, focus=focus, levels="fitted"), tmp_path)
    with pytest.raises(RequestError, match="Plane 0 holds pixels that are NaN or infinite"):
        gather_fields(StackSource(**{**STACKS, "files": "b.ome.tif"}, focus=focus), tmp_path)
    with pytest.raises(RequestError, match="is blank"):
        gather_fields(StackSource(**{**STACKS, "files": "c.ome.tif"}, focus=focus), tmp_path)


def test_what_a_model_was_trained_on_never_judges_its_successor(tmp_path: Path, folder: Path) -> None:
    groups = {f"{well}_s{site}": well for well in "abcdef" for site in (1, 2)}
    rule = SplitRule(validation=0.3, by="well")
    for seed in range(5):
        split = split_names(groups, rule, seed, seen=("a_s1", "b_s2", "c_s1", "gone"))
        assert {"a_s1", "a_s2", "b_s1", "b_s2", "c_s1", "c_s2"} <= set(split.train) and len(split.validation) == 4
    with pytest.raises(RequestError, match="was trained on 5 of these 6 wells"):
        split_names(groups, rule, seen=("a_s1", "b_s1", "c_s1", "d_s1", "e_s1"))
    parts = Split(("a.tif[0:0.5]", "b.tif"), before=("c.tif",))
    for name, seen in (("a.tif[0.4:1]", True), ("a.tif[0.5:1]", False), ("a.tif", True), ("b.tif[0.5:1]", True)):
        assert parts.has_trained(name, name.split("[")[0]) is seen, name
    assert parts.has_trained("c.tif", "c.tif") and not parts.has_trained("d.tif", "d.tif")
    Split(("f0.ome.tif",), before=("f1.ome.tif", "f2.ome.tif")).write(tmp_path)
    (tmp_path / "card.json").touch()
    assert Split.of_model(str(tmp_path / "card.json")) == Split.of_model(str(tmp_path)) == Split.of(tmp_path)
    assert Split.of_model("default") is None
    recipe = load_recipe("finetune", {"stacks": STACKS, "start": str(tmp_path)})
    for seed in range(3):
        assert open_data(recipe.replace(seed=seed), folder).split.validation == ("f3.ome.tif",)


def test_splits_keep_wells_together_and_are_written(tmp_path: Path) -> None:
    groups = {f"{well}_s{site}": well for well in ("a", "b", "c", "d", "e") for site in (1, 2)}
    split = split_names(groups, SplitRule(validation=0.2, test=0.2, by="well"), seed=3)
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert set.union(*parts) == set(groups) and sum(map(len, parts)) == 10
    for part in parts:
        assert {f"{groups[n]}_s1" for n in part} <= part and {f"{groups[n]}_s2" for n in part} <= part
    assert split == split_names(groups, SplitRule(validation=0.2, test=0.2, by="well"), seed=3)
    split.write(tmp_path)
    assert Split.of(tmp_path) == split and json.loads((tmp_path / "split.json").read_text())["train"]
    assert Split.of(tmp_path / "nowhere") is None
    with pytest.raises(RequestError, match="--no-validation"):
        split_names({"one": "one"}, SplitRule())
    assert split_names({"one": "one"}, SplitRule(validation=0)).train == ("one",)


def test_bisection_is_the_published_scheme() -> None:
    planes = range(0, 17, 2)
    published = {(0, 16, 8), (0, 8, 4), (8, 16, 12), (0, 4, 2), (4, 8, 6), (8, 12, 10), (12, 16, 14)}
    assert set(bisection(planes)) == published and bisection([0, 2]) == []


@pytest.mark.parametrize("scheme", ["bisection", "random"])
def test_triplets_never_cross_focus_and_repeat(folder: Path, scheme: str) -> None:
    fields = gather_fields(StackSource(**STACKS), folder).fields
    source = TripletSource(fields, scheme, crop_px=64, batch=4, seed=5)
    again = TripletSource(fields, scheme, crop_px=64, batch=4, seed=5)
    for step in range(25):
        for draw in source.draws(step):
            (side,) = (side for side in fields[0].sides if set(draw.planes) <= set(side))
            assert draw.planes[0] != draw.planes[1] and len(set(draw.planes)) == min(len(side), 3)
        assert source.draws(step) == again.draws(step)
    one, same = source.batch(7), again.batch(7)
    assert torch.equal(one.a, same.a) and one.a.shape == (4, 1, 64, 64) and one.levels.shape == (4, 3)
    halves = [source.batch(7, rank, 2) for rank in (0, 1)]
    assert torch.equal(torch.stack([halves[0].a, halves[1].a], 1).flatten(0, 1), one.a), "processes share a batch"


def test_crops_of_a_triplet_show_the_same_place(folder: Path) -> None:
    fields = gather_fields(StackSource(**STACKS), folder).fields
    source = TripletSource(fields, "random", crop_px=64, batch=2, margin=16, shared=True, augment=False, seed=1)
    for step in range(4):
        batch = source.batch(step)
        assert batch.a.shape == (2, 1, 96, 96) and batch.sharp.shape == (2, 1, 64, 64)
        assert len(batch.levels.unique(dim=0)) == 1, "one triplet of planes per batch"
        draw = source.draws(step)[0]
        crop, field = draw.crop, fields[draw.crop.field]
        for image, plane in ((batch.a[0, 0, 16:-16, 16:-16], draw.planes[0]), (batch.sharp[0, 0], field.focus)):
            window, _ = field.window(plane, crop.y, crop.x, 64)
            turned = torch.rot90(torch.from_numpy(window), crop.turn)
            assert torch.equal(image, turned.flip(0) if crop.flip else turned)
    (pair,) = PlanePairSource(source, 1.0).batch(0)
    assert len(pair.planes) == 2 and pair.situation.rungs[0] == 0
    assert pair.situation.given == pytest.approx(tuple(source.batch(0).levels[0, :2].tolist()), abs=1e-3)


def test_a_plane_in_focus_is_not_to_be_sharpened(folder: Path) -> None:
    """A level of 1.6 px is not a whole number of any float."""
    found = gather_fields(StackSource(**STACKS), folder).fields
    fields = [replace(field, levels_px=tuple(level + 1.6 for level in field.levels_px)) for field in found]
    source = PlanePairSource(TripletSource(fields, "random", crop_px=64, batch=2, shared=True, seed=3), 0.0)
    situations = [source.batch(step)[0].situation for step in range(24)]
    assert {here.focus for here in situations} == {1.6}
    assert 1.6 in {here.given[0] for here in situations} and all(here.given[0] >= here.focus for here in situations)


def test_a_share_of_the_steps_replays_simulated_planes(folder: Path) -> None:
    changes = {"replay": 0.5, "phantoms.count": 2, "phantoms.size_px": 128, "crop_px": 64, "batch": 2}
    dataset = open_data(load_recipe("finetune", {**changes, "stacks.files": "*.ome.tif"}), folder)
    training, validation = (dataset.source("autoencoder", part) for part in ("train", "validation"))
    fitted = {field.levels_px for field in dataset.gathered.fields}

    def simulated(source: object, step: int, rank: int = 0, world: int = 1) -> bool:
        (batch,) = source.batch(step, rank, world)
        assert batch.planes[0].shape == (2 // world, 1, 64 + 2 * MARGIN, 64 + 2 * MARGIN)
        assert batch.sharp.shape[-1] == 64 and len(batch.recorded) == 2 // world
        return not any(
            batch.situation.given[0] == pytest.approx(level, abs=1e-3) for levels in fitted for level in levels
        )

    turns = [simulated(training, step) for step in range(24)]
    assert 6 < sum(turns) < 18
    assert turns[:6] == [simulated(training, step, 1, 2) for step in range(6)], "all processes take turns alike"
    assert not any(simulated(validation, step) for step in range(8)), "validation is on stacks alone"


def test_an_echo_turns_what_was_made_once(folder: Path) -> None:
    changes = {"phantoms.count": 2, "phantoms.size_px": 128, "crop_px": 64, "batch": 1, "images": []}
    copies = CopySource(open_data(load_recipe("smoke", changes), None).source("autoencoder", "train"))
    asked: list[int] = []

    class Counted:
        def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[CopyBatch, ...]:
            asked.append(step)
            return copies.batch(step, rank, world)

    echo = Echo(Counted(), 2)
    played = [echo.batch(step)[0] for step in range(17)]
    assert asked == list(range(9)), "eight batches, the same eight again, the next one"
    first, again = played[3], played[11]
    for made, then in (
        (first.sharp, again.sharp),
        (first.planes[0].copies.ladder, again.planes[0].copies.ladder),
        (first.planes[0].copies.deconvolved[4], again.planes[0].copies.deconvolved[4]),
    ):
        assert torch.equal(then, made.mT), "rows and columns exchanged"
    assert again.situation == first.situation
    resumed = Echo(Counted(), 2).batch(11)[0]
    assert torch.equal(resumed.planes[0].plane, again.planes[0].plane), "a run that goes on"


def test_a_batch_can_be_turned_in_eight_ways() -> None:
    changes = {"phantoms.count": 2, "phantoms.size_px": 128, "crop_px": 64, "batch": 1, "images": []}
    (batch,) = CopySource(open_data(load_recipe("smoke", changes), None).source("autoencoder", "train")).batch(0)
    ways = [turned(batch, way) for way in range(8)]
    assert ways[0] is batch
    assert len({way.sharp.numpy().tobytes() for way in ways}) == 8
    assert all(torch.allclose(way.planes[0].copies.source.mean(), batch.planes[0].copies.source.mean()) for way in ways)


def test_columns_keep_halves_apart(folder: Path) -> None:
    left = gather_fields(StackSource(**STACKS, columns=(0, 0.5)), folder).fields[0]
    right = gather_fields(StackSource(**STACKS, columns=(0.5, 1)), folder).fields[0]
    whole = gather_fields(StackSource(**STACKS), folder).fields[0]
    assert left.stack.shape[-1] == right.stack.shape[-1] == 72
    assert np.array_equal(np.concatenate([left.stack.plane((1,)), right.stack.plane((1,))], 1), whole.stack.plane((1,)))
    window, recorded = left.window(0, 0, 40, 64, 32)
    assert window.shape == (128, 128) and recorded[1] == slice(0, 64), "what lies beyond is mirrored, not read"


def test_what_is_mirrored_in_a_crop_is_told_and_looked_for(folder: Path) -> None:
    fields = gather_fields(StackSource(**STACKS), folder).fields
    wide = TripletSource(fields, "random", crop_px=64, batch=6, margin=MARGIN, shared=True, augment=False, seed=4)
    (batch,) = next(
        b for b in (PlanePairSource(wide, 0.0).batch(step) for step in range(99)) if b[0].situation.given[0] > 4
    )
    assert len(set(map(str, batch.recorded))) > 1, "crops of several places, turned and flipped"
    step = next(step for step in range(99) if torch.equal(wide.batch(step).a, batch.planes[0]))
    for draw, image, (rows, columns) in zip(wide.draws(step), batch.planes[0][:, 0], batch.recorded, strict=True):
        marked = np.pad(fields[draw.crop.field].plane(draw.planes[0]), MARGIN, constant_values=np.nan)
        y, x = draw.crop.y, draw.crop.x
        marked = np.rot90(marked[y : y + 64 + 2 * MARGIN, x : x + 64 + 2 * MARGIN], draw.crop.turn)
        marked = marked[::-1] if draw.crop.flip else marked
        known = np.zeros(marked.shape, bool)
        known[rows, columns] = True
        assert np.array_equal(known, np.isfinite(marked)) and np.array_equal(image[known], marked[known])
    together = copies_of(batch).planes[0]
    as_recorded = copies_of(replace(batch, recorded=(EVERYTHING,) * 6)).planes[0]
    assert not torch.allclose(together.copies.deconvolved[-1], as_recorded.copies.deconvolved[-1], atol=0.01)
    for i in range(6):
        one = replace(batch, planes=(batch.planes[0][i : i + 1],), recorded=batch.recorded[i : i + 1])
        alone = copies_of(one).planes[0]
        assert torch.allclose(alone.copies.deconvolved[-1][0], together.copies.deconvolved[-1][i], atol=1e-4)
        assert torch.allclose(alone.condition[0], together.condition[i]) and torch.equal(
            alone.plane[0], together.plane[i]
        )


def test_impossible_sources_are_refused() -> None:
    for said in (
        {"layout": "pattern"},
        {"layout": "simulated"},
        {"layout": "stacks", "columns": (0.5, 0.5)},
        {"layout": "zarr"},
    ):
        with pytest.raises(ValueError):
            StackSource(**said)
    with pytest.raises(RequestError, match="--data"):
        gather_fields(StackSource(layout="stacks"), None)
    with pytest.raises(RequestError, match="is a file"):
        gather_fields(StackSource(layout="stacks"), Path(__file__))
    assert issubclass(RequestError, FocusLabError) and Field.__doc__


def test_levels_start_from_that_of_a_focus_that_is_not_quite_one(optics: Optics) -> None:
    away = (9.0, 6.0, 3.0)
    stack, _ = simulate_stack(phantom("nuclei", (160, 160), seed=8), optics, distances_um=away, photons=20000)
    true = [optics.radius_px(z) for z in away]
    assert fit_levels(stack, 2, optics, true[2]) == pytest.approx(true, rel=0.12)
    assert fit_levels(stack, 2, optics)[0] < 0.97 * true[0]  # taken for sharp, the rest looks less blurred than it is


@pytest.mark.parametrize("thickness", [0.0, 10.0])
def test_a_thickness_is_fitted_where_there_is_one(tmp_path: Path, optics: Optics, thickness: float) -> None:
    thick = optics.replace(thickness_um=thickness)
    specimen = phantom("filaments", (192, 192), seed=3, scale_px=3)
    stack, _ = simulate_stack(specimen, thick, distances_um=[24, 18, 12, 6, 0], photons=20000, seed=3)
    write(tmp_path / "a.ome.tif", stack)
    source = StackSource(**STACKS, levels="fitted", thickness_um="fitted")
    (field,) = gather_fields(source, tmp_path).fields
    assert field.optics.thickness_um == pytest.approx(thickness, abs=1.5)
    assert field.levels_px[0] == pytest.approx(optics.radius_px(24), rel=0.12)
    (said,) = gather_fields(source.replace(thickness_um=7.0), tmp_path).fields
    assert said.optics.thickness_um == 7.0
    changes = {"stacks": source.model_dump(), "split.validation": 0.0}
    (told,) = open_data(load_recipe("finetune", changes), tmp_path).fitted
    assert f"--thickness-um {field.optics.thickness_um:g} " in told
    with pytest.raises(RequestError, match="along with the levels"):
        load_recipe("finetune", {"stacks.levels": "z", "stacks.thickness_um": "fitted"})


def test_a_run_that_goes_on_keeps_its_split(shared_stacks: Path) -> None:
    recipe = load_recipe("finetune", {"start": "default", "stacks.levels": "z"})
    first = open_data(recipe, shared_stacks)
    assert first.split.validation
    (shared_stacks / "aaa_new.ome.tif").write_bytes((shared_stacks / first.split.train[0]).read_bytes())
    again = open_data(recipe, shared_stacks, first.split)
    assert again.split == first.split  # a new file does not move others to the other side
    (shared_stacks / first.split.validation[0]).unlink()
    with pytest.raises(RequestError, match="not there now"):
        open_data(recipe, shared_stacks, first.split)


@pytest.fixture
def shared_stacks(tmp_path: Path, optics: Optics) -> Path:
    for seed, name in enumerate(("B02_s1", "B02_s2", "C03_s1", "C03_s2", "D04_s1", "D04_s2")):
        write(tmp_path / f"plate_{name}.ome.tif", stack_of(optics, seed, (96, 96)))
    return tmp_path


def test_wells_stay_on_one_side_where_names_say_them(shared_stacks: Path) -> None:
    by_well = {"stacks.levels": "z", "split.by": "well", "split.validation": 0.34}
    split = open_data(load_recipe("finetune", by_well), shared_stacks).split
    assert len({name[6:9] for name in split.validation}) == 1 and len(split.validation) == 2
    for path in shared_stacks.glob("plate_*.tif"):
        path.rename(path.with_name(path.name.replace("plate_", "x").replace("0", "o")))
    with pytest.raises(RequestError, match=r"well of .* is not known"):
        open_data(load_recipe("finetune", by_well), shared_stacks)
    assert well_in("1_B02", "{site}_{well}_z{z}.tif") == "B02" and well_in("a", "{name}_z{z}.tif") is None


def test_a_model_that_goes_on_from_another_keeps_what_that_has_learnt(shared_stacks: Path) -> None:
    recipe = load_recipe("finetune", {"stacks.levels": "z"})
    card, start = model_card(recipe, open_data(recipe, shared_stacks)), load_model("default").card
    assert card.levels_px[1] >= start.levels_px[1] and card.sampling[1] >= start.sampling[1]
    assert any(start.sha256[:12] in said for said in card.data)


def test_every_time_point_of_a_series_is_a_field(tmp_path: Path, optics: Optics) -> None:
    stacks = [stack_of(optics, seed) for seed in (1, 2)]
    planes = np.stack([np.asarray(stack) for stack in stacks])
    write(tmp_path / "series.ome.tif", FocalStack(planes, "TZYX", stacks[0].calibration))
    found = gather_fields(StackSource(**STACKS), tmp_path).fields  # type: ignore[arg-type]
    assert [field.name for field in found] == ["series.ome.tif//0", "series.ome.tif//1"]
    assert {field.unit for field in found} == {"series.ome.tif"}, "they stay on one side of a split"
    assert np.array_equal(found[1].stack.plane((2,)), planes[1, 2])
    assert Split(("series.ome.tif//0",)).has_trained("series.ome.tif//1", "series.ome.tif")
    assert Split(("mine/a/x.tif",)).has_trained("x.tif//3", "x.tif"), "wherever its folder is looked at from"
    assert not Split(("mine/a/x.tif",)).has_trained("b/x.tif", "b/x.tif")


def test_what_cannot_be_sent_to_a_process_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes are started afresh, as on Windows and macOS."""
    field = gather_fields(StackSource(**STACKS), folder).fields[0]
    loaders = StreamModule(field, None, validation_batches=1, workers=2)  # type: ignore[arg-type]
    loaders.trainer = SimpleNamespace(global_rank=0, world_size=1, global_step=0)  # type: ignore[assignment]
    assert loaders.train_dataloader().num_workers == 2
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    with pytest.raises(RequestError, match="workers=0"):
        loaders.train_dataloader()
    loaders.train = "what can be sent"  # type: ignore[assignment]
    assert loaders.train_dataloader().num_workers == 2


def test_numbers_in_names_of_files_are_part_of_them() -> None:
    split = Split(("cell#1", "cell#2"), ("cell#3", "sub/a.tif"))
    assert split.has_trained("cell#1", "cell#1") and not split.has_trained("cell#3", "cell#3")
    assert not Split(("a.tif",), ("sub/a.tif",)).has_trained("sub/a.tif", "sub/a.tif"), "kept apart by its own name"


def test_a_split_that_is_damaged_is_told(tmp_path: Path) -> None:
    Split(("a",), ("b",)).write(tmp_path)
    assert Split.of(tmp_path) == Split(("a",), ("b",)) and [p.name for p in tmp_path.iterdir()] == ["split.json"]
    for spoilt in ("", '{"train": ["a"', '{"trained": []}', "[]"):
        (tmp_path / "split.json").write_text(spoilt)
        with pytest.raises(ModelError, match=r"split\.json does not say"):
            Split.of(tmp_path)


def test_a_dropped_frame_is_no_plane_in_focus(tmp_path: Path, optics: Optics) -> None:
    stack = stack_of(optics, 3)
    planes = np.asarray(stack)
    planes[2] = 0
    write(tmp_path / "f.ome.tif", replace(stack, array=planes))
    for levels in ("z", "fitted"):
        with pytest.raises(RequestError, match="Plane 2 is blank"):
            gather_fields(StackSource(**STACKS, levels=levels, focus=4), tmp_path)  # type: ignore[arg-type]


def test_planes_too_far_from_focus_are_refused_however_levels_are_known(tmp_path: Path, optics: Optics) -> None:
    specimen = phantom("nuclei", (192, 192), seed=2, scale_px=14)
    far = [0.0, 20.0, 1.3 * optics.defocus_um(45)]
    write(tmp_path / "f.ome.tif", simulate_stack(specimen, optics, distances_um=far, seed=1)[0])
    with pytest.raises(RequestError, match="more than 45 px"):
        gather_fields(StackSource(**STACKS, levels="fitted", focus=0), tmp_path)  # type: ignore[arg-type]


def test_a_blank_image_is_no_field(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "good.tif", (1000 * phantom("puncta", (96, 96), seed=1)).astype(np.uint16))
    tifffile.imwrite(tmp_path / "blank.tif", np.full((96, 96), 7, np.uint16))
    source = source_of(
        tmp_path,
        layout="simulated",
        planes="0:4:1",
        columns="0:1",
        focus=0,
        na=0.5,
        wavelength_um=0.5,
        pixel_size_um=0.6,
        z_step_um=2,
    )
    found = gather_fields(source, tmp_path, specimens_in(source, tmp_path, "*.tif"))
    assert [field.unit.rsplit("/", 1)[-1] for field in found.fields] == ["good.tif"]
    assert len(found.skipped) == 1 and "blank" in found.skipped[0]
