"""OME-Zarr in and out: metadata, pyramids, what is refused, refocusing and augmentation of whole images."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import focuslab
from focuslab.calibration import Calibration
from focuslab.errors import ImageError, OutputError
from focuslab.optics import phantom
from focuslab.stack import FocalStack

zarr = pytest.importorskip("zarr", reason="the zarr extra is not installed; make test installs it")

KNOWN = Calibration(
    pixel_size_um=0.645, z_step_um=2.0, na=0.5, index=1.0, wavelengths_um=(0.461, 0.6), channel_names=("DAPI", "Cy3")
)


def picture(shape: tuple[int, int] = (96, 120), seed: int = 1) -> np.ndarray:
    return (200 + 4000 * phantom("nuclei", shape, seed=seed, scale_px=12)).astype(np.uint16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_round_trip(tmp_path: Path, dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (2, 3, 40, 50)).astype(dtype)
    stack = FocalStack(pixels, "CZYX", KNOWN, {"operation": "test"})
    again = focuslab.read(focuslab.write(tmp_path / "a.ome.zarr", stack))
    assert again.axes == "CZYX" and again.dtype == dtype and np.array_equal(np.asarray(again.array), pixels)
    assert again.calibration == KNOWN and again.provenance == {"operation": "test"}
    said = json.loads((tmp_path / "a.ome.zarr" / "zarr.json").read_text())["attributes"]["ome"]
    image = said["multiscales"][0]
    assert said["version"] == "0.5" and [a["name"] for a in image["axes"]] == list("czyx")
    assert image["axes"][1] == {"name": "z", "type": "space", "unit": "micrometer"}
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 2.0, 0.645, 0.645]
    with pytest.raises(OutputError, match="exists already"):
        focuslab.write(tmp_path / "a.ome.zarr", stack)
    focuslab.write(tmp_path / "a.ome.zarr", stack, overwrite=True)
    assert not list(tmp_path.glob(".*"))


def test_the_place_on_the_stage_stays(tmp_path: Path) -> None:
    """A translation of every level of the pyramid, to the middle of its first pixel."""
    known = Calibration(pixel_size_um=0.5, position_um=(3.0, -1200.0, 800.5))
    pixels = np.zeros((2, 600, 600), np.uint16)
    again = focuslab.read(focuslab.write(tmp_path / "a.zarr", FocalStack(pixels, "ZYX", known.replace(z_step_um=2.0))))
    assert again.calibration.position_um == (3.0, -1200.0, 800.5)
    said = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    changes = [level["coordinateTransformations"] for level in said["datasets"]]
    assert changes[0][1] == {"type": "translation", "translation": [3.0, -1200.0, 800.5]}
    assert changes[1][1] == {"type": "translation", "translation": [3.0, -1199.75, 800.75]}
    flat = focuslab.read(focuslab.write(tmp_path / "b.zarr", FocalStack(pixels[0], "YX", known)))
    assert flat.calibration == known, "NGFF has no Z of a single plane, FocusLab's own note has"


def test_a_pyramid_halves_to_the_end(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 999, (1201, 2600)).astype(np.uint16)
    focuslab.write(tmp_path / "a.zarr", FocalStack(pixels, "YX", KNOWN))
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    assert [group[str(k)].shape for k in range(4)] == [(1201, 2600), (600, 1300), (300, 650), (150, 325)]
    assert "4" not in group
    blocks = pixels[:1200].reshape(600, 2, 1300, 2).mean((1, 3))
    assert np.abs(group["1"][:].astype(float) - blocks).max() <= 0.5


def test_scales_of_a_narrow_image(tmp_path: Path) -> None:
    focuslab.write(
        tmp_path / "a.zarr", FocalStack(np.zeros((7, 2100), np.uint16), "YX", Calibration(pixel_size_um=1.0))
    )
    image = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in image["datasets"]]
    assert scales == [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0], [4.0, 8.0]][: len(scales)] and len(scales) > 2


def test_ngff_goes_before_what_focuslab_noted(tmp_path: Path) -> None:
    focuslab.write(tmp_path / "a.zarr", FocalStack(np.zeros((40, 50), np.uint16), "YX", KNOWN))
    path = tmp_path / "a.zarr" / "zarr.json"
    path.write_text(path.read_text().replace("0.645", "0.25", 2))  # the scale of the image, not the note
    said = focuslab.read(tmp_path / "a.zarr").calibration
    assert said.pixel_size_um == 0.25 and said.na == KNOWN.na


def test_version_0_4_and_foreign_units(tmp_path: Path) -> None:
    group = zarr.create_group(str(tmp_path / "old.zarr"), zarr_format=2)
    group.create_array("s0", shape=(3, 20, 20), chunks=(1, 20, 20), dtype="uint16")
    scale = {"type": "scale", "scale": [500.0, 250.0, 250.0]}
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": [scale]}]}
    ]
    stack = focuslab.read(tmp_path / "old.zarr")
    assert stack.axes == "ZYX" and stack.calibration.pixel_size_um == 0.25 and stack.calibration.z_step_um == 0.5
    series = [{"name": "t", "type": "time", "unit": "millisecond"}, *({**axis, "unit": "micron"} for axis in axes[1:])]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": series, "datasets": [{"path": "s0", "coordinateTransformations": [scale]}]}
    ]
    said = focuslab.read(tmp_path / "old.zarr").calibration
    assert said.time_step_s == 0.5 and said.pixel_size_um == 250, "as TIFF spells them"


def test_a_damaged_chunk_is_told_and_other_images_go_on(tmp_path: Path) -> None:
    from focuslab.models.zoo import load_model
    from focuslab.refocusing.batch import batch_steps, jobs_of
    from focuslab.refocusing.engine import Engine
    from focuslab.refocusing.progress import finish
    from focuslab.refocusing.request import RefocusRequest
    from focuslab.refocusing.screen import Wells, estimate_steps

    paths = [focuslab.write(tmp_path / f"{name}.ome.zarr", FocalStack(picture(), "YX", KNOWN)) for name in "ab"]
    chunk = max((p for p in paths[0].rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:50])
    with pytest.raises(ImageError, match=r"a\.ome\.zarr is damaged"):
        focuslab.read(paths[0]).plane()
    model = load_model("default")
    jobs = jobs_of(paths, tmp_path / "out")
    errors = [error for *_, error in estimate_steps(jobs, model, Wells())]
    assert isinstance(errors[0], ImageError) and errors[1] is None
    outcomes = finish(batch_steps(jobs, RefocusRequest(shift_um=4, level_um=0), Engine(model, "cpu")))
    assert isinstance(outcomes[0].error, ImageError) and outcomes[1].error is None
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b.focuslab.json", "b.ome.zarr"]


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ImageError, match="not an OME-Zarr image"):
        focuslab.read(tmp_path / "empty.zarr")
    zarr.create_group(str(tmp_path / "bare.zarr"))
    with pytest.raises(ImageError, match="no multiscales"):
        focuslab.read(tmp_path / "bare.zarr")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OutputError, match="full"):
        focuslab.write(tmp_path / "a.zarr", FocalStack(picture(), "YX", KNOWN))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare.zarr", "empty.zarr"]


def test_refocus_and_augment(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    known = KNOWN.replace(wavelengths_um=(0.461,), channel_names=(), z_step_um=None)
    focuslab.write(data / "a.ome.zarr", FocalStack(picture(), "YX", known))

    def run(*arguments: Any) -> str:
        command = [sys.executable, "-m", "focuslab", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run("refocus", data, "-o", tmp_path / "out", "--shift-um", 4, "--level-um", 0)
    made = focuslab.read(tmp_path / "out" / "a.ome.zarr")
    assert made.provenance["operation"] == "refocus" and made.dtype == np.uint16
    direct = focuslab.refocus(focuslab.read(data / "a.ome.zarr"), shift_um=4, level_um=0)
    assert np.array_equal(np.asarray(made.array), np.asarray(direct.array))
    run("augment", data, tmp_path / "more", "--copies", 2, "--blur-um", "1:5", "--level", "sharp")
    copies = sorted(p.name for p in (tmp_path / "more").glob("*.zarr"))
    assert copies == ["a_defocus00.ome.zarr", "a_defocus01.ome.zarr"]
    assert focuslab.read(tmp_path / "more" / copies[0]).calibration.pixel_size_um == 0.645
    assert "1 plane of 1 file, " in run("estimate", data, "-o", tmp_path / "levels.csv")


def make_plate(path: Path) -> None:
    """Two wells, two fields in the first."""
    known = KNOWN.replace(wavelengths_um=(0.461,), channel_names=(), z_step_um=None)
    wells = [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}, {"path": "B/2", "rowIndex": 1, "columnIndex": 1}]
    plate = zarr.create_group(str(path), zarr_format=3)
    rows, columns = [{"name": n} for n in "AB"], [{"name": n} for n in "12"]
    plate.attrs["ome"] = {"version": "0.5", "plate": {"name": "p", "rows": rows, "columns": columns, "wells": wells}}
    for well, count in (("A/1", 2), ("B/2", 1)):
        group = zarr.open_group(str(path / well), mode="a", zarr_format=3)
        group.attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": str(k)} for k in range(count)]}}
        for k in range(count):
            focuslab.write(path / well / str(k), FocalStack(picture(seed=k + len(well)), "YX", known))


def test_plates_are_their_fields(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_plate(tmp_path / "data" / "screen.zarr")
    from focuslab.io import fields_of, images_of, is_plate

    fields = images_of(tmp_path / "data")
    names = ["A/1/0", "A/1/1", "B/2/0"]
    assert [f.relative_to(tmp_path / "data" / "screen.zarr").as_posix() for f in fields] == names

    def run(*arguments: Any) -> str:
        command = [sys.executable, "-m", "focuslab", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run("estimate", tmp_path / "data", "-o", tmp_path / "levels.csv", "--plate", tmp_path / "plate.png")
    assert [row.split(",")[1:3] for row in (tmp_path / "levels.csv").read_text().splitlines()[1:]] == [
        ["A01", "0"], ["A01", "1"], ["B02", "0"],
    ]  # fmt: skip
    run("estimate", tmp_path / "data" / "screen.zarr", "-o", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "levels.csv").read_text()
    run("refocus", tmp_path / "data" / "screen.zarr", "-o", tmp_path / "out", "--shift-um", 3, "--level-um", 0)
    run("augment", tmp_path / "data", tmp_path / "more", "--copies", 1, "--blur-um", "1:5", "--level", "sharp")
    for made in (tmp_path / "out" / "screen.zarr", tmp_path / "more" / "screen_defocus00.zarr"):
        assert is_plate(made) and [f.relative_to(made).as_posix() for f in fields_of(made)] == names
        assert focuslab.read(made / "B/2/0").calibration.pixel_size_um == 0.645


def test_dimensions_have_their_names(tmp_path: Path) -> None:
    focuslab.write(tmp_path / "a.ome.zarr", FocalStack(np.stack([picture()] * 2), "ZYX", KNOWN))
    said = json.loads((tmp_path / "a.ome.zarr" / "0" / "zarr.json").read_text())
    assert said["dimension_names"] == ["z", "y", "x"]


@pytest.mark.parametrize(
    "change",
    [
        lambda ome: ome.update(omero={"channels": 5}),
        lambda ome: ome["multiscales"][0]["datasets"][0].update(
            coordinateTransformations=[{"type": "scale", "path": "s"}]
        ),
        lambda ome: ome["multiscales"][0]["datasets"][0].update(
            coordinateTransformations=[{"type": "scale", "scale": [1.0]}]
        ),
    ],
)
def test_odd_metadata_are_told_in_a_sentence(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "a.ome.zarr"
    focuslab.write(path, FocalStack(picture(), "YX", KNOWN))
    said = json.loads((path / "zarr.json").read_text())
    change(said["attributes"]["ome"])
    (path / "zarr.json").write_text(json.dumps(said))
    with pytest.raises(ImageError, match="not those of NGFF"):
        focuslab.read(path)


def test_nothing_said_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    focuslab.write(path, FocalStack(picture(), "YX", Calibration(pixel_size_um=0.5)))
    said = json.loads((path / "zarr.json").read_text())
    said["attributes"]["ome"]["omero"] = None
    said["attributes"]["ome"]["multiscales"][0]["coordinateTransformations"] = None
    (path / "zarr.json").write_text(json.dumps(said))
    assert focuslab.read(path).calibration.pixel_size_um == 0.5


def test_a_plate_says_what_fields_it_has(tmp_path: Path) -> None:
    from focuslab.io import copy_plate, fields_of, is_plate, plates

    source, target = tmp_path / "screen.zarr", tmp_path / "out" / "screen.zarr"
    make_plate(source)
    (tmp_path / "out").mkdir()
    copy_plate(source, target)
    assert not target.exists(), "no field, no plate"
    focuslab.write(tmp_path / "field.zarr", focuslab.read(source / "A/1/1"))
    (target / "A" / "1").mkdir(parents=True)
    (tmp_path / "field.zarr").rename(target / "A/1/1")
    copy_plate(source, target)
    assert is_plate(target) and fields_of(target) == [target / "A/1/1"]
    said = json.loads((source / "zarr.json").read_text())
    del said["attributes"]["ome"]["plate"]["wells"]
    (source / "zarr.json").write_text(json.dumps(said))
    with pytest.raises(ImageError, match="NGFF plate"):
        plates.fields_of(source)


def test_a_field_alone_keeps_its_place_in_the_plate(tmp_path: Path) -> None:
    make_plate(tmp_path / "screen.zarr")
    command = [sys.executable, "-m", "focuslab", "refocus", str(tmp_path / "screen.zarr/B/2/0"), "-o"]
    shift = ["--shift-um", "3", "--level-um", "0"]
    subprocess.run([*command, str(tmp_path / "out"), *shift], capture_output=True, check=True)
    assert focuslab.read(tmp_path / "out" / "screen.zarr/B/2/0").axes == "YX"


def test_images_that_bioformats2raw_wrote(tmp_path: Path) -> None:
    from focuslab.io import images_of

    for k in (0, 1):
        focuslab.write(tmp_path / f"{k}.zarr", FocalStack(picture(seed=k), "YX", KNOWN))
    root = tmp_path / "data" / "slide.zarr"
    zarr.open_group(str(root), mode="w", zarr_format=3).attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    for k in (0, 1):
        (tmp_path / f"{k}.zarr").rename(root / str(k))
    assert images_of(tmp_path / "data") == [root / "0", root / "1"]
    with pytest.raises(ImageError, match=r"slide\.zarr/0"):
        focuslab.read(root)
    assert focuslab.read(root / "1").shape == (96, 120)
