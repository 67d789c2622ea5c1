"""The command line as a user meets it: what works, and one clear sentence for what does not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import focuslab
from focuslab.calibration import Calibration
from focuslab.cli import main
from focuslab.io import read, write
from focuslab.models.bundle import Model
from focuslab.stack import FocalStack

ROOT = getattr(os, "geteuid", lambda: 1)() == 0


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run the command line in this process: exit code, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["focuslab", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Model) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_model.save(folder)
    return folder


@pytest.fixture
def image(tmp_path: Path, blurred: np.ndarray) -> Path:
    said = Calibration(pixel_size_um=0.645, z_step_um=2.0, na=0.5, wavelengths_um=(0.461,))
    return (
        write(tmp_path / "in" / "a.ome.tif", FocalStack(np.stack([blurred] * 3), "ZYX", said))
        if ((tmp_path / "in").mkdir() is None)
        else tmp_path
    )


def listing(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


def test_refocus_writes_image_and_sidecar(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    code, out, err = cli("refocus", image, "-o", tmp_path / "out", "--sharpest", "--focus-plane", 1, "--model", tiny)
    assert code == 0, err
    assert "3 planes" in out
    result = read(tmp_path / "out" / "a.ome.tif")
    assert result.axes == "ZYX" and result.dtype == np.uint16 and result.calibration.na == 0.5
    assert result.provenance["request"] == {"sharpest": True, "focus_plane": 1}
    record = json.loads((tmp_path / "out" / "a.focuslab.json").read_text())
    taken = record.pop("input")
    assert (taken["name"], taken["bytes"], taken["reading"]) == ("a.ome.tif", image.stat().st_size, {})
    assert record == result.provenance


def test_between_writes_one_plane(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    code, out, err = cli(
        "between", image, 0, 1, "--t", 0.5, "-o", tmp_path / "b.tif", "--level-px", 6, 3, "--model", tiny
    )
    assert code == 0, err
    assert read(tmp_path / "b.tif").axes == "YX" and "6.0 and 3.0" in out


def test_one_bad_input_among_several(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    bad = tmp_path / "in" / "bad.tif"
    bad.write_bytes(b"this is no TIFF")
    code, out, err = cli(
        "refocus", bad, image, "-o", tmp_path / "out", "--shift-px", 1, "--level-px", 3, "--model", tiny
    )
    assert code == 1
    assert "bad.tif" in err and "1 of 2 inputs failed" in err and "a.ome.tif" in out
    assert listing(tmp_path / "out") == {"a.ome.tif", "a.focuslab.json"}


def test_planes_in_files_of_their_own(cli, blurred: np.ndarray, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "plate").mkdir()
    for z in range(2):
        tifffile.imwrite(tmp_path / "plate" / f"a01_z{z}.tif", blurred)
    code, _, err = cli(
        "refocus", tmp_path / "plate", "--pattern", "{well}_z{z}.tif", "-o", tmp_path / "out", "--shift-px", 2,
        "--level-px", 3, "--model", tiny,
    )  # fmt: skip
    assert code == 0, err
    assert read(tmp_path / "out" / "a01.ome.tif").shape == (2, *blurred.shape)
    code, out, err = cli("estimate", tmp_path / "plate", "--pattern", "{well}_z{z}.tif", "-o", tmp_path / "l.csv")
    assert code == 0 and "2 planes of 1 file" in out, err
    plate, other = tmp_path / "plate", tmp_path / "other"
    for command in (("refocus", plate, "--sharpest", "-o", other), ("augment", plate, other, "--blur-px", "0:4")):
        code, _, err = cli(*command, "--pattern", "{well}_z{z}.tif", "--focus-axis", "T", "--series", 1)
        assert code != 0 and "--focus-axis, --series" in err and not other.exists()


def test_simulate_info_and_models(cli, tmp_path: Path) -> None:
    code, _, err = cli("simulate", "-o", tmp_path / "s.ome.tif", "--specimen", "puncta", "--size", 64, "--planes", 3,
                       "--truth", tmp_path / "t.ome.tif")  # fmt: skip
    assert code == 0, err
    stack = read(tmp_path / "s.ome.tif")
    assert stack.shape == (3, 64, 64) and stack.optics() is not None
    assert read(tmp_path / "t.ome.tif").shape == stack.shape
    code, out, _ = cli("info", tmp_path / "s.ome.tif")
    assert code == 0 and "NA 0.5" in out and "z step" in out
    code, out, _ = cli("models")
    assert code == 0 and "default" in out


def test_a_specimen_that_is_an_image_has_its_optics(cli, tmp_path: Path) -> None:
    known = Calibration(pixel_size_um=0.3, na=0.4, index=1.0, wavelengths_um=(0.6,))
    light = np.random.default_rng(0).integers(0, 1000, (64, 64)).astype(np.uint16)
    focuslab.write(tmp_path / "sharp.ome.tif", FocalStack(light, "YX", known))
    ask = ("simulate", "--image", tmp_path / "sharp.ome.tif", "--planes", 2, "--na", 0.7)
    assert cli(*ask, "-o", tmp_path / "s.ome.tif")[0] == 0
    optics = read(tmp_path / "s.ome.tif").optics()
    assert optics is not None
    assert (optics.na, optics.wavelength_um, optics.pixel_size_um) == pytest.approx((0.7, 0.6, 0.3))
    code, _, err = cli(*ask, "-o", tmp_path / "new.ome.tif", "--truth", tmp_path / "s.ome.tif")
    assert code != 0 and "exists already" in err and not (tmp_path / "new.ome.tif").exists()
    code, _, err = cli(*ask, "-o", tmp_path / "new.ome.tif", "--truth", tmp_path / "new.ome.tif")
    assert code != 0 and "over the stack itself" in err and not (tmp_path / "new.ome.tif").exists()


def test_demo_shows_the_whole_job(cli, tmp_path: Path) -> None:
    code, out, err = cli("demo", "-o", tmp_path / "demo")
    assert code == 0, err
    assert "PSNR before" in out
    assert {"nuclei_20x_refocused.ome.tif", "nuclei_20x_before_after_truth.png"} <= listing(tmp_path / "demo")


def _truncated(image: Path) -> Path:
    path = image.with_name("truncated.tif")
    path.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    return path


def _not_a_tiff(image: Path) -> Path:
    path = image.with_name("text.tif")
    path.write_text("hello")
    return path


def _saved(array: np.ndarray, **options: object):
    def make(image: Path) -> Path:
        path = image.with_name("made.tif")
        tifffile.imwrite(path, array, **options)
        return path

    return make


def test_between_of_a_blank_stack(cli, tiny: Path, tmp_path: Path) -> None:
    blank = tmp_path / "blank.ome.tif"
    tifffile.imwrite(blank, np.full((2, 40, 40), 7, np.uint16), metadata={"axes": "ZYX"})
    code, out, _ = cli("between", blank, 0, 1, "--t", 0.5, "-o", tmp_path / "b.tif", "--model", tiny)
    assert code == 0 and "blank: copied" in out and (tifffile.imread(tmp_path / "b.tif") == 7).all()


def test_a_broken_batch_goes_on(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.ome.tif").write_bytes(image.read_bytes())
    ask = ("refocus", folder, "-o", out, "--shift-px", 1, "--level-px", 3, "--model", tiny)
    assert cli(*ask)[0] == 0
    kept = (out / "a.ome.tif").stat().st_mtime_ns
    (out / "b.ome.tif").unlink()
    code, said, err = cli(*ask, "--skip-existing")
    assert code == 0 and "1 of 2 results are there already" in err and "b.ome.tif" in said
    assert (out / "b.ome.tif").exists() and (out / "a.ome.tif").stat().st_mtime_ns == kept
    assert cli(*ask, "--skip-existing")[0] == 0
    code, _, err = cli(*ask, "--doubt", 0.2, "--skip-existing")
    assert code == 2 and "exists already" in err, "by another request"


NOISE = np.random.default_rng(0).random((40, 40))
ASK = ("--shift-px", 1, "--level-px", 3)
BAD = {
    "not a TIFF": (_not_a_tiff, ASK, "cannot be read as a TIFF"),
    "missing": (lambda image: image.with_name("none.tif"), ASK, "There is no file"),
    "truncated": (_truncated, ASK, "truncated|cannot be read"),
    "1 x 1": (_saved(NOISE[:1, :1]), ASK, "too small"),
    "NaN": (_saved(np.where(NOISE > 0.9, np.nan, NOISE).astype(np.float32)), ASK, "NaN"),
    "RGB": (_saved((NOISE[..., None] * [9, 99, 200]).astype(np.uint8), photometric="rgb"), ASK, "--rgb per-channel"),
    "unknown axes": (_saved(np.stack([NOISE] * 3), metadata={"axes": "QYX"}, photometric="minisblack"), ASK, "--axes"),
    "bool": (_saved(NOISE > 0.5), ASK, "whole or real"),
    "complex": (_saved(NOISE + 1j), ASK, "whole or real"),
    "no shift": (None, (), "exactly one"),
    "two shifts": (None, ("--shift-px", 1, "--sharpest"), "exactly one"),
    "two levels": (None, ("--sharpest", "--level-px", 2, "--focus-plane", 0), "once"),
    "negative NA": (None, (*ASK, "--na", -1), "positive"),
    "NA above index": (None, (*ASK, "--na", 1.2), "below the immersion index"),
    "wavelengths of another image": (None, (*ASK, "--wavelength-um", "0.4,0.5"), "2 for 1 channel"),
    "a wavelength in words": (None, (*ASK, "--wavelength-um", "green"), "0.461,0.52"),
    "pixel size 0": (None, (*ASK, "--pixel-size-um", 0), "positive"),
    "z step 0": (None, (*ASK, "--z-step-um", 0), "positive"),
    "um without calibration": (_saved(NOISE.astype(np.float32)), ("--shift-um", -1), "not known"),
    "not square": (
        _saved(NOISE.astype(np.float32), imagej=True, resolution=(1, 2), metadata={"unit": "um"}), ASK, "square",
    ),
    "unknown unit": (
        _saved(NOISE.astype(np.float32), imagej=True, resolution=(1, 1), metadata={"unit": "furlong"}), ASK, "furlong",
    ),
    "huge blur": (None, ("--sharpest", "--level-px", 500), "half of the image"),
    "unknown model": (None, (*ASK, "--model", "nope"), "There is no model"),
    "no such device": (None, (*ASK, "--device", "cuda:9"), "not available"),
    "wrong focus axis": (None, (*ASK, "--focus-axis", "C"), "focus axis"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_written(
    cli, case: str, image: Path, tiny: Path, tmp_path: Path
) -> None:
    make, arguments, words = BAD[case]
    source = make(image) if make else image
    before = listing(tmp_path)
    model = () if "--model" in arguments else ("--model", tiny)
    code, out, err = cli("refocus", source, "-o", tmp_path / "new" / "folder", *arguments, *model)
    assert code == 2, (out, err)
    assert len(err.strip().splitlines()) == 1, err
    import re

    assert re.search(words, err), err
    assert listing(tmp_path) == before


def test_results_and_inputs_are_never_lost(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    ask = (*ASK, "--model", tiny)
    data = image.read_bytes()
    assert cli("refocus", image, "-o", image.parent, *ask)[0] == 2
    code, _, err = cli("refocus", image, "-o", image, "--overwrite", *ask)
    assert code == 2 and "input itself" in err
    code, _, err = cli("between", image, 0, 1, "--t", 2, "-o", image, "--overwrite", "--model", tiny)
    assert code == 2 and "input itself" in err
    assert image.read_bytes() == data
    target = tmp_path / "out.tif"
    target.write_text("precious")
    code, _, err = cli("refocus", image, "-o", target, *ask)
    assert code == 2 and "--overwrite" in err and target.read_text() == "precious"
    assert cli("refocus", image, "-o", target, "--overwrite", *ask)[0] == 0
    assert read(target).shape == (3, 203, 181)
    code, _, err = cli("refocus", image, "-o", tmp_path / "out.ome.tif", *ask)
    assert code == 2 and "share its record, out.focuslab.json, with out.tif" in err
    code, _, err = cli("refocus", image, "-o", tmp_path / "out.png", *ask)
    assert code == 2 and "must end in .tif" in err and not (tmp_path / "out.png").exists()
    code, _, err = cli("refocus", image, image, "-o", tmp_path / "many", *ask)
    assert code == 2 and "Several inputs are called" in err
    twin = tmp_path / "twin" / f"{image.name.split('.')[0]}.tif"
    twin.parent.mkdir()
    twin.write_bytes(data)
    shutil.copy(image, twin.with_suffix(".ome.tif"))
    for inputs in ([twin.parent], [twin, twin.with_suffix(".ome.tif")]):
        code, _, err = cli("refocus", *inputs, "-o", tmp_path / "many", *ask)
        assert code == 2 and "share one record" in err
    assert cli("estimate", twin.parent, "-o", tmp_path / "levels.csv", "--model", tiny)[0] == 0, "which writes none"


def test_every_channel_has_its_wavelength(cli, tiny: Path, tmp_path: Path) -> None:
    planes = np.stack([NOISE, NOISE]).astype(np.uint16)
    write(tmp_path / "two.ome.tif", FocalStack(planes, "CYX"))
    optics = ("--na", 0.5, "--wavelength-um", "0.461,0.6", "--pixel-size-um", 0.645)
    code, _, err = cli(
        "refocus", tmp_path / "two.ome.tif", "-o", tmp_path / "out", "--shift-um", 1, *optics, "--model", tiny
    )
    assert code == 0, err
    made = read(tmp_path / "out" / "two.ome.tif")
    assert made.calibration.wavelengths_um == pytest.approx((0.461, 0.6))
    code, said, _ = cli("info", tmp_path / "out" / "two.ome.tif")
    assert code == 0 and "0.461 um, 0.6 um" in said


def test_the_version_is_told(cli) -> None:
    code, said, _ = cli("--version")
    assert code == 0 and said.strip() == f"focuslab {focuslab.__version__}"


@pytest.mark.skipif(ROOT and not shutil.which("setpriv"), reason="root writes anywhere, and setpriv is missing")
def test_a_read_only_folder_is_said(image: Path, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    command = [
        sys.executable,
        "-m",
        "focuslab",
        "refocus",
        image,
        "-o",
        folder / "a.tif",
        *ASK,
        "--model",
        tiny,
    ]
    if ROOT:
        for path in (tmp_path, *tmp_path.parents[:2], tiny.parent, tiny, *tiny.parents[1:3]):
            path.chmod(0o755)
        folder.chmod(0o555)
        command = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot be written to" in done.stderr
    assert list(folder.iterdir()) == []


def test_train_evaluate_export(cli, tmp_path: Path, optics) -> None:
    from focuslab.optics import phantom
    from focuslab.simulation import simulate_stack

    data, model = tmp_path / "data", tmp_path / "model"
    data.mkdir()
    for seed in range(3):
        specimen = phantom("nuclei", (96, 96), seed=seed, scale_px=14)
        stack, _ = simulate_stack(specimen, optics, distances_um=[8, 4, 0], seed=seed)
        write(data / f"f{seed}.ome.tif", stack)
    (data / "broken.ome.tif").write_bytes(b"no picture")
    small = ("model.widths=[8,12]", "model.blocks=[1,1]", "model.code_widths=[4,4]", "start=null", "crop_px=64")
    short = ("steps.autoencoder=2", "batch=1", "validation_batches=1", "stacks.focus=2", "stacks.files='*.ome.tif'")
    sets = [word for change in (*small, *short) for word in ("--set", change)]
    code, out, err = cli("train", "finetune", "--data", data, "-o", model, *sets, "--device", "cpu")
    assert code == 0 and "left out: broken.ome.tif" in err and str(model) in out, err
    files = ("--files", "*.ome.tif", "--focus", 2, "--no-classical", "--device", "cpu")
    code, out, err = cli("evaluate", model, data, "--report", tmp_path / "report", *files)
    assert code == 0 and "1 fields" in out, err
    assert (tmp_path / "report" / "report.html").is_file()
    code, _, err = cli("evaluate", model, data, "--report", tmp_path / "report", *files)
    assert code == 2 and "holds a report already" in err
    code, _, err = cli("train", "finetune", "--data", data, "-o", model, *sets)
    assert code == 2 and "--resume" in err
    code, _, err = cli("train", "finetune", "--data", data, "-o", tmp_path / "x", "--set", "learning_rat=1")
    assert code == 2 and "learning_rate" in err and not (tmp_path / "x").exists()
    assert cli("export", model, "--bioimageio", tmp_path / "m.zip", "--index", 1.33)[0] == 2, (
        "an index alone says little"
    )
    code, _, err = cli("export", model, "--bioimageio", tmp_path / "m.zip", "--na", 0.5)
    assert code == 2 and "--wavelength-um" in err


def test_a_thickness_reaches_the_optics_of_every_command(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    optics = ("--na", 0.5, "--wavelength-um", 0.5, "--pixel-size-um", 0.65, "--thickness-um")
    ask = ("--shift-px", 1, "--level-px", 3, "--model", tiny, *optics)
    assert cli("refocus", image, "-o", tmp_path / "thick.tif", *ask, 8)[0] == 0
    record = json.loads((tmp_path / "thick.focuslab.json").read_text())
    assert record["planes"][0]["optics"]["thickness_um"] == 8.0
    code, _, err = cli("refocus", image, "-o", tmp_path / "x.tif", *ask, -1)
    assert code == 2 and "thickness_um is 0 (a thin specimen)" in err
    simulated = ("simulate", "--size", 64, "--planes", 2, "--seed", 1, "-o")
    for name, more in (("flat", ()), ("deep", ("--thickness-um", 30))):
        assert cli(*simulated, tmp_path / f"{name}.tif", *more)[0] == 0
    flat, deep = (read(tmp_path / f"{name}.tif").plane((0,)).astype(float) for name in ("flat", "deep"))
    assert np.abs(np.diff(deep)).mean() < 0.85 * np.abs(np.diff(flat)).mean(), "in focus it is blurred as well"


def test_a_folder_is_its_files(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    import shutil

    source = tmp_path / "folder"
    (source / "deep").mkdir(parents=True)
    shutil.copy(image, source / "a.ome.tif")
    shutil.copy(image, source / "deep" / "b.ome.tif")
    (source / "notes.txt").write_text("no image")
    ask = ("--shift-px", 1, "--level-px", 3, "--model", tiny)
    assert cli("refocus", source, "-o", tmp_path / "flat", *ask)[0] == 0
    assert [p.name for p in (tmp_path / "flat").glob("*.tif")] == ["a.ome.tif"]
    assert cli("refocus", source, "-o", tmp_path / "all", "--files", "**/*.tif", *ask)[0] == 0
    assert (tmp_path / "all" / "deep" / "b.ome.tif").is_file()
    for _ in range(2):
        again = ("--files", "**/*.tif", "--overwrite", *ask)
        assert cli("refocus", source, "-o", source / "results", *again)[0] == 0
    assert not (source / "results" / "results").exists(), "results are no input"
    code, _, err = cli("refocus", source, "-o", tmp_path / "none", "--files", "*.png", *ask)
    assert code == 2 and "matches '*.png'" in err and not (tmp_path / "none").exists()


def test_a_manifest_has_the_say_on_its_copies(cli, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    code, _, said = cli("augment", tmp_path / "manifest.json", tmp_path / "out", "--copies", 3, "--workers", 2)
    assert code == 2 and "--copies would change them" in said and "--workers" not in said


def test_an_interrupted_table_keeps_what_was_read(
    cli, image: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(image, tmp_path / "in" / "b.ome.tif")
    from focuslab.refocusing import screen

    real = screen.estimate_steps

    def interrupted(*args: object):
        steps = real(*args)
        yield next(steps)
        raise KeyboardInterrupt

    monkeypatch.setattr(screen, "estimate_steps", interrupted)
    code, _, said = cli("estimate", tmp_path / "in", "-o", tmp_path / "levels.csv", "--model", tiny)
    assert code == 130 and "holds the 3 planes" in said
    assert len((tmp_path / "levels.csv").read_text().splitlines()) == 4


def test_a_specimen_is_not_written_over(cli, image: Path) -> None:
    before = image.read_bytes()
    code, _, said = cli("simulate", "--image", image, "-o", image, "--overwrite")
    assert code == 2 and "the specimen itself" in said and image.read_bytes() == before


def test_a_result_is_not_written_over_another_input(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    below = tmp_path / "out" / "sub"
    (tmp_path / "in" / "sub").mkdir()
    below.mkdir(parents=True)
    for place in (tmp_path / "in" / "sub", below):
        shutil.copy(image, place / "x.ome.tif")
    arguments = (
        tmp_path / "in",
        below / "x.ome.tif",
        "-o",
        tmp_path / "out",
        "--sharpest",
        "--overwrite",
        "--model",
        tiny,
    )
    code, _, said = cli("refocus", *arguments)
    assert code == 2 and "an input itself" in said


def test_results_of_another_input_are_not_taken_for_done(cli, image: Path, tiny: Path, tmp_path: Path) -> None:
    ask = ("refocus", image, "-o", tmp_path / "out", "--shift-px", 1, "--level-px", 3, "--model", tiny)
    assert cli(*ask)[0] == 0
    code, _, said = cli(*ask, "--skip-existing")
    assert code == 0 and "1 of 1 results are there already" in said
    for other in (("--na", 0.8), ("--nan", "keep")):
        code, _, said = cli(*ask, *other, "--skip-existing")
        assert code == 2 and "exists already" in said, "by another microscope, or read in another way"
    os.utime(image, (1e9, 1e9))  # restored, from another day
    code, _, said = cli(*ask, "--skip-existing")
    assert code == 2 and "exists already" in said


def test_images_of_one_file_have_results_of_their_own(cli, tiny: Path, tmp_path: Path, blurred: np.ndarray) -> None:
    with tifffile.TiffWriter(tmp_path / "stage.ome.tif", ome=True) as file:
        for k in (1, 2):
            file.write((k * blurred).astype(blurred.dtype), metadata={"axes": "YX", "Name": f"position {k}"})
    for number in (0, 1):
        ask = ("--series", number, "--shift-px", 0, "--level-px", 3, "--model", tiny)
        assert cli("refocus", tmp_path / "stage.ome.tif", "-o", tmp_path / "out", *ask)[0] == 0
    first, second = (np.asarray(read(tmp_path / "out" / f"stage_s{k}.ome.tif").array) for k in (0, 1))
    assert np.array_equal(2 * first, second)


def test_a_pattern_chooses_its_files_itself(cli, image: Path, tmp_path: Path) -> None:
    code, _, said = cli(
        "refocus", image.parent, "-o", tmp_path / "o", "--sharpest", "--pattern", "{}_z{z}.tif", "--files", "*.tif"
    )
    assert code == 2 and "--files" in said
