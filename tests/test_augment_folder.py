"""Whole data sets: labels carried, manifests replayed, any number of workers, runs that were killed."""

import copy
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import focuslab
from focuslab.augment import work
from focuslab.augment.copies import AugmentRequest, Copy, plan_copies
from focuslab.augment.folder import augment_steps, plan_folder, plan_replay
from focuslab.augment.sources import Companion, Source, check_label, find_sources
from focuslab.augment.work import Order, carried_place
from focuslab.calibration import Calibration
from focuslab.errors import ImageError, OutputError, RequestError
from focuslab.models.bundle import Model
from focuslab.optics import phantom
from focuslab.refocusing import finish
from focuslab.stack import FocalStack

KNOWN = Calibration(pixel_size_um=0.645, na=0.5, index=1.0, wavelengths_um=(0.461,))
REQUEST = AugmentRequest(2, (1.0, 6.0), "um", "mixed", "sharp", 7)


def picture(seed: int, dtype: Any = np.uint16) -> np.ndarray:
    scale = 200 if dtype == np.uint8 else 4000
    return (
        (0.05 * scale + scale * phantom("nuclei", (64, 72), seed=seed, scale_px=10)).clip(0, 250 * scale).astype(dtype)
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Training and validation folders with labels, a table, an image without label, one that is none."""
    root = tmp_path / "data"
    for part, seeds in (("train", (1, 2)), ("validation", (3,))):
        (root / "images" / part).mkdir(parents=True)
        (root / "masks" / part).mkdir(parents=True)
        for seed in seeds:
            image = FocalStack(picture(seed), "YX", KNOWN)
            focuslab.write(root / "images" / part / f"cell{seed}.ome.tif", image)
            Image.fromarray((picture(seed) > 800).astype(np.uint8)).save(root / "masks" / part / f"cell{seed}.png")
    (root / "images" / "train" / "cell1.csv").write_text("x,y\n3,4\n")
    (root / "classes.csv").write_text("cell1,a\n")
    return root


def made(plan: Any, data: Path, destination: Path, **how: Any) -> list[Any]:
    return finish(augment_steps(plan, Order(destination, "default"), **how))


def digest(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_folders_labels_tables_and_calibration_are_kept(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = made(plan_folder(data, out, REQUEST, labels=data / "masks"), data, out)
    assert all(r.error is None and len(r.records) == 2 for r in results)
    names = set(digest(out))
    assert {"images/train/cell1_defocus00.ome.tif", "images/validation/cell3_defocus01.ome.tif"} <= names
    for k in (0, 1):
        label = (out / f"masks/train/cell2_defocus0{k}.png").read_bytes()
        assert label == (data / "masks/train/cell2.png").read_bytes()
        assert (out / f"images/train/cell1_defocus0{k}.csv").read_text() == "x,y\n3,4\n"
    assert (out / "classes.csv").read_text() == "cell1,a\n"
    copy = focuslab.read(out / "images/train/cell1_defocus00.ome.tif")
    assert copy.calibration.pixel_size_um == 0.645 and copy.dtype == np.uint16 and copy.axes == "YX"
    assert not np.array_equal(copy.plane(), picture(1))
    manifest = json.loads((out / "manifest.json").read_text())
    rows = list(csv.DictReader((out / "manifest.csv").read_text().splitlines()))
    assert len(manifest["copies"]) == len(rows) == 6
    first = manifest["copies"][0]
    assert first["source"] == "images/train/cell1.ome.tif" and 1 <= first["shift"] <= 6 and first["level_px"] == [0.0]
    assert first["sha256"] == focuslab.load_model("default").identity["sha256"]
    assert abs(first["intensity_drift"]) < 0.02


def test_the_same_files_whoever_makes_them(data: Path, tmp_path: Path) -> None:
    plan = plan_folder(data / "images", tmp_path / "one", REQUEST)
    made(plan, data, tmp_path / "one")
    made(plan, data, tmp_path / "three", workers=3)
    one = digest(tmp_path / "one")
    assert one == digest(tmp_path / "three")
    replayed, order = plan_replay(tmp_path / "one" / "manifest.json")
    finish(augment_steps(replayed, Order(tmp_path / "again", order.model, order.device, order.optics)))
    again = digest(tmp_path / "again")
    assert again == one, "labels and tables too"
    (tmp_path / "again" / "manifest.json").write_text("{}")
    with pytest.raises(RequestError, match="not a manifest"):
        plan_replay(tmp_path / "again" / "manifest.json")


def test_a_run_that_was_cut_short_goes_on(data: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    plan = plan_folder(data / "images", whole, REQUEST)
    made(plan, data, whole)
    part = tmp_path / "part"
    steps = augment_steps(plan, Order(part, "default"))
    while next(steps).done < 1:
        pass
    steps.close()
    (part / "images").mkdir(exist_ok=True)
    (part / ".cell9.ome.tif.0a1b2c3d.part").write_bytes(b"half")
    (part / f".{'0a1b2c3d' * 4}.part").write_bytes(b"")  # a probe of whether the folder can be written to
    (part / ".notes.part1.txt").write_text("the user's own")
    victim = next(part.rglob("*.tif"))
    before = victim.stat().st_mtime_ns
    results = made(plan, data, part)
    assert victim.stat().st_mtime_ns == before and sum(r.pixels for r in results) < 6 * 64 * 72
    assert (part / ".notes.part1.txt").read_text() == "the user's own"
    (part / ".notes.part1.txt").unlink()
    assert digest(part) == digest(whole)


def test_copies_by_another_microscope_are_made_again(data: Path, tmp_path: Path) -> None:
    out, request = tmp_path / "out", AugmentRequest(1, (2.0, 6.0), "um", "optics", "sharp", 7)
    plan = plan_folder(data / "images", out, request)
    finish(augment_steps(plan, Order(out, "default")))
    again = finish(augment_steps(plan, Order(out, "default")))
    assert sum(result.pixels for result in again) == 0, "they are there"
    before = digest(out)
    order = Order(out, "default", optics={"na": 0.5, "wavelength_um": (0.47,)})
    coloured = [finish(augment_steps(plan, order)) for _ in range(2)]
    assert [sum(r.pixels for r in results) > 0 for results in coloured] == [True, False], "made once"
    assert len(json.loads((out / "manifest.json").read_text())["copies"]) == 3
    other = finish(augment_steps(plan, Order(out, "default", optics={"na": 0.3})))
    assert all(result.pixels > 0 for result in other if result.error is None)
    assert digest(out)["train/cell1_defocus00.ome.tif"] != before["train/cell1_defocus00.ome.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_kill_and_go_on(data: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "focuslab",
        "augment",
        str(data / "images"),
        str(tmp_path / "cut"),
        "--copies",
        "3",
    ]
    command += ["--blur-um", "1:6", "--level", "sharp", "--seed", "7"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 120
    while not list((tmp_path / "cut").rglob("*.tif")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(command, check=True, capture_output=True)
    request = AugmentRequest(3, (1.0, 6.0), "um", "mixed", "sharp", 7)
    made(plan_folder(data / "images", tmp_path / "whole", request), data, tmp_path / "whole")
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_a_cluster_makes_the_same_and_outlives_a_worker(data: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the distributed extra is not installed")
    plan = plan_folder(data / "images", tmp_path / "one", REQUEST)
    made(plan, data, tmp_path / "one")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        steps = augment_steps(plan, Order(tmp_path / "two", "default"), scheduler=cluster.scheduler_address)
        while next(steps).done < 1:
            pass
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        finish(steps)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    with pytest.raises(RequestError, match="no Dask scheduler"):
        made(plan, data, tmp_path / "three", scheduler="tcp://127.0.0.1:9")


def test_levels_are_read_once_per_field(tmp_path: Path) -> None:
    channels = np.stack([picture(4), picture(5)])
    known = KNOWN.replace(wavelengths_um=(0.461, 0.6))
    focuslab.write(tmp_path / "in" / "a.ome.tif", FocalStack(channels, "CYX", known)) if (
        tmp_path / "in"
    ).mkdir() else None
    focuslab.write(tmp_path / "in" / "a.ome.tif", FocalStack(channels, "CYX", known))
    empty = np.random.default_rng(0).normal(100, 4, (64, 64)).astype(np.float32)
    focuslab.write(tmp_path / "in" / "empty.ome.tif", FocalStack(empty, "YX", KNOWN))
    request = AugmentRequest(1, (4.0, 4.0), "um", "model", "read", 0)
    results = made(plan_folder(tmp_path / "in", tmp_path / "out", request), tmp_path, tmp_path / "out")
    (one,), (nothing,) = results[0].records, results[1].records
    assert len({round(v, 6) for v in one["level_px"]}) == 1  # the two channels share it
    assert one["structure"] and not nothing["structure"]
    assert focuslab.read(tmp_path / "out" / "empty_defocus00.ome.tif").dtype == np.float32


def test_what_is_wrong_is_listed_and_the_rest_is_done(data: Path, tmp_path: Path) -> None:
    (data / "images/train/broken.tif").write_bytes(b"nothing")
    tifffile.imwrite(data / "images/train/alone.tif", picture(6))
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(data / "masks/train/cell2.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(data / "masks/train/broken.png")
    out = tmp_path / "out"
    results = made(plan_folder(data, out, REQUEST, labels=data / "masks"), data, out)
    said = {r.place.split("/")[-1]: str(r.error) for r in results if r.error is not None}
    assert set(said) == {"broken.tif", "alone.tif", "cell2.ome.tif"}
    assert "no label" in said["alone.tif"] and "9 x 9 px, the image 64 x 72" in said["cell2.ome.tif"]
    left = {
        r.place for r in made(plan_folder(data, out, REQUEST, labels=data / "masks", labels_missing="skip"), data, out)
    }
    assert not any("alone" in place for place in left)


def test_names_that_meet(data: Path, tmp_path: Path) -> None:
    focuslab.write(data / "images/validation/cell1.ome.tif", FocalStack(picture(9), "YX", KNOWN))
    Image.fromarray((picture(9) > 800).astype(np.uint8)).save(data / "masks/validation/cell1.png")
    (data / "masks/train/cell1.txt").write_text("two nuclei")
    tifffile.imwrite(data / "images/train/cell2.tif", picture(8))
    out = tmp_path / "out"
    results = made(plan_folder(data, out, REQUEST, labels=data / "masks"), data, out)
    (refused,) = [r for r in results if r.error is not None]
    assert refused.place == "images/train/cell2.tif" and "cell2.ome.tif: rename" in str(refused.error)
    for part in ("train", "validation"):  # the same name in two folders: each with its own label
        assert (out / f"masks/{part}/cell1_defocus01.png").read_bytes() == (
            data / f"masks/{part}/cell1.png"
        ).read_bytes()
    assert (out / "masks/train/cell1_defocus01.txt").read_text() == "two nuclei"
    assert not (out / "masks/validation/cell1_defocus01.txt").exists()


def test_stacks_of_one_file_per_plane(data: Path, tmp_path: Path) -> None:
    for well in ("B02", "C03"):
        for channel in (1, 2):
            (tmp_path / "raw").mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / "raw" / f"{well}_w{channel}.tif", picture(channel))
    out, pattern = tmp_path / "out", "{well}_w{c}.tif"
    request = AugmentRequest(1, (2.0, 4.0), "px", "optics", "sharp", 7)
    results = made(plan_folder(tmp_path / "raw", out, request, pattern=pattern), data, out)
    assert [r.place for r in results] == ["B02.ome.tif", "C03.ome.tif"] and all(r.error is None for r in results)
    copy = focuslab.read(out / "B02_defocus00.ome.tif")
    assert copy.axes == "CYX" and copy.shape == (2, 64, 72)
    plan, order = plan_replay(out / "manifest.json")
    finish(augment_steps(plan, Order(tmp_path / "again", order.model, order.device, order.optics)))
    name = "C03_defocus00.ome.tif"
    assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_copies_in_another_format(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="the zarr extra is not installed")
    source, there, back = data / "images" / "train", tmp_path / "there", tmp_path / "back"
    request = AugmentRequest(1, (2.0, 4.0), "px", "optics", "sharp", 7, "ome-zarr")
    made(plan_folder(source, there, request), data, there)
    copy = focuslab.read(there / "cell1_defocus00.ome.zarr")
    assert copy.shape == (64, 72) and copy.dtype == np.uint16 and copy.calibration.pixel_size_um == 0.645
    made(plan_folder(there, back, AugmentRequest(1, (0, 0), "px", "optics", "sharp", 7, "tiff")), data, back)
    again = focuslab.read(back / "cell1_defocus00_defocus00.ome.tif")
    assert np.array_equal(again.plane(), copy.plane())
    (zarr,) = [t for t in plan_replay(back / "manifest.json")[0].tasks if "cell1" in t.source.place]
    assert zarr.source.path.is_dir()


def test_a_shift_beyond_what_was_trained_is_marked(data: Path, tmp_path: Path) -> None:
    out, large = tmp_path / "out", np.tile(picture(1), (2, 2))
    (tmp_path / "in").mkdir()
    focuslab.write(tmp_path / "in" / "large.ome.tif", FocalStack(large, "YX", KNOWN.replace(pixel_size_um=6.0)))
    request = AugmentRequest(1, (5.0, 5.0), "px", "model", "sharp", 7)
    results = made(plan_folder(tmp_path / "in", out, request), data, out)
    (record,) = results[0].records
    assert record["extrapolated"] and "outside the trained" in record["notes"][0]
    (row,) = csv.DictReader((out / "manifest.csv").read_text().splitlines())
    assert row["extrapolated"] == "True"


def test_plans_that_cannot_be(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (data, data / "out", data.parent):
        with pytest.raises(RequestError, match="lie in each other"):
            plan_folder(data, there, REQUEST)
    with pytest.raises(RequestError, match="No image"):
        plan_folder(data, tmp_path / "out", REQUEST, files="*.nd2")
    with pytest.raises(RequestError, match="no data set"):
        plan_folder(tmp_path / "nowhere", tmp_path / "out", REQUEST)
    with pytest.raises(RequestError, match="At least one copy"):
        AugmentRequest(0, (1.0, 2.0))
    with pytest.raises(RequestError, match="ascending"):
        AugmentRequest(1, (3.0, 2.0))
    with pytest.raises(RequestError, match="way is one of model, optics, mixed, got 'modell'"):
        AugmentRequest(1, (1.0, 2.0), way="modell")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="level is one of"):
        AugmentRequest(1, (1.0, 2.0), level="sharpest")  # type: ignore[arg-type]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    plan = plan_folder(data / "images", tmp_path / "out", REQUEST)
    with pytest.raises(OutputError, match="full"):
        made(plan, data, tmp_path / "out")
    monkeypatch.undo()
    assert all(r.error is None for r in made(plan, data, tmp_path / "out"))


def test_files_are_understood_as_said_and_so_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "colour.tif", np.stack([picture(s, np.uint8) for s in (1, 2, 3)], -1))
    plan = plan_folder(tmp_path / "in", tmp_path / "out", REQUEST)
    refused = finish(augment_steps(plan, Order(tmp_path / "out", "default")))
    assert "rgb" in str(refused[0].error).lower()
    numbers = {"pixel_size_um": 0.645, "na": 0.5, "wavelength_um": 0.461}
    order = Order(tmp_path / "out", "default", "cpu", numbers, {"rgb": "per-channel"})
    done = finish(augment_steps(plan, order))
    assert done[0].error is None and len(done[0].records) == 2
    again, like = plan_replay(tmp_path / "out" / "manifest.json")
    assert like.reading == order.reading
    redone = finish(augment_steps(again, replace(like, destination=tmp_path / "again")))
    assert redone[0].error is None
    for name in ("colour_defocus00.tif", "colour_defocus01.tif"):
        assert np.array_equal(tifffile.imread(tmp_path / "out" / name), tifffile.imread(tmp_path / "again" / name))


def test_draws_follow_from_seed_place_and_number() -> None:
    sources = [Source(Path("a.tif"), "x/a.tif"), Source(Path("b.tif"), "b.tif")]
    forth, back = plan_copies(sources, REQUEST), plan_copies(sources[::-1], REQUEST)
    assert forth == back[::-1]
    drawn = [c.shift for t in forth for c in t.copies]
    assert len(set(drawn)) == 4 and forth[0].copies[1].output == "x/a_defocus01.tif"


def test_the_command(data: Path, tmp_path: Path) -> None:
    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "focuslab", "augment", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    (tmp_path / "excel.csv").write_bytes("Größe.tif\n".encode("cp1252"))
    assert "UTF-8" in run(tmp_path / "excel.csv", tmp_path / "o", "--blur-px", "1:3").stderr
    listed = tmp_path / "list.csv"
    listed.write_text("file\ndata/images/train/cell1.ome.tif\ndata/images/train/cell1.ome.tif\n")
    dry = run(listed, tmp_path / "o" / "out", "--blur-px", "1:3", "--dry-run", "--copies", 2)
    assert dry.returncode == 0 and "2 copies of 1 images" in dry.stdout and not (tmp_path / "o").exists()
    assert run(data, tmp_path / "o").stderr.startswith("focuslab: Say how much")
    assert "two numbers with a colon" in run(data, tmp_path / "o", "--blur-px", "3").stderr
    ask = (data, tmp_path / "o", "--blur-px", "1:3")
    assert "about labels" in run(*ask, "--labels-missing", "skip").stderr
    assert "give one" in run(*ask, "--workers", 2, "--scheduler", "tcp://nowhere:1").stderr
    (data / "images/train/broken.tif").write_bytes(b"nothing")
    bad = run(data / "images", tmp_path / "o", "--blur-px", "1:3", "--level", "sharp", "--way", "optics")
    assert bad.returncode == 1 and "broken.tif" in bad.stderr and "1 of 4 images failed" in bad.stderr
    assert len(list((tmp_path / "o").rglob("*.tif"))) == 3


def test_labels_that_come_later_are_carried_too(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(plan_folder(data / "images", out, REQUEST), data, out)
    assert not list(out.rglob("*.png"))
    again = made(plan_folder(data / "images", out, REQUEST, labels=data / "masks"), data, out)
    assert sum(r.pixels for r in again) == 0 and len(list(out.rglob("*.png"))) == 6
    mask = data / "masks" / "train" / "cell1.png"
    Image.fromarray(np.full((64, 72), 9, np.uint8)).save(mask)
    made(plan_folder(data / "images", out, REQUEST, labels=data / "masks"), data, out)
    assert next(out.rglob("cell1_defocus01.png")).read_bytes() == mask.read_bytes()


def test_every_file_of_an_image_keeps_its_endings(data: Path, tmp_path: Path) -> None:
    folder, out = data / "images" / "train", tmp_path / "out"
    (folder / "cell1.rois.csv").write_text("1,2\n")
    (folder / "cell1.focuslab.json").write_text("{}")
    made(plan_folder(folder, out, REQUEST), data, out)
    assert (out / "cell1_defocus00.csv").read_text() == "x,y\n3,4\n"
    assert (out / "cell1_defocus00.rois.csv").read_text() == "1,2\n"
    assert not (out / "cell1_defocus00.json").exists()


def test_lists_of_images(data: Path, tmp_path: Path) -> None:
    folder = data / "images" / "train"
    for text in ("\ufeffcell1.ome.tif\ncell2.ome.tif\n", "file\ncell1.ome.tif\n./cell2.ome.tif\n"):
        (folder / "list.csv").write_text(text, encoding="utf-8")
        places = [task.source.place for task in plan_folder(folder / "list.csv", tmp_path / "out", REQUEST).tasks]
        assert places == ["cell1.ome.tif", "cell2.ome.tif"]
    for row in ("../validation/cell3.ome.tif", str(data / "images" / "validation" / "cell3.ome.tif")):
        (folder / "list.csv").write_text(row)
        with pytest.raises(RequestError, match="not below its folder"):
            plan_folder(folder / "list.csv", tmp_path / "out", REQUEST)
    (folder / "list.csv").write_text("cel1.ome.tif\ncell2.ome.tif\n")
    with pytest.raises(RequestError, match="is not there"):
        plan_folder(folder / "list.csv", tmp_path / "out", REQUEST)


def test_a_label_is_of_one_image(data: Path, tmp_path: Path) -> None:
    twin = data / "images" / "validation" / "cell1.ome.tif"
    focuslab.write(twin, FocalStack(picture(9), "YX", KNOWN))
    plan = plan_folder(data / "images", tmp_path / "out", REQUEST, labels=data / "masks")
    labels = {task.source.place: [c.path for c in task.source.companions if c.is_label] for task in plan.tasks}
    assert labels["train/cell1.ome.tif"] == [data / "masks" / "train" / "cell1.png"]
    assert labels["validation/cell1.ome.tif"] == [], "the other's is not taken for it"
    with pytest.raises(RequestError, match="folder of their own"):
        plan_folder(data / "images", tmp_path / "out", REQUEST, labels=data / "images")


def test_one_file_that_cannot_be_copied_does_not_end_the_run(data: Path, tmp_path: Path) -> None:
    (data / "images" / "train" / "cell2.csv").mkdir()
    results = made(plan_folder(data / "images", tmp_path / "out", REQUEST), data, tmp_path / "out")
    assert [r.place for r in results if r.error is not None] == ["train/cell2.ome.tif"]
    assert (tmp_path / "out" / "manifest.json").exists() and len(list((tmp_path / "out").rglob("*cell1*.tif"))) == 2


@pytest.mark.parametrize(("wanted", "ending"), [("same", ".ome.tif"), ("tiff", ".ome.tif"), ("ome-zarr", ".ome.zarr")])
def test_copies_of_what_is_only_read(tmp_path: Path, wanted: Any, ending: str) -> None:
    (tmp_path / "beads.stk").touch()
    plan = plan_folder(tmp_path, tmp_path.parent / "out", AugmentRequest(1, (0, 1), format=wanted))
    assert [copy.output for task in plan.tasks for copy in task.copies] == [f"beads_defocus00{ending}"]


def test_a_model_that_is_trained_anew_makes_its_own_copies(data: Path, tmp_path: Path, tiny_model: Model) -> None:
    """In one process, as in a notebook; and afterwards its threads are as before."""
    threads = torch.get_num_threads()
    model = tmp_path / "model"
    tiny_model.save(model)
    plan = plan_folder(data / "images" / "train", tmp_path / "out", AugmentRequest(1, (2, 4), "px", "model", "sharp"))
    order = Order(tmp_path / "out", str(model))
    assert all(result.pixels for result in finish(augment_steps(plan, order)))
    assert not any(result.pixels for result in finish(augment_steps(plan, order))), "they are there"
    shutil.rmtree(model)
    trained = copy.deepcopy(tiny_model)
    with torch.no_grad():
        next(trained.autoencoder.parameters()).add_(0.1)
    trained.save(model)
    assert all(result.pixels for result in finish(augment_steps(plan, order))), "of another model"
    assert torch.get_num_threads() == threads


def test_nothing_is_written_over_something_else(data: Path, tmp_path: Path) -> None:
    images, masks = data / "images", data / "masks" / "train"
    plan = plan_folder(images, tmp_path / "out", REQUEST, labels=masks, labels_missing="skip")
    assert {c.place for task in plan.tasks for c in task.source.companions if c.is_label} == {"masks/train"}
    (images / "train" / "cell1_defocus00.csv").write_text("another table\n")
    with pytest.raises(RequestError, match="written over one of"):
        plan_folder(images, tmp_path / "out", REQUEST)


def test_an_image_that_has_changed_gets_new_copies(data: Path, tmp_path: Path) -> None:
    source, out = data / "images" / "validation", tmp_path / "out"
    request = AugmentRequest(1, (2.0, 4.0), "px", "optics", "sharp", 7)
    made(plan_folder(source, out, request), data, out)
    before = focuslab.read(out / "cell3_defocus00.ome.tif").plane()
    focuslab.write(source / "cell3.ome.tif", FocalStack(picture(8), "YX", KNOWN), overwrite=True)
    os.utime(source / "cell3.ome.tif", (time.time() + 2, time.time() + 2))
    made(plan_folder(source, out, request), data, out)
    assert not np.array_equal(focuslab.read(out / "cell3_defocus00.ome.tif").plane(), before)


def test_an_image_whose_workers_die_does_not_end_the_others(data: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the distributed extra is not installed")
    from focuslab.augment.workers import on_cluster

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
    ) as cluster:
        results = on_cluster(
            _dies_at_two, [1, 2, 3], cluster.scheduler_address, lambda task, error: (task, repr(error))
        )
        assert sorted(map(str, results)) == ["(2, \"RuntimeError('dead')\")", "1", "3"]


def _dies_at_two(task: int) -> int:
    if task == 2:
        raise RuntimeError("dead")
    return task


def test_images_of_another_data_set_are_not_taken_for_those_that_were_copied(data: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    (other / "images").mkdir(parents=True)
    focuslab.write(other / "images" / "cell1.ome.tif", FocalStack(picture(9), "YX", KNOWN))
    made(plan_folder(data / "images" / "train", out, REQUEST), data, out)
    shutil.copy(other / "images" / "cell1.ome.tif", tmp_path / "cell1.ome.tif")
    for file in (other / "images").iterdir():
        os.utime(file, (1e9, 1e9))  # older than the copies
    (result,) = made(plan_folder(other / "images", out, REQUEST), data, out)
    assert result.pixels > 0, "cell1 is another image"
    again = made(plan_folder(other / "images", out, REQUEST), data, out)
    assert again[0].pixels == 0 and again[0].records == result.records
    os.utime(other / "images" / "cell1.ome.tif", (4e9, 4e9))  # by a clock that is ahead
    (ahead,) = made(plan_folder(other / "images", out, REQUEST), data, out)
    assert ahead.pixels > 0 and len(ahead.records) == 2


def test_a_label_of_another_folder_is_of_another_image(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for place in ("train/a", "test/b", "c"):
        (images / place).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(images / f"{place}.tif", picture(1))
    for place in ("test/a", "test/b", "deep/c"):
        (masks / place).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(masks / f"{place}.tif", picture(1))
    found = {s.place: s for s in find_sources(images, labels=masks)}
    assert found["train/a.tif"].error is not None and not found["train/a.tif"].companions
    assert [c.path.parent.name for c in found["test/b.tif"].companions] == ["test"]
    assert [c.path.parent.name for c in found["c.tif"].companions] == ["deep"], "of an image in no folder"


@pytest.mark.parametrize(
    ("name", "label", "said"),
    [
        ("m.npy", np.zeros((64, 71), np.uint8), "64 x 71"),
        ("m.npy", np.zeros((64, 72), np.uint8), None),
        ("m.npy", np.zeros((3, 64, 72), np.uint8), None),
        ("m.npy", np.zeros((9, 64, 72), np.uint8), "9 planes"),
        ("m.tif", np.zeros((9, 64, 72), np.uint8), "9 planes"),
        ("m.tif", np.zeros((3, 64, 72), np.uint8), None),
        ("m.tif", b"II*\0", "cannot be read"),
    ],
)
def test_labels_fit_their_image(name: str, label: Any, said: str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if isinstance(label, bytes):
        path.write_bytes(label)
    elif path.suffix == ".npy":
        np.save(path, label)
    else:
        tifffile.imwrite(path, label, photometric="minisblack")
    image = FocalStack(np.zeros((2, 3, 64, 72), np.uint16), "CZYX")
    if said is None:
        check_label(path, image)
    else:
        with pytest.raises(ImageError, match=said):
            check_label(path, image)


def test_a_file_like_no_other_does_not_end_the_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real = tmp_path / "out", work._make

    def fails(stack: Any, task: Any, *more: Any) -> None:
        if "cell1" in task.source.place:
            raise IndexError("nobody thought of it")
        real(stack, task, *more)

    monkeypatch.setattr(work, "_make", fails)
    results = made(plan_folder(data / "images", out, REQUEST), data, out)
    assert ["IndexError" in str(r.error) for r in results] == [True, False, False]
    assert len(json.loads((out / "manifest.json").read_text())["copies"]) == 4


def test_tables_are_of_one_image_and_none_is_lost(tmp_path: Path) -> None:
    for name in ("a", "a.1"):
        tifffile.imwrite(tmp_path / f"{name}.tif", picture(1))
        (tmp_path / f"{name}.csv").write_text("x\n")
    (tmp_path / "a.cells.csv").write_text("x\n")
    found = {s.place: {c.path.name for c in s.companions} for s in find_sources(tmp_path)}
    assert found == {"a.tif": {"a.csv", "a.cells.csv"}, "a.1.tif": {"a.1.csv"}}
    (tmp_path / "manifest.csv").write_text("mine\n")
    with pytest.raises(RequestError, match="the manifest"):
        plan_folder(tmp_path, tmp_path.parent / "out", REQUEST)


def test_labels_of_a_plate_carry_the_name_of_its_copy() -> None:
    label = Companion(Path("masks/p1.zarr/B/3/0.tif"), "masks/p1.zarr/B/3", True)
    copied = Copy(1, "p1_defocus01.zarr/B/3/0", 2.0, "px", "optics", 0)
    place = carried_place(label, Source(Path("p1.zarr/B/3/0"), "p1.zarr/B/3/0"), copied)
    assert place == "masks/p1_defocus01.zarr/B/3/0.tif"
