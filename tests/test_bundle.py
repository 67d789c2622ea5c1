import json
import pickle
from pathlib import Path

import pytest
import torch

from focuslab.errors import ModelError
from focuslab.models.bundle import Model, load_bundle
from focuslab.models.frontend import EDITION
from focuslab.models.zoo import bundled_cards, load_model


def test_a_bundle_loads_as_it_was_saved(tmp_path: Path, tiny_model: Model) -> None:
    card = tiny_model.save(tmp_path / "m")
    again = load_bundle(tmp_path / "m")
    assert again.card.model_dump_json() == card.model_dump_json() and len(card.sha256) == 64
    for name, value in tiny_model.autoencoder.state_dict().items():
        assert torch.allclose(again.autoencoder.state_dict()[name], value, atol=1e-3)
    assert load_bundle(tmp_path / "m" / "card.json").card.sha256 == card.sha256


def test_the_default_model_is_small_and_complete() -> None:
    card = bundled_cards()["default"]
    model = load_model("default")
    assert model.card.sha256 == card.sha256 and card.data and card.training
    folder = Path(load_bundle.__code__.co_filename).parent / "zoo" / "default"
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 8_000_000


def test_damage_is_noticed(tmp_path: Path, tiny_model: Model) -> None:
    tiny_model.save(tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path / "m")
    weights.unlink()
    with pytest.raises(ModelError, match="lacks"):
        load_model(tmp_path / "m")


def test_foreign_and_pickled_models_are_never_loaded(tmp_path: Path, tiny_model: Model) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('a pickle was run')",))

    (tmp_path / "model.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="never loaded"):
        load_model(tmp_path / "model.pt")
    tiny_model.save(tmp_path / "m")
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    for change in ({"architecture": "unet"}, {"surprise": 1}, {"autoencoder": {"widths": [4, 4]}}):
        (tmp_path / "m" / "card.json").write_text(json.dumps({**card, **change}))
        with pytest.raises(ModelError):
            load_model(tmp_path / "m")
    (tmp_path / "m" / "card.json").write_text("not json")
    with pytest.raises(ModelError, match="not the card"):
        load_model(tmp_path / "m")


def test_a_model_of_another_front_end_is_refused_with_advice(tmp_path: Path, tiny_model: Model) -> None:
    tiny_model.save(tmp_path / "m")
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert card["autoencoder"]["front_end"] == EDITION
    earlier = {key: value for key, value in card["autoencoder"].items() if key != "front_end"}  # it was not said once
    for other in ({**card["autoencoder"], "copies": 6}, {**card["autoencoder"], "front_end": 76}, earlier):
        (tmp_path / "m" / "card.json").write_text(json.dumps({**card, "autoencoder": other}))
        with pytest.raises(ModelError, match=r"train it again \(the front end .*(6|of 1)"):
            load_bundle(tmp_path / "m")


def test_another_model_is_never_taken_instead() -> None:
    with pytest.raises(ModelError, match="bundled are default"):
        load_model("defualt")


def test_a_model_that_is_moved_leaves_the_first_where_it_is(tiny_model: Model) -> None:
    moved = tiny_model.to("meta")
    assert moved is not tiny_model and next(moved.autoencoder.parameters()).device.type == "meta"
    stayed = [*tiny_model.autoencoder.parameters(), *tiny_model.estimator.parameters()]
    assert {p.device.type for p in stayed} == {"cpu"}
    assert tiny_model.to("cpu") is tiny_model, "nothing is copied where nothing moves"
