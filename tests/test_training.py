"""Training runs: recipes, losses, bundles, resume, what happens when things go wrong."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from focuslab_training import callbacks, parts, run, systems
from focuslab_training.data import specimens
from focuslab_training.data.batches import MARGIN, CopyBatch
from focuslab_training.data.copies import CopySource, copies_of
from focuslab_training.data.draws import draw_optics, draw_real
from focuslab_training.data.module import open_data
from focuslab_training.data.observations import Observations
from focuslab_training.data.simulation import Simulator
from focuslab_training.data.specimens import load_specimens
from focuslab_training.losses import code_on_line, decibels, direction_gap, on_line, picture_on_line, reconstruction
from focuslab_training.recipe import Recipe, load_recipe, recipe_names
from focuslab_training.run import _LAUNCHED, Machines, TrainingProgress, train
from focuslab_training.status import TrainingStatus
from focuslab_training.systems import LinearSystem, ReferenceSystem, TrainingError

from focuslab.errors import ModelError, OutputError, RequestError
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.bundle import load_bundle, load_reference
from focuslab.models.latent import LatentCode
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.models.zoo import load_model
from focuslab.optics import camera_otf, phantom
from focuslab.refocusing.devices import choose_precision

CPU = Machines("cpu")
STACKS = {"layout": "simulated", "planes": [0, 16, 4], "focus": 16, "z_step_um": 2.0}
MICROSCOPE = {"na": 0.5, "wavelength_um": 0.461, "pixel_size_um": 0.645}


def short(steps: int = 6, **changes: object) -> Recipe:
    """A few steps of a small model on few phantoms."""
    few = {"steps": {"autoencoder": steps, "estimator": 2}, "phantoms.count": 5, "validate_every": 4}
    return load_recipe(
        "smoke",
        {**few, "validation_batches": 1, "crop_px": 64, "planes_first": 8, "trains": ["autoencoder"], **changes},
    )


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    rows = csv.DictReader((folder / "training" / "autoencoder" / "curve.csv").read_text().splitlines())
    return [(int(row["step"]), float(row["value"])) for row in rows if row["name"] == name]


def test_every_bundled_recipe_is_valid() -> None:
    reference = {f"reference-{regime}" for regime in ("baseline", "implicit", "explicit")}
    assert reference | {"default", "finetune", "smoke"} == set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_recipes_are_changed_by_key_and_checked() -> None:
    changed = load_recipe("smoke", {"minutes.autoencoder": 1.5, "batch": 3})
    assert changed.minutes["autoencoder"] == 1.5 and changed.batch == 3
    impossible = ({"batch": 0}, {"minutes.painter": 1}, {"trains": []}, {"phantoms.count": 0}, {"minutes": {}})
    for changes in (*impossible, {"steps.autoencoder": -1}, {"minutes.autoencoder": 0}):
        with pytest.raises(RequestError, match="not valid"):
            load_recipe("smoke", changes)
    listed = load_recipe("default", {"images.0.weight": 2, "phantoms.count": 3})
    assert listed.images[0].weight == 2
    for place in ("images.9.weight", "images.first.weight", "images.3"):
        with pytest.raises(RequestError, match="there are 3, counted from 0"):
            load_recipe("default", {place: 2})
    with pytest.raises(RequestError, match="nothing below 'name'"):
        load_recipe("default", {"name.first": 2})
    with pytest.raises(RequestError, match="No recipe"):
        load_recipe("nothing")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optics.largest_airy_px": 0.05}, "Airy radius"),
        ({"optics.photons": [0, 100]}, "positive"),
        ({"optics.na_over_index": [0.9, 1.3]}, "less than the index"),
        ({"optics.pixel_size_um": [1.0, 0.1]}, "lower first"),
        ({"optics.largest_level_px": 80}, "45 px"),
        ({"stacks": {"layout": "stacks", "planes": [-2, 4, 1]}}, "from 0 on"),
        ({"stacks": {"layout": "stacks", "planes": [4, 0, 1]}}, "the first not behind the last"),
        ({"stacks": {"layout": "stacks", "na": 0}}, "greater than 0"),
        ({"learning_rate": float("inf")}, "finite number"),
        ({"split": {"validation": 0.6, "test": 0.5}}, "nothing to train on"),
        ({"stacks": {**STACKS, **MICROSCOPE, "planes": [0, 16, 3]}}, "not among the planes"),
        ({"replay": 0.5}, "replay is for"),
        ({"echo": 9}, "less than or equal to 8"),
        ({"echo": 2, "workers": 3}, "1, 2, 4 or 8"),
        ({"losses.reconstruction": 1}, "belongs to the reference architecture"),
        (
            {
                "architecture": "reference-autoencoder",
                "stacks": {**STACKS, **MICROSCOPE},
                "trains": ["autoencoder"],
                "losses.reconstruction": 1,
                "echo": 2,
            },
            "echo is for",
        ),
    ],
)
def test_impossible_values_are_refused_before_anything_is_loaded(changes: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        load_recipe("smoke", changes)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_bfloat16_where_the_hardware_has_it_or_it_is_asked_for(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    terms = LinearSystem.terms

    def watched(self: LinearSystem, batch: CopyBatch) -> dict[str, torch.Tensor]:
        seen.add(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        return terms(self, batch)

    monkeypatch.setattr(LinearSystem, "terms", watched)
    train(short(1, precision=precision), tmp_path / "model", machines=CPU)
    assert seen == {choose_precision(precision, torch.device("cpu"))}


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("learning_rat", "learning_rate"),
        ("optics.photon", "photons"),
        ("stacks.layut", "layout"),
        ("colour", "valid are"),
    ],
)
def test_a_misspelt_key_is_told_the_nearest(key: str, meant: str) -> None:
    with pytest.raises(RequestError, match=meant):
        load_recipe("finetune", {key: 1})


def test_the_default_recipe_never_trains_on_reported_fields() -> None:
    recipe = load_recipe("default")
    assert recipe.images[0].leave_out == ("[abc]*",)
    assert {s.files for s in recipe.images} >= {"bbbc006_in_focus/a0[234]*.tif"}
    structures = next(s for s in recipe.images if s.name == "structures_neubias")
    assert structures.columns[1] <= 2 / 3


def test_images_left_out_stay_out(tmp_path: Path) -> None:
    for name in ("a1", "d1", "d2"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.random.default_rng(0).integers(0, 255, (80, 90), np.uint8))
    source = {"name": "x", "files": "*.tif", "leave_out": ["a*"], "licence": "CC0"}
    recipe = load_recipe("smoke", {"images": [source], "phantoms.count": 0})
    pool = load_specimens(recipe, tmp_path)
    assert pool.names == ["x/d1.tif", "x/d2.tif"]
    assert pool.draw(200, np.random.default_rng(0)).shape == (200, 200)
    assert open_data(recipe, tmp_path).used in (("x/d1.tif",), ("x/d2.tif",)), "the other one validates"
    with pytest.raises(RequestError, match="--data"):
        load_specimens(recipe, None)
    with pytest.raises(RequestError, match="--data"):
        train(recipe, tmp_path / "model", machines=CPU)
    assert not (tmp_path / "model").exists(), "nothing is written before the data are there"
    with pytest.raises(RequestError, match="No image"):
        load_specimens(load_recipe("smoke", {"images": [{**source, "files": "*.png"}]}), tmp_path)


def test_a_part_of_an_image_is_a_specimen(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(160, dtype=np.uint16) // 80, (80, 1))  # dark on the left, bright on the right
    tifffile.imwrite(tmp_path / "a.tif", 1000 * ramp)
    source = {"name": "x", "files": "*.tif", "licence": "CC0"}
    for columns, shape, values in (((0, 0.5), (80, 80), 1), ((0.25, 1), (80, 120), 2)):
        recipe = load_recipe("smoke", {"images": [{**source, "columns": columns}], "phantoms.count": 0})
        ((_, (specimen,)),) = load_specimens(recipe, tmp_path).groups
        assert specimen.shape == specimen.light.shape == shape
        assert len(np.unique(specimen.light)) == values
    with pytest.raises(RequestError, match="ascending shares"):
        load_recipe("smoke", {"images": [{**source, "columns": (0.5, 0.5)}]})


def test_an_image_that_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "good.tif", np.random.default_rng(0).integers(0, 255, (80, 90), np.uint8))
    (tmp_path / "bad.tif").write_bytes(b"no TIFF")
    source = {"name": "x", "files": "*.tif", "licence": "CC0"}
    pool = load_specimens(load_recipe("smoke", {"images": [source], "phantoms.count": 0}), tmp_path)
    assert pool.names == ["x/good.tif"]
    assert len(pool.skipped) == 1 and pool.skipped[0].startswith("bad.tif: ")


def test_an_image_with_pixels_that_are_no_numbers_is_left_out_and_told(tmp_path: Path) -> None:
    image = phantom("puncta", (96, 96), seed=1)
    tifffile.imwrite(tmp_path / "a.tif", image)
    image[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "b.tif", image)
    pool = load_specimens(short(1, images=[{"name": "mine", "files": "*.tif", "licence": "none"}]), tmp_path)
    assert pool.names.count("mine/a.tif") == 1 and "mine/b.tif" not in pool.names
    assert any("b.tif" in said and "NaN" in said for said in pool.skipped)


def test_specimens_are_kept_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(name: str) -> np.ndarray:
        made.append(name)
        return np.zeros((8, 8), np.float32)

    monkeypatch.setattr(specimens, "_kept", specimens._Kept(2 * 8 * 8 * 4))
    a, b, c = (specimens.Specimen(name, (8, 8), partial(make, name)) for name in "abc")
    for specimen in (a, b, a, c, a, b):
        assert specimen.light.shape == specimen.shape
    assert made == ["a", "b", "c", "b"], "the one not looked at for longest goes"


def test_simulated_planes_are_what_they_say() -> None:
    recipe = load_recipe("smoke", {"optics.photons": [1e6, 1e7], "optics.read_noise": [1e-5, 1e-4]})
    pool = load_specimens(recipe, None)
    simulator = Simulator(pool, recipe.optics, crop_px=96, batch=2, pairs=0.3, seed=1)
    again = Simulator(pool, recipe.optics, crop_px=96, batch=2, pairs=0.3, seed=1)
    pairs = 0
    for step in range(12):
        (batch,) = simulator.batch(step)
        here = batch.situation
        assert batch.sharp.shape == batch.target.shape == (2, 1, 96, 96)
        assert batch.planes[0].shape[-1] == 96 + 2 * MARGIN
        pairs += len(here.given) == 2
        assert here.rungs[0] == 0 and 0 <= here.target <= recipe.optics.largest_level_px
        if here.given[0] > 8 and float(batch.sharp.std()) > 0.05:
            plane = batch.planes[0][..., MARGIN:-MARGIN, MARGIN:-MARGIN]
            assert float(batch.sharp.std()) > float(plane.std())
    assert pairs > 0
    (whole,), halves = simulator.batch(11), [again.batch(11, rank, 2)[0] for rank in (0, 1)]
    halved = torch.cat([h.planes[0] for h in halves])  # to rounding: Fourier transforms of other batches
    assert torch.allclose(halved, whole.planes[0], atol=1e-5), "any step, any share"


def test_more_processes_than_gpus_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    shared = parts._strategy(torch.device("cuda"), Machines("cuda", 3))
    assert [device.index for device in shared.parallel_devices] == [0, 1, 0]
    assert shared.process_group_backend == "gloo"
    assert parts._strategy(torch.device("cuda"), Machines("cuda", 2)) == "ddp_find_unused_parameters_true"
    assert parts._strategy(torch.device("cpu"), Machines("cpu", 3)) == "ddp_find_unused_parameters_true"
    assert parts._strategy(torch.device("cuda"), Machines("cuda", 1)) == "auto"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert parts._own(torch.device("cuda")) == torch.device("cuda", 1)


def test_processes_that_met_different_terms_agree_on_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, logged = short(), {}
    system = LinearSystem(LinearLatentAutoencoder(recipe.model), recipe.losses, 1e-4)
    monkeypatch.setattr(system, "log", logged.__setitem__)
    ours = iter([{"validation": torch.tensor(1.0)}, {"validation": torch.tensor(3.0)}])
    monkeypatch.setattr(system, "figures", lambda batch: next(ours))
    theirs = {"validation": (5.0, 1), "validation_implicit": (6.0, 2)}

    def gathered(everyone: list[object], mine: object) -> None:
        everyone[:] = [mine, theirs]

    monkeypatch.setattr(systems.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(systems.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(systems.dist, "all_gather_object", gathered)
    for i in range(2):
        system.validation_step(None, i)
    system.on_validation_epoch_end()
    assert logged == {"validation": 3.0, "validation_implicit": 3.0}
    logged.clear()
    monkeypatch.setattr(systems.dist, "is_initialized", lambda: False)
    system.on_validation_epoch_end()
    assert not logged, "a validation begins with nothing"


def test_several_microscopes_share_out_a_step() -> None:
    recipe = load_recipe("smoke", {"phantoms.count": 8})
    pool = load_specimens(recipe, None)
    simulator = Simulator(pool, recipe.optics, crop_px=64, batch=6, scenes=3, seed=1)
    for step in range(4):
        batches = simulator.batch(step)
        assert [len(batch.sharp) for batch in batches] == [2, 2, 2]
        assert len({batch.situation.front_end.optics.na for batch in batches}) == 3
        for rank in range(3):  # a process has one of them, and makes the scenes of one only
            alone = Simulator(pool, recipe.optics, crop_px=64, batch=6, scenes=3, seed=1)
            (own,) = alone.batch(step, rank, 3)
            assert torch.equal(own.planes[0], batches[rank].planes[0]) and len(alone._scenes) == 1
    shares = [pool.share(i, 3).names for i in range(3)]
    assert sorted(name for share in shares for name in share) == pool.names, "nothing is drawn by two of them"


def test_the_loss_of_a_step_is_the_mean_over_its_microscopes() -> None:
    recipe = load_recipe("smoke", {"phantoms.count": 4})
    system = LinearSystem(LinearLatentAutoencoder(recipe.model), recipe.losses, 1e-4)
    planes = Simulator(load_specimens(recipe, None), recipe.optics, crop_px=64, batch=4, scenes=2)
    batches = CopySource(planes).batch(3)
    with torch.no_grad():
        whole, each = system.loss(batches)[0], [system.loss((batch,))[0] for batch in batches]
    assert float(whole) == pytest.approx(float(sum(each)) / 2, rel=1e-5)


def test_a_remainder_is_made_only_where_a_picture_keeps_some_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("smoke", {"phantoms.count": 4})
    system = LinearSystem(LinearLatentAutoencoder(recipe.model), recipe.losses, 1e-4)
    network, encode, asked = system.network, system.network.encode, []

    def watched(*given: object, remainder: bool, always: bool = False) -> object:
        asked.append(remainder)
        return encode(*given, remainder=remainder or always)

    planes = CopySource(Simulator(load_specimens(recipe, None), recipe.optics, crop_px=64, batch=2))
    for step in range(12):
        (batch,) = planes.batch(step)
        monkeypatch.setattr(network, "encode", watched)
        with torch.no_grad():
            as_needed = system.terms(batch)
            monkeypatch.setattr(network, "encode", partial(watched, always=True))
            always = system.terms(batch)
        assert as_needed == always
    assert {True, False} <= set(asked)


def test_copies_are_made_in_float32_and_without_gradients() -> None:
    recipe = load_recipe("smoke", {"phantoms.count": 4})
    planes = Simulator(load_specimens(recipe, None), recipe.optics, crop_px=64, batch=2)
    (batch,) = next(b for b in map(planes.batch, range(99)) if b[0].situation.given[0] > 3)
    ours, bare = copies_of(batch), copies_of(batch, physics=False)
    assert len(ours.planes[0].copies.deconvolved) == recipe.model.copies and not bare.planes[0].copies.deconvolved
    assert ours.planes[0].plane.shape == ours.sharp.shape and torch.equal(ours.planes[0].plane, bare.planes[0].plane)
    moved = ours.to(torch.device("meta"))
    for one in (ours, moved):
        copies = one.planes[0].copies
        for image in (*copies.deconvolved, copies.ladder, one.sharp, one.planes[0].condition):
            assert image.dtype == torch.float32 and not image.requires_grad and image.device == one.target.device
    assert moved.target.device.type == "meta"


def test_a_share_of_the_microscopes_sees_thick_specimens() -> None:
    recipe = load_recipe("smoke", {"phantoms.count": 2, "optics.thick": 0.5, "optics.thickness_px": [3.0, 9.0]})
    rng = np.random.default_rng(0)
    drawn = [draw_optics(recipe.optics, rng) for _ in range(60)]
    between_faces = [optics.radius_px(optics.thickness_um) for optics in drawn if optics.thickness_um]
    assert 20 < len(between_faces) < 40 and min(between_faces) >= 3.0 and max(between_faces) <= 9.0
    thick = next(optics for optics in drawn if optics.thickness_um)
    assert not draw_real(thick, 0.2, rng).zernike_waves and draw_real(thick, 0.2, rng).thickness_um
    planes = Simulator(load_specimens(recipe, None), recipe.optics.replace(thick=1.0), crop_px=64, batch=1, seed=4)
    for step in range(4):
        (batch,) = planes.batch(step)
        assert batch.situation.front_end.optics.thickness_um and torch.isfinite(batch.planes[0]).all()


def test_what_is_doubted_is_wrong_by_as_much() -> None:
    recipe = load_recipe("smoke", {"phantoms.count": 2})
    pool = load_specimens(recipe, None)

    def errors(**changes: object) -> list[float]:
        """Differences between the planes' transfer functions and what they would be if all were as said."""
        simulator = Simulator(pool, recipe.optics.replace(**changes), crop_px=64, batch=1, seed=3)
        found = []
        for scene in map(simulator.scene, range(12)):
            optics, grid = scene.situation.front_end.optics, scene.transfer.shape[-2]
            said = camera_otf(optics, scene.situation.given[:1], (grid, grid))[0]
            found.append(float((scene.transfer[0] - said).abs().square().mean().sqrt()))
        return found

    sure, little, much = errors(sure=1.0), errors(sure=0.0, doubt=(0.02, 0.02)), errors(sure=0.0, doubt=(0.3, 0.3))
    assert max(sure) < 2e-3, "as said, up to how finely transfer functions are computed"
    assert 3 * np.median(little) < np.median(much)
    told = {s.situation.doubt for s in map(Simulator(pool, recipe.optics, crop_px=64).scene, range(20))}
    assert 0.0 in told and 5 < len(told) < 16, "half of the scenes are as said"
    assert all(recipe.optics.doubt[0] <= d <= recipe.optics.doubt[1] for d in told - {0.0})


def test_evidence_is_gathered_as_the_steps_go() -> None:
    recipe = load_recipe("smoke", {"phantoms.count": 2})
    seen = Observations(load_specimens(recipe, None), recipe.optics, batch=8, first=3, every=2)
    assert len(seen.batch(0).levels) == 8 and len(seen.rows) == 3
    seen.batch(4)
    assert len(seen.rows) == 5


def test_loss_terms_are_their_formulas() -> None:
    a, b = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.1)
    assert float(decibels(a, b)) == pytest.approx(-20.0, abs=1e-3)
    assert float(reconstruction((a, b), (b, b))) == pytest.approx(0.005)
    assert float(picture_on_line(a, b)) == float(code_on_line(a, b)) == pytest.approx(0.01)
    assert torch.allclose(on_line(a, b, torch.tensor([0.5, 3.0])).mean((1, 2, 3)), torch.tensor([0.05, 0.3]))

    def code(value: float, level: float) -> LatentCode:
        empty = torch.zeros(1, 1, 1, 1)
        return LatentCode((torch.full((1, 2, 2, 2), value),), empty, torch.full((1, 1, 1, 1), level), empty, (0.0,))

    direction = code(0.5, 1.0)
    assert float(direction_gap(code(1.0, 2.0), direction, code(3.0, 6.0))) == 0.0
    assert float(direction_gap(code(1.0, 2.0), direction, code(4.0, 6.0))) == pytest.approx(1 / 8.5)


@pytest.mark.parametrize(
    ("regime", "terms"),
    [
        ("baseline", {"reconstruction"}),
        ("implicit", {"reconstruction", "implicit"}),
        ("explicit", {"reconstruction", "implicit", "explicit"}),
    ],
)
def test_the_published_regimes_have_their_terms(regime: str, terms: set[str]) -> None:
    changes = {"stacks": {**STACKS, **MICROSCOPE}, "phantoms": {"count": 4, "size_px": 96}, "crop_px": 64, "batch": 2}
    recipe = load_recipe(f"reference-{regime}", changes)
    system = ReferenceSystem(ReferenceAutoencoder(), recipe.losses, 1e-3)
    loss, found = system.loss(open_data(recipe, None).source("autoencoder", "train").batch(0))
    assert set(found) == terms
    assert float(loss.detach()) == pytest.approx(sum(float(t) for t in found.values())), "unit weights"


def test_training_lowers_the_loss() -> None:
    """On one fixed batch a few dozen steps must improve on the front end's picture."""
    torch.manual_seed(0)
    recipe = load_recipe("smoke", {"losses.pairs": 0.0, "phantoms.count": 4})
    source = CopySource(Simulator(load_specimens(recipe, None), recipe.optics, crop_px=96, batch=2))
    batch = next(b for b in map(source.batch, range(99)) if b[0].situation.given[0] > 4)
    system = LinearSystem(LinearLatentAutoencoder(recipe.model), recipe.losses, 2e-3)
    optimiser = system.configure_optimizers()
    losses = []
    for _ in range(40):
        loss, _ = system.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5


def test_a_run_makes_a_bundle_with_its_split_and_curves(tmp_path: Path) -> None:
    reports = []
    recipe = short(6, trains=["autoencoder", "estimator"])
    card = train(recipe, tmp_path / "m", machines=CPU, report=reports.append)
    assert load_bundle(tmp_path / "m").card.sha256 == card.sha256 and card.data == ("phantoms: 4 simulated specimens",)
    assert {r.part for r in reports} == {"autoencoder", "estimator"} and reports[-1].done <= 1
    assert card.training["steps"] == {"autoencoder": 6, "estimator": 2}, "as many as were made"
    assert (tmp_path / "m" / "split.json").is_file()
    assert [step for step, _ in curve(tmp_path / "m", "validation")] == [4, 6], "and at the end"
    assert list((tmp_path / "m" / "training" / "autoencoder").glob("events.out.tfevents*")), "for TensorBoard"
    with pytest.raises(RequestError, match="--resume"):
        train(recipe, tmp_path / "m", machines=CPU)


_KILLED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from test_training import CPU, short, train
train(short(8, checkpoint_minutes=1e-9), Path(sys.argv[1]), machines=CPU)
"""


def test_a_run_killed_and_resumed_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    last = tmp_path / "broken" / "training" / "autoencoder" / "last.ckpt"
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path / "broken")], cwd=Path(__file__).parent) as run:
        while not last.is_file() and run.poll() is None:
            time.sleep(0.01)
        run.kill()
    step = torch.load(last, weights_only=True)["global_step"]
    assert 1 <= step < 8, "killed on the way"
    train(short(8), tmp_path / "broken", resume=True, machines=CPU)
    train(short(8), tmp_path / "whole", machines=CPU)
    whole, broken = curve(tmp_path / "whole", "validation"), curve(tmp_path / "broken", "validation")
    assert whole[-1][0] == broken[-1][0] == 8
    assert broken[-1][1] == pytest.approx(whole[-1][1], abs=0.1), "the batches are those of the unbroken run"


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(short(2), tmp_path / "m", machines=CPU)
    other = short(4, **{"model.widths": [8, 12]})
    for changed, recipe in (("model", other), ("learning_rate", short(4, learning_rate=1.0))):
        with pytest.raises(RequestError, match=f"another {changed}"):
            train(recipe, tmp_path / "m", resume=True, machines=CPU)
    (tmp_path / "m" / "training" / "recipe.json").unlink()  # of a run that was begun before recipes were kept
    with pytest.raises(ModelError, match="does not belong"):
        train(other, tmp_path / "m", resume=True, machines=CPU)


def test_a_run_goes_on_with_what_it_needs_or_says_what_is_lacking(tmp_path: Path) -> None:
    said: list[str] = []
    train(short(2), tmp_path / "m", machines=CPU, resume=True, notes=said.append)
    assert any("no training run to continue" in note for note in said)
    status = TrainingStatus.of(tmp_path / "m")
    assert status is not None and status.notes == tuple(said)
    kept = (tmp_path / "m" / "split.json").read_text()
    (tmp_path / "m" / "split.json").unlink()
    with pytest.raises(RequestError, match=r"not its split\.json"):
        train(short(4), tmp_path / "m", resume=True, machines=CPU)
    (tmp_path / "m" / "split.json").write_text(kept)
    (tmp_path / "m" / "training" / "autoencoder" / "last.ckpt").write_bytes(b"PK half of it")
    with pytest.raises(ModelError, match=r"last\.ckpt is damaged"):
        train(short(4), tmp_path / "m", resume=True, machines=CPU)


def test_a_run_killed_before_its_first_checkpoint_goes_on_from_its_best(tmp_path: Path) -> None:
    train(short(4), tmp_path / "m", machines=CPU)
    work = tmp_path / "m" / "training" / "autoencoder"
    assert (work / "best.ckpt").is_file(), "of the validation at step 4"
    (work / "last.ckpt").unlink()
    train(short(6), tmp_path / "m", resume=True, machines=CPU)
    assert [step for step, _ in curve(tmp_path / "m", "validation")] == [4, 6], "nothing before it was forgotten"


def test_a_best_checkpoint_does_not_put_off_the_last(tmp_path: Path) -> None:
    saved: list[Path] = []
    callback = callbacks.Checkpoints(tmp_path, minutes=1.0)
    trainer = SimpleNamespace(
        save_checkpoint=saved.append,
        is_global_zero=False,
        strategy=SimpleNamespace(broadcast=lambda value: value),
        callback_metrics={"validation": torch.tensor(1.0)},
        sanity_checking=False,
    )
    callback._saved -= 61
    callback.on_validation_end(trainer, None)  # type: ignore[arg-type]
    callback.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    assert [path.name for path in saved] == ["best.part", "last.part"]


def test_nothing_is_trained_over_a_finished_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "card.json").write_text("{}")
    for resume, said in ((False, "holds a model already"), (True, "no run to continue")):
        with pytest.raises(RequestError, match=said):
            train(short(1), tmp_path / "m", resume=resume, machines=CPU)


def test_of_several_machines_each_must_know_which_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Machines("cpu", 1, nodes=2)
    for name in _LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RequestError, match="set NODE_RANK"):
        train(short(1), tmp_path / "m", machines=two)

    def joined(part: str, *_: object) -> bool:
        assert (tmp_path / os.environ["NODE_RANK"] / "training").exists()
        return True

    monkeypatch.setattr(run, "train_part", joined)
    monkeypatch.setattr(run, "_save", lambda networks, card, *_: card)
    for machine in ("0", "1"):
        monkeypatch.setenv("NODE_RANK", machine)
        train(short(1), tmp_path / machine, machines=two)
        assert (tmp_path / machine / "split.json").exists() == (machine == "0"), "the first one writes"


@pytest.mark.parametrize("changes", [{}, {"learning_rate": 0.1, "patience": 1, "validate_every": 1}])
def test_a_run_that_ends_says_that_all_is_done(tmp_path: Path, changes: dict[str, object]) -> None:
    told: list[TrainingProgress] = []
    train(short(400 if changes else 3, **changes), tmp_path / "m", machines=CPU, report=told.append)
    assert told[-1].done == 1 and told[-1].seconds_left == 0 and bool(told[-1].figures) == (not changes)
    assert json.loads((tmp_path / "m" / "training" / "status.json").read_text())["done"] == 1


def test_fine_tuning_starts_from_a_bundle(tmp_path: Path) -> None:
    train(short(2), tmp_path / "first", machines=CPU)
    changes = {"start": str(tmp_path / "first"), "learning_rate": 1e-9, "split.validation": 0.0}
    train(short(1, **changes), tmp_path / "second", machines=CPU)
    first, second = load_bundle(tmp_path / "first"), load_bundle(tmp_path / "second")
    for name, value in first.autoencoder.state_dict().items():
        assert torch.allclose(value, second.autoencoder.state_dict()[name], atol=1e-4)
    with pytest.raises(ModelError, match="other sizes"):
        train(short(1, **changes, **{"model.widths": [8, 12]}), tmp_path / "third", machines=CPU)


def test_the_reference_trains_on_stacks_into_a_bundle(tmp_path: Path) -> None:
    changes = {
        "stacks": {**STACKS, **MICROSCOPE},
        "phantoms": {"count": 5, "size_px": 96},
        "steps": {"autoencoder": 2},
        "crop_px": 64,
        "batch": 2,
        "validation_batches": 1,
    }
    card = train(load_recipe("reference-explicit", changes), tmp_path / "m", machines=CPU)
    assert card.architecture == "reference-autoencoder"
    loaded, network = load_reference(tmp_path / "m")
    assert loaded.sha256 == card.sha256 and network(torch.rand(1, 1, 64, 64)).shape == (1, 1, 64, 64)
    with pytest.raises(ModelError, match="reference architecture"):
        load_bundle(tmp_path / "m")


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = LinearSystem.terms

    def broken(self: LinearSystem, batch: object) -> dict[str, torch.Tensor]:
        found = terms(self, batch)  # type: ignore[arg-type]
        return {k: v * (float("nan") if self.global_step == 3 else 1) for k, v in found.items()}

    monkeypatch.setattr(LinearSystem, "terms", broken)
    with pytest.raises(TrainingError, match="at step 3"):
        train(short(6, checkpoint_minutes=1e-9), tmp_path / "m", machines=CPU)
    state = torch.load(tmp_path / "m" / "training" / "autoencoder" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 3 and all(torch.isfinite(v).all() for v in state["state_dict"].values())


def test_a_full_disk_leaves_the_checkpoint_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, last = callbacks.pl.Trainer.save_checkpoint, tmp_path / "m" / "training" / "autoencoder" / "last.ckpt"

    def full(self: object, path: Path, *rest: object) -> None:
        if last.is_file():
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(self, path)  # type: ignore[arg-type]

    monkeypatch.setattr(callbacks.pl.Trainer, "save_checkpoint", full)
    with pytest.raises(OutputError, match="the one from before is kept"):
        train(short(6, checkpoint_minutes=1e-9), tmp_path / "m", machines=CPU)
    assert torch.load(last, weights_only=True)["global_step"] == 1
    assert not list(last.parent.glob("*.part"))


def test_ctrl_c_leaves_a_usable_model(tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "m" / "training" / "autoencoder" / "curve.csv").is_file():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    card = train(short(100_000, validate_every=2), tmp_path / "m", machines=CPU)
    thread.join()
    assert load_bundle(tmp_path / "m").card.sha256 == card.sha256
    assert curve(tmp_path / "m", "validation")


def test_a_model_stopped_before_its_estimator_was_trained_reads_levels_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focuslab_training.run.train_part", lambda *_: True)  # stopped in its first part
    card = train(short(trains=["autoencoder", "estimator"]), tmp_path / "m", machines=CPU)
    reader = load_model("default").estimator.state_dict()
    found = load_bundle(tmp_path / "m").estimator.state_dict()
    assert all(torch.equal(found[name], reader[name]) for name in reader)
    assert "has not been trained" in card.data[-1] == load_bundle(tmp_path / "m").card.data[-1]
    alone = train(short(), tmp_path / "alone", machines=CPU)
    assert "are read by the estimator of default" in alone.data[-1], "which was not to be trained"


@pytest.mark.parametrize("changes", [{}, {"learning_rate": 0.1, "patience": 1, "validate_every": 1}])
def test_a_run_that_has_ended_is_not_trained_further_by_resuming(tmp_path: Path, changes: dict[str, object]) -> None:
    recipe = short(400 if changes else 3, **changes)
    first = train(recipe, tmp_path / "m", machines=CPU)
    steps = len(curve(tmp_path / "m", "validation"))
    again = train(recipe, tmp_path / "m", resume=True, machines=CPU)
    assert again.sha256 == first.sha256 and len(curve(tmp_path / "m", "validation")) == steps
    if not changes:
        longer = train(short(4), tmp_path / "m", resume=True, machines=CPU)
        assert longer.sha256 != first.sha256, "unless it is to be longer"


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    recipe = short(400, learning_rate=0.1, patience=1, validate_every=1)
    train(recipe, tmp_path / "m", machines=CPU)
    found = [value for _, value in curve(tmp_path / "m", "validation")]
    assert len(found) < 100 and (tmp_path / "m" / "training" / "autoencoder" / "best.ckpt").is_file()
    train(recipe.replace(patience=3), tmp_path / "m", resume=True, machines=CPU)
    assert len(curve(tmp_path / "m", "validation")) > len(found), "with more patience it goes on"


def test_a_run_goes_on_from_the_model_that_it_started_from(tmp_path: Path) -> None:
    train(short(2), tmp_path / "first", machines=CPU)
    train(short(2, start=str(tmp_path / "first")), tmp_path / "second", machines=CPU)
    with pytest.raises(RequestError, match="begun with another start"):
        train(short(3), tmp_path / "second", resume=True, machines=CPU)


def test_the_estimator_alone_is_trained_beside_a_trained_autoencoder(tmp_path: Path) -> None:
    sizes = {"model": load_recipe("default").model.model_dump(), "trains": ["estimator"]}
    card = train(short(**sizes), tmp_path / "m", machines=CPU)
    kept, default = load_bundle(tmp_path / "m").autoencoder, load_model("default").autoencoder
    for name, value in default.state_dict().items():
        assert torch.equal(value, kept.state_dict()[name])
    assert "coded by the autoencoder of default" in card.data[-1]
    with pytest.raises(ModelError, match="train both parts"):
        train(short(trains=["estimator"]), tmp_path / "small", machines=CPU)


def test_a_card_names_what_was_trained_on(tmp_path: Path) -> None:
    card = train(short(2), tmp_path / "m", machines=CPU)
    assert "phantoms: 4 simulated specimens" in card.data, "the fifth validates"


_TWO = """
import sys
from pathlib import Path
from types import SimpleNamespace
from focuslab_training.recipe import load_recipe
from focuslab_training.run import Machines, train
changes = {"steps": {"autoencoder": 4}, "phantoms.count": 5, "validate_every": 4, "validation_batches": 1,
           "crop_px": 64, "batch": 4, "trains": ["autoencoder"], "precision": "float32"}
machines = Machines("cpu", int(sys.argv[2]), strategy=sys.argv[3])
train(load_recipe("smoke", changes), Path(sys.argv[1]), machines=machines)
"""


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    for name, devices, strategy in (("one", "1", "auto"), ("two", "2", "ddp")):
        script = tmp_path / f"{name}.py"
        script.write_text(_TWO)
        run = [sys.executable, str(script), str(tmp_path / name), devices, strategy]
        subprocess.run(run, check=True, capture_output=True, timeout=300)
    one, two = curve(tmp_path / "one", "validation"), curve(tmp_path / "two", "validation")
    assert two[-1][1] == pytest.approx(one[-1][1], rel=0.02)
