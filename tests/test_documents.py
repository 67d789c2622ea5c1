"""Examples and README code run as they stand."""

import contextlib
import io
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OTHERS = ("torchvision", "monai", "albumentations")  # libraries that an example works in


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        runpy.run_path(str(path), run_name="__main__")
    if said.getvalue().count("is not installed") == len(OTHERS):
        pytest.skip(f"none of {', '.join(OTHERS)} is installed: nothing of the example ran")


def test_readme_python_runs(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S))
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "sharp.ome.tif").is_file()


def test_readme_names_every_command() -> None:
    from focuslab.cli import app

    text = (ROOT / "README.md").read_text()
    for command in app.registered_commands:
        assert f"`focuslab {command.name}" in text


def test_sample_files_are_what_the_simulator_makes() -> None:
    import numpy as np

    from focuslab import read
    from focuslab.samples import SAMPLES, sample

    for name in SAMPLES:
        made, truth = sample(name)
        stored = read(ROOT / "sample_data" / f"{name}.ome.tif")
        assert stored.optics() == made.optics() and stored.calibration.z_step_um == made.calibration.z_step_um
        # Not bit for bit: sums of floating-point transforms differ between processors.
        assert np.abs(np.asarray(stored.array).astype(float) - made.array).mean() < 20
        assert (
            np.abs(
                np.asarray(read(ROOT / "sample_data" / f"{name}_truth.ome.tif").array).astype(float) - truth.array
            ).max()
            <= 2
        )


def test_plugin_samples_are_layers_with_calibration() -> None:
    from focuslab_napari import filaments, nuclei, puncta

    for opened in (nuclei(), filaments(), puncta()):
        (stack, said, kind), (truth, about, _) = opened
        assert kind == "image" and stack.ndim == len(said["scale"]) == 3 and truth.ndim == len(about["scale"]) == 2
        assert set(said["units"]) == {"um"}
