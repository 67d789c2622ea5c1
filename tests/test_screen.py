"""Quality control of a plate: table, heat map, names of wells."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import focuslab
from focuslab.calibration import Calibration
from focuslab.errors import RequestError
from focuslab.optics import Optics, phantom, psf
from focuslab.quality.classical import convolved
from focuslab.quality.plate import plate_map, plate_shape
from focuslab.refocusing.screen import FieldFocus, Wells, of_wells
from focuslab.stack import FocalStack

OPTICS = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
KNOWN = Calibration(pixel_size_um=0.645, na=0.5, index=1.0, wavelengths_um=(0.461,))


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "focuslab", "estimate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_plate(tmp_path: Path) -> None:
    plate = tmp_path / "plate"
    plate.mkdir()
    light = phantom("nuclei", (128, 128), seed=8, scale_px=14)
    random = np.random.default_rng(2)
    for name, level in (("x_a01_s1", 8.0), ("x_a02_s1", 16.0), ("x_a02_s2", 16.0)):
        counts = 110 + 1500 * convolved(light, psf(OPTICS, level)[0]) + 5 * random.standard_normal(light.shape)
        focuslab.write(plate / f"{name}.tif", FocalStack(counts.clip(0, 65535).astype(np.uint16), "YX"))
    empty = random.normal(110, 5, light.shape).clip(0, 65535).astype(np.uint16)
    focuslab.write(plate / "x_b01_s1.tif", FocalStack(empty, "YX"))
    (plate / "x_b02_s1.tif").write_bytes(b"nothing")
    optics = ("--na", 0.5, "--wavelength-um", 0.461, "--pixel-size-um", 0.645)
    made = run(plate, "-o", tmp_path / "levels.csv", "--plate", tmp_path / "plate.png", *optics)
    assert made.returncode == 1 and "x_b02_s1.tif" in made.stderr and "1 of 5" in made.stderr
    rows = {row["file"]: row for row in csv.DictReader((tmp_path / "levels.csv").read_text().splitlines())}
    assert float(rows["x_a01_s1.tif"]["level_um"]) == pytest.approx(8, rel=0.15)
    assert rows["x_a02_s2.tif"]["well"] == "A02" and rows["x_a02_s2.tif"]["field"] == "2"
    assert rows["x_b01_s1.tif"]["level_px"] == "" and float(rows["x_b01_s1.tif"]["structure"]) < 0.9
    picture = np.asarray(Image.open(tmp_path / "plate.png"))
    assert picture.ndim == 3 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    assert "exists already" in run(plate, "-o", tmp_path / "levels.csv").stderr
    nameless = tmp_path / "image.tif"
    focuslab.write(nameless, FocalStack(empty, "YX"))
    said = run(nameless, "-o", tmp_path / "one.csv", "--plate", tmp_path / "one.png")
    assert said.returncode == 2 and "--wells" in said.stderr
    assert not (tmp_path / "one.csv").exists()  # said before any file is read


@pytest.mark.parametrize(
    ("name", "pattern", "well", "field"),
    [
        ("mcf-z-stacks-03212011_a01_s2_w1.tif", None, "A01", "2"),
        ("plate 7 B12-field3.tif", None, "B12", "3"),
        ("P24.tif", None, "P24", None),
        ("image.tif", None, None, None),
        ("exp9_C5_x_7.tif", "exp9_{well}_{}_{field}.tif", "C05", "7"),
        ("B03_s12.tif", "{well}_s{field}", "B03", "12"),
        ("plate_B03.tif", "{}_{well}", "B03", None),
        ("p1/A03_s2.tif", None, "A03", "2"),
        ("day3/d3/B02.tif", None, "B02", None),
        ("H2B_GFP_A03_s1.tif", None, "A03", "1"),
        ("B04/field1.tif", None, "B04", None),
    ],
)
def test_names_of_wells(name: str, pattern: str | None, well: str | None, field: str | None) -> None:
    assert Wells(pattern).of(name) == (well, field)


def test_plates_and_medians(tmp_path: Path) -> None:
    assert plate_shape(["A01", "B03"]) == (2, 3) and plate_shape(["P24"]) == (16, 24)
    assert plate_shape(["AF48"]) == (32, 48)
    with pytest.raises(RequestError, match="No plate has a well PLATE01"):
        plate_shape(["PLATE01"])
    with pytest.raises(RequestError, match="such as A01"):
        plate_map({"first": 1.0}, tmp_path / "p.png", title="x", unit="um")
    with pytest.raises(RequestError, match="names a"):
        Wells("{field}.tif")
    rows = [FieldFocus("f", "A01", None, 0, 0, 0, um, 1.0, 1.0, 1.0, 1.0) for um in (2.0, 4.0, None)]
    rows += [FieldFocus("g", "B01", None, 0, 0, 0, None, None, 1.0, 0.0, None)]
    assert of_wells(rows) == {"A01": 3.0, "B01": None}
