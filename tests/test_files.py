"""Names, places and drafts, also as on systems that the tests do not run on."""

from pathlib import Path

import numpy as np
import pytest

from focuslab import files
from focuslab.errors import OutputError
from focuslab.files import check_free, file_name, place_of, take_place
from focuslab.io import StackWriter
from focuslab.io.destination import check_destination
from focuslab.stack import FocalStack


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0 :: Image:0 :: DAPI", "0 -- Image-0 -- DAPI"),
        ("C:\\data/cells?", "C--data-cells-"),
        ("trailing. ", "trailing"),
        ("..", "unnamed"),
        ("β-tubulin 4 µm", "β-tubulin 4 µm"),
    ],
)
def test_names_that_every_system_takes(text: str, name: str) -> None:
    assert file_name(text) == name


@pytest.mark.parametrize("matters", [True, False])
def test_case_is_ignored_where_the_system_does(matters: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CASE_MATTERS", matters)
    assert (place_of(tmp_path / "IMG.tif") == place_of(tmp_path / "x" / ".." / "img.TIF")) is not matters


class Held:
    """A rename that is refused some times, as where a virus scanner looks into the file."""

    def __init__(self, times: int) -> None:
        self.times, self.real = times, Path.replace

    def __call__(self, draft: Path, path: Path) -> Path:
        self.times -= 1
        if self.times >= 0:
            raise PermissionError(13, "The process cannot access the file because it is being used")
        return self.real(draft, path)


def test_a_draft_waits_for_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WAITS_S", (0.0, 0.0))
    draft = tmp_path / "draft"
    for times in (0, 2, 3):
        draft.write_text(str(times))
        held = Held(times)
        monkeypatch.setattr(Path, "replace", lambda a, b, held=held: held(a, b))
        if times > 2:
            with pytest.raises(PermissionError):
                take_place(draft, tmp_path / "result")
        else:
            take_place(draft, tmp_path / "result")
            assert (tmp_path / "result").read_text() == str(times)
    assert draft.read_text() == "3", "what could not be put in its place is not lost"


def test_a_file_that_is_open_elsewhere_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "levels.csv"
    check_free(path)  # there is none
    path.write_text("a")
    check_destination(path, overwrite=True)
    assert path.read_text() == "a"
    held = Held(99)
    monkeypatch.setattr(Path, "replace", lambda a, b: held(a, b))
    with pytest.raises(OutputError, match="open in another program"):
        check_destination(path, overwrite=True)


@pytest.mark.parametrize("fails", [True, False])
def test_no_map_of_a_draft_outlives_its_writer(fails: bool, tmp_path: Path) -> None:
    """On Windows a mapped file can neither be moved nor removed, whoever holds the map."""
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("asks Linux")
    like = FocalStack(np.zeros((64, 64), np.uint16))
    seen = []

    def steps(out: object) -> object:  # suspended, as a run that is given up
        out[:] = 1  # type: ignore[index]
        yield out

    held = None
    try:
        with StackWriter(tmp_path / "a.tif", like) as writer:
            held = steps(writer.array)
            next(held)  # type: ignore[call-overload]
            assert ".part" in maps.read_text()
            unlink, replace = writer._discard, writer._describe
            writer._discard = lambda: (seen.append(".part" in maps.read_text()), unlink())  # type: ignore[method-assign]
            writer._describe = lambda: (seen.append(".part" in maps.read_text()), replace())  # type: ignore[method-assign]
            if fails:
                raise RuntimeError("given up")
    except RuntimeError:
        pass
    assert seen == [False], "before the draft is moved, or removed"
    assert (tmp_path / "a.tif").exists() is not fails
