"""Jobs of panels, numbers that are typed, and where pictures are put, without a panel around them."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari", reason="the gui extra is not installed; make test installs it")

from focuslab_napari.jobs import JobBar, Refused, UnforeseenError, refusals_yielded
from focuslab_napari.number_fields import OpenNumbers, numbers_in
from focuslab_napari.results import corner_place

from focuslab.errors import RequestError


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.645", [0.645]),
        ("0,645", [0.645]),
        ("1,4", [1.4]),
        ("0.461, 0.52", [0.461, 0.52]),
        ("0,461, 0,52", [0.461, 0.52]),
        ("0.461,0.52", [0.461, 0.52]),
        ("0,461; 0,52", [0.461, 0.52]),
        ("2", [2.0]),
        ("x 3", [3.0]),
        ("", []),
    ],
)
def test_numbers_with_points_and_decimal_commas(text: str, numbers: list[float]) -> None:
    assert numbers_in(text) == numbers


def test_open_numbers_take_either(qapp: Any) -> None:
    fields = OpenNumbers({"na": ("NA", ""), "pixel_size_um": ("Pixel size", "um"), "index": ("Index", "")}, "open")
    for name, text in (("na", "0,5"), ("pixel_size_um", "0.645"), ("index", ",")):
        fields.fields[name].setText(text)
        assert fields.fields[name].hasAcceptableInput()
    assert fields.values == {"na": 0.5, "pixel_size_um": 0.645}


def failing(error: Exception) -> Callable[[], Generator[int, None, None]]:
    def steps() -> Generator[int, None, None]:
        yield 1
        raise error

    return steps


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RequestError("No such plane."), "No such plane."),
        (MemoryError(), "Memory ran out"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "Memory ran out"),
    ],
)
def test_what_can_be_told_is_told(error: Exception, said: str) -> None:
    first, refused = list(refusals_yielded(failing(error)))
    assert first == 1 and isinstance(refused, Refused) and said in refused.sentence


def test_an_error_of_torch_is_not_swallowed() -> None:
    with pytest.raises(UnforeseenError, match="size mismatch"):
        list(refusals_yielded(failing(RuntimeError("size mismatch"))))


@pytest.fixture
def bar(make_napari_viewer: Any, qtbot: Any) -> Iterator[JobBar]:
    make_napari_viewer()
    made = JobBar()
    qtbot.addWidget(made)
    yield made


def test_a_job_that_is_cancelled_lets_go_of_its_files_at_once(bar: JobBar, qtbot: Any, tmp_path: Path) -> None:
    draft = tmp_path / ".result.part"

    def steps() -> Generator[int, None, None]:
        draft.write_bytes(b"half")
        try:
            while True:
                yield 1
        finally:
            draft.unlink()

    bar.run("Endless", steps, lambda _: None, total=10)
    qtbot.waitUntil(draft.is_file, timeout=10_000)
    bar.cancel()
    qtbot.waitUntil(lambda: not draft.exists(), timeout=10_000)


def test_a_picture_lies_over_its_pixels_on_a_turned_layer(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    layer = viewer.add_image(np.zeros((3, 40, 50)), scale=(2.0, 0.5, 0.5), translate=(0.0, 7.0, -3.0), rotate=30)
    part = viewer.add_image(np.zeros((10, 10)), **corner_place(layer, (16, 8), 2.0))
    expected = layer.data_to_world((0, 16, 8))[1:]
    assert np.allclose(part.data_to_world((0, 0)), expected)
    assert np.allclose(part.data_to_world((4, 3)), layer.data_to_world((0, 24, 14))[1:])


def test_a_model_trained_further_is_loaded_again(qtbot: Any, tmp_path: Path, tiny_model: Any) -> None:
    from focuslab_napari.model_box import ModelBox, announce_model
    from focuslab_napari.session import Session
    from qtpy.QtCore import QSettings

    from focuslab.models.bundle import save_bundle

    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    networks = {"autoencoder": tiny_model.autoencoder, "estimator": tiny_model.estimator}
    folder, session = tmp_path / "own", Session()
    save_bundle(tiny_model.card, networks, folder)
    box = ModelBox()
    qtbot.addWidget(box)
    box.add(folder)
    first = session.engine(str(folder), "cpu")
    assert session.engine(str(folder), "cpu") is first and session.engine("default", "cpu") is not first
    first = session.engine(str(folder), "cpu")

    save_bundle(tiny_model.card.model_copy(update={"name": "further", "regime": "more"}), networks, folder)
    assert session.engine(str(folder), "cpu") is first, "the weights are the same"
    changed = {**networks, "estimator": type(tiny_model.estimator)(tiny_model.estimator.config)}
    save_bundle(tiny_model.card.model_copy(update={"name": "further"}), changed, folder)
    with qtbot.waitSignal(box.changed, timeout=1000):
        announce_model(folder)
    assert box.models.currentText().startswith("further") and box.about.text().startswith("further")
    again = session.engine(str(folder), "cpu")
    assert again is not first and again.model.card.name == "further"
