import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from focuslab_training.losses import decibels, direction_gap
from focuslab_training.recipe import load_recipe, recipe_names
from focuslab_training.run import train
from focuslab_training.simulation import MARGIN, Simulator
from focuslab_training.specimens import SpecimenPool

from focuslab.errors import RequestError
from focuslab.models.bundle import load_bundle
from focuslab.models.latent import LatentCode


def test_every_bundled_recipe_is_valid() -> None:
    assert {"default", "smoke"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_recipes_are_changed_by_key_and_checked() -> None:
    changed = load_recipe("smoke", {"minutes.autoencoder": 1.5, "batch": 3})
    assert changed.minutes["autoencoder"] == 1.5 and changed.batch == 3
    for changes in ({"batch": 0}, {"colour": "red"}, {"minutes.painter": 1}):
        with pytest.raises(RequestError, match="not valid"):
            load_recipe("smoke", changes)
    with pytest.raises(RequestError, match="No recipe"):
        load_recipe("nothing")


def test_the_default_recipe_never_trains_on_reported_fields() -> None:
    recipe = load_recipe("default")
    assert recipe.images[0].leave_out == ("[abc]*",)
    assert {s.files for s in recipe.images} >= {"bbbc006_in_focus/a0[234]*.tif"}
    structures = next(s for s in recipe.images if s.name == "structures_neubias")
    assert structures.left_part <= 2 / 3


def test_images_left_out_stay_out(tmp_path: Path) -> None:
    for name in ("a1", "d1", "d2"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.random.default_rng(0).integers(0, 255, (80, 90), np.uint8))
    source = {"name": "x", "files": "*.tif", "leave_out": ["a*"], "licence": "CC0"}
    recipe = load_recipe("smoke", {"images": [source], "phantoms.count": 0})
    pool = SpecimenPool(recipe, tmp_path)
    assert pool.used == ["x/d1.tif", "x/d2.tif"]
    assert pool.draw(200, np.random.default_rng(0)).shape == (200, 200)
    with pytest.raises(RequestError, match="--data"):
        SpecimenPool(recipe, None)
    with pytest.raises(RequestError, match="No image"):
        SpecimenPool(load_recipe("smoke", {"images": [{**source, "files": "*.png"}]}), tmp_path)


def test_simulated_planes_are_what_they_say() -> None:
    recipe = load_recipe("smoke", {"optics.photons": [1e6, 1e7], "optics.read_noise": [1e-5, 1e-4]})
    pool = SpecimenPool(recipe, None)
    simulator = Simulator(pool, recipe.optics, crop_px=96, batch=2, pairs=0.3, seed=1)
    again = Simulator(pool, recipe.optics, crop_px=96, batch=2, pairs=0.3, seed=1)
    pairs = 0
    for _ in range(12):
        batch, same = simulator.next(), again.next()
        assert torch.equal(batch.planes[0], same.planes[0]), "the same seed gives the same batches"
        here = batch.situation
        assert batch.sharp.shape == batch.target.shape == (2, 1, 96, 96)
        assert batch.planes[0].shape[-1] == 96 + 2 * MARGIN
        pairs += len(here.levels) == 2
        assert here.rungs[0] == 0 and 0 <= here.target <= recipe.optics.largest_level_px
        if here.levels[0] > 8 and float(batch.sharp.std()) > 0.05:
            plane = batch.planes[0][..., MARGIN:-MARGIN, MARGIN:-MARGIN]
            assert float(batch.sharp.std()) > float(plane.std())
    assert pairs > 0


def test_loss_terms_are_their_formulas() -> None:
    a, b = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.1)
    assert float(decibels(a, b)) == pytest.approx(-20.0, abs=1e-3)

    def code(value: float, level: float) -> LatentCode:
        empty = torch.zeros(1, 1, 1, 1)
        return LatentCode((torch.full((1, 2, 2, 2), value),), empty, torch.full((1, 1, 1, 1), level), empty, (0.0,))

    direction = code(0.5, 1.0)
    assert float(direction_gap(code(1.0, 2.0), direction, code(3.0, 6.0))) == 0.0
    assert float(direction_gap(code(1.0, 2.0), direction, code(4.0, 6.0))) == pytest.approx(1.0)


def test_a_run_makes_a_bundle_can_be_stopped_and_resumed(tmp_path: Path) -> None:
    recipe = load_recipe("smoke", {"minutes": {"autoencoder": 0.05, "estimator": 0.05}, "phantoms.count": 4})
    out = tmp_path / "model"
    steps = train(recipe, out, device="cpu")
    for _ in steps:
        break
    steps.close()  # as Ctrl-C does
    assert load_bundle(out).card.name == "smoke"
    with pytest.raises(RequestError, match="--resume"):
        next(train(recipe, out, device="cpu"))
    for _ in train(recipe, out, resume=True, device="cpu"):
        pass
    assert load_bundle(out).card.data == ("phantoms: 4 simulated specimens",)
    saved = torch.load(out / "training" / "autoencoder.pt", weights_only=True)
    assert saved["step"] > 1 and all(torch.isfinite(v).all() for v in saved["average"].values())


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    """On one fixed batch a few dozen steps must improve on the front end's picture."""
    from focuslab_training.systems import AutoencoderSystem

    torch.manual_seed(0)
    recipe = load_recipe("smoke", {"losses.pairs": 0.0, "phantoms.count": 4})
    system = AutoencoderSystem(recipe, SpecimenPool(recipe, None), 0, torch.device("cpu"))
    batch = system.simulator.next()
    while batch.situation.given[0] < 4:
        batch = system.simulator.next()
    system.simulator.next = lambda: batch  # type: ignore[method-assign]
    optimiser = torch.optim.Adam(system.network.parameters(), 2e-3)
    losses = []
    for _ in range(40):
        loss, _ = system.loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5


def test_the_learning_curve_is_written(tmp_path: Path) -> None:
    from focuslab_training.systems import EstimatorSystem
    from focuslab_training.trainer import train_part

    recipe = load_recipe("smoke", {"phantoms.count": 2})
    system = EstimatorSystem(recipe, SpecimenPool(recipe, None), 0, torch.device("cpu"))
    for progress in train_part(system, minutes=2.0, learning_rate=1e-3, checkpoint=tmp_path / "e.pt", report_every=4):
        assert progress.step == 4 and "level" in progress.figures
        break
    rows = list(csv.reader((tmp_path / "e.csv").read_text().splitlines()))
    assert {row[2] for row in rows} >= {"level", "structure"}
