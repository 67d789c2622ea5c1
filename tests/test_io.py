import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError, ImageError, OutputError, RequestError
from focuslab.io import images_of, read, read_pattern, tiff_pixels, write
from focuslab.io.folders import written_name
from focuslab.io.open_files import OpenFiles
from focuslab.io.writing import StackWriter
from focuslab.stack import FocalStack

RNG = np.random.default_rng(0)


def pixels(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return RNG.normal(size=shape).astype(dtype)
    top = min(np.iinfo(dtype).max, 2**40)
    return RNG.integers(0, top, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16", "uint32", "float64", "float16"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "lzw"},
        {"compression": "zlib", "predictor": True},
        {"tile": (64, 48)},
        {"tile": (64, 64), "compression": "zlib"},
        {"rowsperstrip": 7, "compression": "lzw"},
        {"bigtiff": True},
    ],
    ids=str,
)
def test_every_dialect_reads_whole_and_by_region(tmp_path: Path, dtype: str, options: dict) -> None:
    if np.dtype(dtype).kind == "f":
        options = {k: v for k, v in options.items() if k != "predictor"}
    image = pixels((3, 130, 101), dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", metadata={"axes": "ZYX"}, **options)
    stack = read(tmp_path / "a.tif")
    assert stack.axes == "ZYX" and stack.dtype == np.dtype(dtype)
    assert np.array_equal(np.asarray(stack.array), image)
    assert np.array_equal(stack.array[1, 60:129, 5:77], image[1, 60:129, 5:77])
    assert np.array_equal(stack.array[0:2, 3], image[0:2, 3])


@pytest.mark.parametrize("family,name", [("ome", "a.ome.tif"), ("imagej", "a.tif"), ("tiff", "a.tif")])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX", "CZYX", "TZYX", "TCZYX"])
def test_a_written_stack_reads_back_in_its_family(tmp_path: Path, family: str, name: str, axes: str) -> None:
    image = pixels(tuple({"T": 2, "C": 3, "Z": 4, "Y": 21, "X": 33}[a] for a in axes), "uint16")
    names = ("DAPI", "GFP", "Cy5") if "C" in axes else ()
    said = Calibration(pixel_size_um=0.2, z_step_um=0.5 if "Z" in axes else None, channel_names=names)
    write(tmp_path / name, FocalStack(image, axes, said, {"operation": "test", "µ": "ü"}, family))
    again = read(tmp_path / name)
    assert again.axes == axes and again.family == family
    assert np.array_equal(np.asarray(again.array), image)
    if family != "tiff":
        assert again.calibration.pixel_size_um == pytest.approx(0.2, rel=1e-6)
        assert again.calibration.z_step_um == said.z_step_um
        assert again.calibration.channel_names == names
    assert json.loads((tmp_path / "a.focuslab.json").read_text())["operation"] == "test"
    with tifffile.TiffFile(tmp_path / name) as tiff:
        assert '"operation": "test"' in tiff.pages[0].description.replace("&quot;", '"')


def test_ome_carries_optics_there_and_back(tmp_path: Path) -> None:
    said = Calibration(pixel_size_um=0.1, na=1.3, index=1.518, wavelengths_um=(0.45, 0.52))
    write(tmp_path / "a.ome.tif", FocalStack(pixels((2, 16, 16), "uint8"), "CYX", said))
    optics = read(tmp_path / "a.ome.tif").optics(1)
    assert optics is not None
    assert (optics.na, optics.index, round(optics.wavelength_um, 6)) == (1.3, 1.518, 0.52)
    thick = Calibration(pixel_size_um=0.1, thickness_um=12.0, index=1.33)  # OME-XML has no place for these
    write(tmp_path / "thick.ome.tif", FocalStack(pixels((16, 16), "uint8"), "YX", thick))
    assert read(tmp_path / "thick.ome.tif").calibration == thick
    placed = said.replace(position_um=(-3.0, 1200.5, 0.0), z_step_um=2.0)
    write(tmp_path / "placed.ome.tif", FocalStack(pixels((2, 3, 16, 16), "uint8"), "CZYX", placed))
    again = read(tmp_path / "placed.ome.tif").calibration
    assert again.position_um == placed.position_um and again.pixel_size_um == 0.1
    with tifffile.TiffFile(tmp_path / "placed.ome.tif") as file:
        assert file.ome_metadata.count('PositionZ="1.0"') == 2, "of the last focal plane, in both channels"
    down = placed.replace(downwards=True)
    write(tmp_path / "down.ome.tif", FocalStack(pixels((2, 3, 16, 16), "uint8"), "CZYX", down))
    again = read(tmp_path / "down.ome.tif")
    assert again.calibration == down and again.take(Z=2).calibration.position_um == (-7.0, 1200.5, 0.0)
    partly = said.replace(wavelengths_um=(None, 0.52))
    write(tmp_path / "b.ome.tif", FocalStack(pixels((2, 16, 16), "uint8"), "CYX", partly))
    assert read(tmp_path / "b.ome.tif").calibration.wavelengths_um == (None, pytest.approx(0.52))


@pytest.mark.parametrize("unit,factor", [("nm", 1e-3), ("mm", 1e3), ("µm", 1.0)])
def test_ome_units_are_understood(tmp_path: Path, unit: str, factor: float) -> None:
    said = {
        "axes": "YX",
        "PhysicalSizeX": 2.0,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": 2.0,
        "PhysicalSizeYUnit": unit,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels((16, 16), "uint8"), metadata=said)
    assert read(tmp_path / "a.ome.tif").calibration.pixel_size_um == pytest.approx(2 * factor)


def test_dots_per_inch_are_no_calibration(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels((16, 16), "uint8"), resolution=(72, 72), resolutionunit="INCH")
    assert read(tmp_path / "a.tif").calibration.pixel_size_um is None


def test_an_imagej_hyperstack_comes_in_our_order(tmp_path: Path) -> None:
    image = pixels((2, 3, 4, 20, 30), "uint16")  # TZCYX
    tifffile.imwrite(
        tmp_path / "a.tif", image, imagej=True, metadata={"axes": "TZCYX", "unit": "micron", "spacing": 0.3}
    )
    stack = read(tmp_path / "a.tif")
    assert stack.axes == "TCZYX"
    assert np.array_equal(stack.array[1, 2, 0, 3:9, :], image[1, 0, 2, 3:9, :])
    assert stack.calibration.z_step_um == pytest.approx(0.3)


def test_an_ome_set_of_several_files_is_one_stack(tmp_path: Path) -> None:
    image = pixels((2, 3, 24, 24), "uint16")
    first, second = tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"
    uuids = ["urn:uuid:00000000-0000-0000-0000-00000000000" + k for k in "12"]
    blocks = "".join(
        f'<TiffData FirstC="{c}" FirstZ="{z}" FirstT="0" IFD="{z}" PlaneCount="1">'
        f'<UUID FileName="{p.name}">{u}</UUID></TiffData>'
        for c, (p, u) in enumerate(zip((first, second), uuids, strict=True))
        for z in range(3)
    )
    for path, uuid, planes in ((first, uuids[0], image[0]), (second, uuids[1], image[1])):
        xml = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            'SizeX="24" SizeY="24" SizeZ="3" SizeC="2" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
            f'<Channel ID="Channel:0:1" SamplesPerPixel="1"/>{blocks}</Pixels></Image></OME>'
        )
        tifffile.imwrite(path, planes, description=xml, metadata=None, photometric="minisblack")
    stack = read(first)
    assert stack.axes == "CZYX"
    assert np.array_equal(np.asarray(stack.array), image)


def test_a_position_in_another_file_of_a_set_is_read_from_there(tmp_path: Path) -> None:
    paths = [tmp_path / f"pos{i}.ome.tif" for i in (0, 1)]
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{i}" for i in (1, 2)]
    images = "".join(
        f'<Image ID="Image:{i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYZCT" Type="uint16" SizeX="24" SizeY="24" '
        f'SizeZ="3" SizeC="1" SizeT="1"><Channel ID="Channel:{i}:0" SamplesPerPixel="1"/><TiffData IFD="0" '
        f'PlaneCount="3"><UUID FileName="{path.name}">{uuid}</UUID></TiffData></Pixels></Image>'
        for i, (path, uuid) in enumerate(zip(paths, uuids, strict=True))
    )
    planes = [pixels((3, 24, 24), "uint16") // 2 + 20_000 * i for i in (0, 1)]
    for path, uuid, image in zip(paths, uuids, planes, strict=True):
        head = f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">'
        xml = f"{head}{images}</OME>"
        tifffile.imwrite(path, image, description=xml, metadata=None, photometric="minisblack")
    for path in paths:
        for i in (0, 1):
            assert np.array_equal(np.asarray(read(path, series=i).array), planes[i])


def test_axes_are_asked_where_the_file_does_not_say(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for plane in pixels((4, 20, 20), "uint8"):
            tiff.write(plane, metadata=None, contiguous=False)
    with pytest.raises(ImageError, match="--axes"):
        read(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif", axes="ZYX").axes == "ZYX"
    assert read(tmp_path / "a.tif", focus_axis="I").axes == "ZYX"
    with pytest.raises(ImageError, match="dimensions"):
        read(tmp_path / "a.tif", axes="CZYX")


def test_colour_is_refused_or_taken_as_channels(tmp_path: Path) -> None:
    image = pixels((20, 24, 3), "uint8")
    for planar in ("contig", "separate"):
        data = image if planar == "contig" else image.transpose(2, 0, 1)
        tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", planarconfig=planar, compression="zlib")
        with pytest.raises(ImageError, match="per-channel"):
            read(tmp_path / "a.tif")
        stack = read(tmp_path / "a.tif", rgb="per-channel")
        assert stack.axes == "CYX"
        assert np.array_equal(np.asarray(stack.array), image.transpose(2, 0, 1))


def test_planes_in_files_of_their_own(tmp_path: Path) -> None:
    image = pixels((2, 3, 16, 18), "uint16")
    for well in ("a01", "b02"):
        for c in range(2):
            for z in range(3):
                tifffile.imwrite(tmp_path / f"{well}_z{z * 2:02}_w{c + 1}_x.tif", image[c, z])
    stacks = read_pattern(tmp_path, "{well}_z{z}_w{c}_{}.tif")
    assert list(stacks) == ["a01", "b02"]
    assert stacks["a01"].axes == "CZYX"
    assert np.array_equal(np.asarray(stacks["b02"].array), image)
    (tmp_path / "b02_z02_w1_x.tif").unlink()
    with pytest.raises(ImageError, match="lacks 1 of 6"):
        read_pattern(tmp_path, "{well}_z{z}_w{c}_{}.tif")
    with pytest.raises(RequestError, match="No file"):
        read_pattern(tmp_path, "nothing_{z}.tif")
    with pytest.raises(RequestError, match="needs a field"):
        read_pattern(tmp_path, "{well}.tif")
    with pytest.raises(RequestError, match="begins with a letter"):
        read_pattern(tmp_path, "{1}_z{z}.tif")


def test_a_field_of_a_pattern_may_come_twice(tmp_path: Path) -> None:
    for well in ("a01", "b02"):
        (tmp_path / well).mkdir()
        for z in range(2):
            tifffile.imwrite(tmp_path / well / f"{well}_z{z}.tif", pixels((16, 18), "uint16"))
    (tmp_path / "a01" / "b02_z0.tif").write_bytes(b"misplaced")
    stacks = read_pattern(tmp_path, "{well}/{well}_z{z}.tif")
    assert list(stacks) == ["a01", "b02"] and stacks["a01"].shape == (2, 16, 18)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float16"])
def test_types_that_ome_has_no_name_for(tmp_path: Path, dtype: str) -> None:
    image = np.arange(16 * 18).reshape(16, 18).astype(dtype)
    stack = FocalStack(image, "YX", Calibration(pixel_size_um=0.5), family="ome")
    again = read(write(tmp_path / "a.tif", stack))
    assert np.array_equal(again.array, image) and again.calibration.pixel_size_um == 0.5
    with pytest.raises(ImageError, match="no pixels of type"):
        write(tmp_path / "a.ome.tif", stack)
    assert {p.name for p in tmp_path.iterdir()} == {"a.tif", "a.focuslab.json"}, "and leaves no draft"


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    like = FocalStack(pixels((16, 16), "uint8"))
    with pytest.raises(RuntimeError), StackWriter(tmp_path / "a.tif", like) as writer:
        writer.array[:] = 1
        raise RuntimeError("cancelled")
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "a.tif", like)
    with pytest.raises(OutputError, match="--overwrite"):
        write(tmp_path / "a.tif", like)
    with pytest.raises(OutputError, match="does not exist"):
        write(tmp_path / "no" / "a.tif", like)
    with pytest.raises(ImageError, match=r"\.tif"):
        write(tmp_path / "a.png", like)


def test_a_full_disk_is_said_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OutputError, match="full"):
        write(tmp_path / "a.tif", FocalStack(pixels((16, 16), "uint8")))
    assert list(tmp_path.iterdir()) == []


def test_the_header_may_claim_what_it_likes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), compression="zlib", rowsperstrip=16, metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        spots = {t.name: t.valueoffset for t in tiff.pages[0].tags if t.name in ("ImageWidth", "ImageLength")}
        codes = {
            t.name: t.offset for t in tiff.pages[0].tags if t.name in ("ImageWidth", "ImageLength", "RowsPerStrip")
        }
    for name, offset in codes.items():
        kind = int.from_bytes(data[offset + 2 : offset + 4], "little")
        data[offset + 2 : offset + 4] = (4).to_bytes(2, "little")
        data[offset + 8 : offset + 12] = (2**20).to_bytes(4, "little")
        assert kind in (3, 4), (name, spots)
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match=r"damaged|truncated|cannot be read"):
        read(path)


def test_real_files_of_many_origins_open(shared_data: Path) -> None:
    for path in sorted((shared_data / "structures_neubias").glob("*.tif")):
        stack = read(path, rgb="per-channel")
        reference = tifffile.imread(path)
        assert np.asarray(stack.array).astype(np.int64).sum() == reference.astype(np.int64).sum()
    beads = read(shared_data / "beads_imagexpress" / "E07_s1_w1.tif")
    assert beads.axes == "ZYX"
    assert beads.calibration.pixel_size_um == pytest.approx(1.3668)
    assert beads.calibration.z_step_um == pytest.approx(5.0)


@pytest.mark.filterwarnings("ignore:.*truncating ImageJ file")  # what ImageJ itself does beyond 4 GB
def test_imagej_hyperstacks_over_4_gb_open(tmp_path: Path) -> None:
    shape = (2200, 1024, 1024)  # a sparse file: next to nothing on disk
    array = tifffile.memmap(tmp_path / "a.tif", shape=shape, dtype=np.uint16, imagej=True, metadata={"axes": "ZYX"})
    array[-1, 5, 7] = 99
    array.flush()
    del array
    stack = read(tmp_path / "a.tif")
    assert stack.axes == "ZYX" and stack.shape == shape
    assert stack.plane((2199,))[5, 7] == 99


def test_a_giant_in_one_compressed_strip_is_refused_with_the_reason(tmp_path: Path) -> None:
    image = np.zeros((9000, 30000), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, compression="zlib", rowsperstrip=9000)
    stack = read(tmp_path / "a.tif")  # 540 MB: within the bound
    assert stack.shape == image.shape
    import focuslab.io.tiff_pixels as tiff_pixels

    before = tiff_pixels._LARGEST_SEGMENT
    tiff_pixels._LARGEST_SEGMENT = 1 << 28
    try:
        with pytest.raises(ImageError, match="one block"):
            read(tmp_path / "a.tif")
    finally:
        tiff_pixels._LARGEST_SEGMENT = before


def test_a_file_of_several_images_is_not_taken_for_its_first(tmp_path: Path) -> None:
    images = [pixels((3, 24, 20), "uint16"), pixels((3, 24, 20), "uint16") + 1]
    said = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "µm"}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        for image, size in zip(images, (0.2, 0.4), strict=True):
            tiff.write(image, metadata={**said, "PhysicalSizeX": size}, photometric="minisblack")
    with pytest.raises(ImageError, match=r"holds 2 images .*--series"):
        read(tmp_path / "a.ome.tif")
    second = read(tmp_path / "a.ome.tif", series=1)
    assert np.array_equal(np.asarray(second.array), images[1]) and second.calibration.pixel_size_um == 0.4
    with pytest.raises(ImageError, match="there is no 2"):
        read(tmp_path / "a.ome.tif", series=2)
    with tifffile.TiffWriter(tmp_path / "b.tif") as tiff:
        tiff.write(images[0][0], metadata=None)
        tiff.write(images[0][0, ::4, ::4], metadata=None)  # a thumbnail
    assert read(tmp_path / "b.tif").shape == (24, 20)
    with tifffile.TiffWriter(tmp_path / "c.tif") as tiff:
        tiff.write(images[0][0], metadata=None)
        tiff.write(images[0][0, :20, :6], metadata=None)  # not of the same field
    with pytest.raises(ImageError, match="holds 2 images"):
        read(tmp_path / "c.tif")


@pytest.mark.parametrize(("name", "taken"), [("Thumbnail", True), ("field 2", False)])
def test_a_smaller_image_with_a_name_of_its_own_is_none_to_leave_out(tmp_path: Path, name: str, taken: bool) -> None:
    large, small = pixels((40, 40), "uint16"), pixels((20, 20), "uint16")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        tiff.write(large, metadata={"axes": "YX", "Name": "field 1"})
        tiff.write(small, metadata={"axes": "YX", "Name": name})
    if taken:
        assert read(tmp_path / "a.ome.tif").shape == (40, 40)
    else:
        with pytest.raises(ImageError, match="holds 2 images"):
            read(tmp_path / "a.ome.tif")


def test_planes_that_were_written_one_by_one_are_a_stack_when_axes_say_so(tmp_path: Path) -> None:
    planes = pixels((4, 24, 20), "uint16")
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for plane in planes:
            tiff.write(plane)
    with pytest.raises(ImageError, match="--axes ZYX"):
        read(tmp_path / "a.tif")
    stack = read(tmp_path / "a.tif", axes="ZYX")
    assert stack.axes == "ZYX" and np.array_equal(np.asarray(stack.array), planes)
    assert np.array_equal(np.asarray(read(tmp_path / "a.tif", series=2).array), planes[2])


@pytest.mark.parametrize("family", ["tiff", "imagej"])
def test_provenance_and_optics_come_back_from_every_tiff(tmp_path: Path, family: str) -> None:
    said = Calibration(pixel_size_um=0.2, z_step_um=0.5, na=0.5, wavelengths_um=(0.5,))
    stack = FocalStack(pixels((3, 16, 16), "uint16"), "ZYX", said, {"operation": "test", "notes": ["10 µm"]}, family)
    write(tmp_path / "a.tif", stack)
    again = read(tmp_path / "a.tif")
    assert again.family == family and again.provenance == stack.provenance
    known = again.calibration
    assert (known.na, known.wavelengths_um, known.z_step_um) == (0.5, (0.5,), 0.5)
    assert known.pixel_size_um == pytest.approx(0.2, rel=1e-6)


def test_a_pixel_size_that_is_given_needs_no_unit(tmp_path: Path) -> None:
    image, unit = pixels((16, 16), "uint16"), {"unit": "furlong"}
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, resolution=(1, 1), metadata=unit)
    with pytest.raises(CalibrationError, match=r"a\.tif: The unit 'furlong'"):
        read(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif", pixel_size_um=0.3).calibration.pixel_size_um == 0.3


def test_the_unit_of_time_is_heard(tmp_path: Path) -> None:
    said = {"axes": "TYX", "TimeIncrement": 250.0, "TimeIncrementUnit": "ms"}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels((3, 16, 16), "uint8"), metadata=said)
    assert read(tmp_path / "a.ome.tif").calibration.time_step_s == pytest.approx(0.25)


def test_a_compressed_file_is_read_by_many_threads_at_once(tmp_path: Path) -> None:
    image = pixels((12, 96, 80), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", compression="zlib", rowsperstrip=8)
    stack = read(tmp_path / "a.tif", axes="ZYX")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda z: np.asarray(stack.array[z % 12]), range(600)))
    assert all(np.array_equal(plane, image[z % 12]) for z, plane in enumerate(found))


def test_files_that_would_be_the_same_plane_are_told(tmp_path: Path) -> None:
    for name in ("a_z0_w1", "a_z0_w2"):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels((16, 16), "uint16"))
    with pytest.raises(ImageError, match=r"a_z0_w1.tif and a_z0_w2.tif would be the same plane"):
        read_pattern(tmp_path, "{well}_z{z}_{}.tif")


def test_planes_in_files_of_their_own_keep_their_optics(tmp_path: Path) -> None:
    known = Calibration(pixel_size_um=0.3, na=0.7, index=1.0, wavelengths_um=(0.52,))
    for z in (0, 1):
        write(tmp_path / f"a_z{z}.ome.tif", FocalStack(pixels((24, 24), "uint16"), "YX", known))
    stack = read_pattern(tmp_path, "{well}_z{z}.ome.tif")["a"]
    assert (stack.calibration.na, stack.calibration.wavelengths_um) == (0.7, (0.52,))


def test_broken_ome_xml_and_wrong_globs_are_no_tracebacks(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", FocalStack(pixels((24, 24), "uint16"), "YX"))
    said = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "b.ome.tif").write_bytes(said.replace(b"<Pixels ", b"<Pixel& "))
    assert read(tmp_path / "b.ome.tif").plane_shape == (24, 24)
    for glob in ("", "/x/*.tif"):
        with pytest.raises(RequestError, match="pattern of files"):
            images_of(tmp_path, glob)


def test_numbers_that_mean_nothing_are_not_known(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", FocalStack(pixels((24, 24), "uint16"), "YX", Calibration(pixel_size_um=0.65)))
    said = (tmp_path / "a.ome.tif").read_bytes()
    for i, wrong in enumerate((b"0,65", b"-.65", b"0.00")):
        (tmp_path / f"{i}.ome.tif").write_bytes(said.replace(b'="0.65"', b'="' + wrong + b'"'))
        (tmp_path / f"{i}.ome.focuslab.json").unlink(missing_ok=True)
        assert read(tmp_path / f"{i}.ome.tif").calibration.pixel_size_um is None
    write(tmp_path / "na.ome.tif", FocalStack(pixels((24, 24), "uint16"), "YX", Calibration(na=0.75)))
    (tmp_path / "na.ome.tif").write_bytes(
        (tmp_path / "na.ome.tif").read_bytes().replace(b'LensNA="0.75"', b'LensNA="0.00"')
    )
    assert read(tmp_path / "na.ome.tif").calibration.na is None
    with pytest.raises(CalibrationError, match="pixel_size_um must be a positive number of um, got -1"):
        Calibration(pixel_size_um=-1)


def test_a_z_step_does_not_make_a_pixel_size(tmp_path: Path) -> None:
    stack = FocalStack(pixels((3, 24, 24), "uint16"), "ZYX", Calibration(z_step_um=0.5), family="imagej")
    assert read(write(tmp_path / "a.tif", stack)).calibration.pixel_size_um is None


@pytest.mark.parametrize(("shape", "axes"), [((3, 70, 80), "ZYX"), ((2, 4, 70, 80), "CZYX"), ((4, 70, 80), None)])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_few_planes_in_one_compressed_page(
    tmp_path: Path, shape: tuple[int, ...], axes: str | None, tile: tuple[int, int] | None
) -> None:
    pixels = np.random.default_rng(0).integers(0, 999, shape).astype(np.uint16)
    said = {"axes": axes} if axes else None
    together = {"photometric": "minisblack", "planarconfig": "separate"}  # as tifffile does with three or four planes
    tifffile.imwrite(tmp_path / "few.tif", pixels, compression="zlib", tile=tile, metadata=said, **together)
    with tifffile.TiffFile(tmp_path / "few.tif") as file:
        assert len(file.pages) == (2 if len(shape) == 4 else 1)
    stack = read(tmp_path / "few.tif", axes=axes or "ZYX")
    assert np.array_equal(np.asarray(stack.array), pixels)
    assert np.array_equal(stack.array[..., 1, 8:20, 30:33], pixels[..., 1, 8:20, 30:33])


def test_few_files_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_pixels, "_OPEN", OpenFiles(3))
    for i in range(12):
        kind = {"compression": "zlib"} if i % 2 else {}
        tifffile.imwrite(tmp_path / f"{i}.tif", np.full((5, 70, 80), i, np.uint16), metadata={"axes": "ZYX"}, **kind)
    stacks = [read(tmp_path / f"{i}.tif") for i in range(12)]

    def are_open() -> list[int]:
        return [i for i, stack in enumerate(stacks) if not stack.array._tiff.filehandle.closed]

    assert are_open() == [9, 10, 11]
    for i, stack in enumerate(stacks):
        assert (stack.plane((3,)) == i).all()
    assert set(are_open()) <= {9, 10, 11} and not any(s.array._mapped is not None for s in stacks[:9])
    (tmp_path / "0.tif").unlink()
    with pytest.raises(ImageError, match=r"0\.tif cannot be opened again: No such file"):
        stacks[0].plane((0,))


def test_a_format_of_the_microscopes_maker_is_to_be_exported(tmp_path: Path) -> None:
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE")
    with pytest.raises(ImageError, match=r"a\.czi is in a format .* Export it as OME-TIFF"):
        read(tmp_path / "a.czi")
    with pytest.raises(RequestError, match=r"holds images in a format of the microscope's maker .*Export"):
        images_of(tmp_path)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((8, 8), np.uint16))
    assert images_of(tmp_path) == [tmp_path / "b.tif"]


def test_positions_are_no_previews_whatever_they_are_called(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
        for i in range(3):
            tiff.write(np.full((32, 32), i, np.uint16), metadata={"axes": "YX", "Name": f"macrophages_label_Pos{i}"})
    with pytest.raises(ImageError, match="holds 3 images"):
        read(tmp_path / "a.ome.tif")


def test_imagej_says_minutes_and_inches(tmp_path: Path) -> None:
    said = {"axes": "TYX", "unit": "inch", "finterval": 5.0, "tunit": "min"}
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((2, 8, 8), np.uint16), imagej=True, resolution=(300, 300), metadata=said
    )
    found = read(tmp_path / "a.tif").calibration
    assert found.time_step_s == 300.0 and found.pixel_size_um is None, "the size of a print is not that of a pixel"


def test_what_a_mac_leaves_on_a_share_is_no_plane(tmp_path: Path) -> None:
    for name in ("A01_z0.tif", "A01_z1.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((8, 8), np.uint16))
        (tmp_path / f"._{name}").write_bytes(b"finder")
    assert list(read_pattern(tmp_path, "{well}_z{z}.tif")) == ["A01"]


def metaseries(z: float, unit: str = "um") -> dict:
    """Options of tifffile for a plane as MetaXpress writes it."""
    said = (
        '<MetaData><prop id="ApplicationName" type="string" value="MetaMorph"/><PlaneInfo>'
        '<prop id="spatial-calibration-state" type="bool" value="on"/>'
        '<prop id="spatial-calibration-x" type="float" value="0.3417"/>'
        '<prop id="spatial-calibration-y" type="float" value="0.3417"/>'
        f'<prop id="spatial-calibration-units" type="string" value="{unit}"/>'
        '<prop id="stage-position-x" type="float" value="800.5"/><prop id="stage-position-y" type="float" value="-7"/>'
        f'<prop id="z-position" type="float" value="{z}"/><prop id="wavelength" type="float" value="447"/>'
        '<custom-prop id="_MagNA_" type="float" value="0.75"/><custom-prop id="_MagRI_" type="float" value="1"/>'
        "</PlaneInfo></MetaData>"
    )
    return {"description": said, "software": "MetaSeries", "metadata": None}


def test_metamorph_says_its_calibration_in_xml(tmp_path: Path) -> None:
    plane = np.zeros((16, 16), np.uint16)
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for z in (-3.0, -1.0, 1.0):
            file.write(plane, contiguous=False, **metaseries(z))
            tifffile.imwrite(tmp_path / f"a_z{z + 3:.0f}.tif", plane, **metaseries(z))
    apart = read_pattern(tmp_path, "{field}_z{z}.tif")["a"].calibration
    for found in (read(tmp_path / "stack.tif", axes="ZYX").calibration, apart):
        assert (found.pixel_size_um, found.z_step_um, found.na, found.index) == (0.3417, 2.0, 0.75, 1.0)
        assert found.wavelength_um() == pytest.approx(0.447) and found.position_um == (-3.0, -7.0, 800.5)
    tifffile.imwrite(tmp_path / "one.tif", plane, **metaseries(1.0, "pixel"))
    one = read(tmp_path / "one.tif").calibration
    assert one.pixel_size_um is None and one.z_step_um is None


def test_a_stack_of_metamorph_says_its_calibration_in_tags(tmp_path: Path) -> None:
    """STK files: all planes after one page; tags 33628 (values at offsets) and 33629 (six numbers for each plane)."""
    planes = np.arange(3 * 16 * 16, dtype=np.uint16).reshape(3, 16, 16)
    path = tmp_path / "beads.stk"
    tags = [(33628, 4, 6, (3, 1, 4, 0, 6, 0), True), (33629, 5, 9, (5, 2, 0, 0, 0, 0) * 3, True)]
    tifffile.imwrite(path, planes[0], byteorder="<", metadata=None, extratags=tags)
    with tifffile.TiffFile(path) as file:
        uic1, uic2, strips = (file.pages.first.tags[code] for code in (33628, 33629, 273))
        content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, uic1.offset + 4, 3)  # MetaMorph counts pairs, and planes
    struct.pack_into("<I", content, uic2.offset + 4, 3)
    ratio = len(content)
    content += struct.pack("<2I", 16125, 50000) + struct.pack("<I3s", 3, b"um\0") + b"\0"
    struct.pack_into("<6I", content, uic1.valueoffset, 3, 1, 4, ratio, 6, ratio + 8)
    struct.pack_into("<I", content, strips.valueoffset, len(content))
    path.write_bytes(content + planes.tobytes())
    stack = read(path)
    assert stack.axes == "ZYX" and np.array_equal(np.asarray(stack.array), planes)
    assert (stack.calibration.pixel_size_um, stack.calibration.z_step_um) == (0.3225, 2.5)


def test_results_have_a_name_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "converted").mkdir()
    names = {
        "a.tif": "a.tif",
        "b.OME.TIFF": "b.OME.TIFF",
        "beads.stk": "beads.ome.tif",
        "converted": "converted.ome.zarr",
    }
    assert {name: written_name(tmp_path / name) for name in names} == names


@pytest.mark.parametrize(("tag", "whole"), [(50838, True), (305, False)])
def test_a_tag_beyond_the_end_is_damage_unless_it_is_private(tmp_path: Path, tag: int, whole: bool) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint16), metadata=None, extratags=[(tag, 2, 0, "a long text", True)])
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.tags[tag].offset + 8
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, place, 10**6)
    path.write_bytes(content)
    if whole:
        assert read(path).plane().sum() == 64
    else:
        with pytest.raises(ImageError, match="truncated"):
            read(path)


@pytest.mark.parametrize("how", ["mapped", "decoded", "another order", "a file per plane"])
def test_parts_are_taken_as_of_an_array(tmp_path: Path, how: str) -> None:
    whole = pixels((3, 4, 20, 24), "uint16")
    path = tmp_path / "a.tif"
    if how == "a file per plane":
        for t, z in np.ndindex(3, 4):
            tifffile.imwrite(tmp_path / f"a_t{t}_z{z}.tif", whole[t, z])
        found = read_pattern(tmp_path, "{name}_t{t}_z{z}.tif")["a"].array
    elif how == "another order":
        tifffile.imwrite(path, whole.transpose(1, 0, 2, 3), photometric="minisblack")
        found = read(path, axes="ZTYX").array
    else:
        grey: dict = {"photometric": "minisblack", "metadata": {"axes": "TZYX"}}
        tifffile.imwrite(path, whole, compression="zlib" if how == "decoded" else None, **grey)
        found = read(path, axes="TZYX").array
    assert found.shape == whole.shape
    for part in (
        np.s_[...], np.s_[1], np.s_[-1, ..., -1], np.s_[::-1], np.s_[0, ::-2, 3:17:4, ::-5], np.s_[..., 2:1], np.s_[5:],
        (1,) * whole.ndim, np.s_[np.int64(1), 1:2],
    ):  # fmt: skip
        assert np.array_equal(found[part], whole[part]), part
        assert found[part].flags.c_contiguous and found[part].dtype == whole.dtype
    for wrong in (np.s_[0, 0, 0, 0, 0], np.s_[7], np.s_[[0, 1]], None):
        with pytest.raises(IndexError):
            found[wrong]


def test_metadata_that_say_nothing_do_not_keep_the_pixels_from_being_read(tmp_path: Path) -> None:
    plane = np.ones((2, 16, 16), np.uint16)
    for k, wrong in enumerate(({"spacing": "0,5"}, {"finterval": "abc"}, {"finterval": -3.0})):
        tifffile.imwrite(tmp_path / f"{k}.tif", plane, imagej=True, metadata={"axes": "ZYX", "unit": "um", **wrong})
        found = read(tmp_path / f"{k}.tif")
        assert found.plane((1,)).sum() == 256
        assert found.calibration.z_step_um is None and found.calibration.time_step_s is None
    known = Calibration(pixel_size_um=0.5, thickness_um=3.0)
    for name in ("plain.tif", "known.ome.tif"):
        path = write(tmp_path / name, FocalStack(plane[0], "YX", known, family="tiff"))
        content = path.read_bytes()
        spoilt = {content.replace(was, b"x" * len(was)) for was in (b"thickness_um", b'{"', b"{&quot;")} - {content}
        assert len(spoilt) == 2
        for other in spoilt:
            path.write_bytes(other)
            assert read(path).calibration.thickness_um is None, "a note that is not understood is not heard"


def ome(path: Path, image: np.ndarray, images: str, before: str = "") -> Path:
    """Write a TIFF with an OME-XML document of one's own."""
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    xml = f'<?xml version="1.0"?><OME xmlns="{space}">{before}{images}</OME>'
    tifffile.imwrite(path, image, description=xml, metadata=None, photometric="minisblack")
    return path


def ome_image(planes: str = "", *, t: int = 1, z: int = 1, size: float = 0.1, data: bool = True, more: str = "") -> str:
    held = "<TiffData/>" if data else "<MetadataOnly/>"
    return (
        f'<Image ID="Image:{size}">{more}<Pixels ID="Pixels:{size}" DimensionOrder="XYZCT" Type="uint8" SizeX="16" '
        f'SizeY="16" SizeZ="{z}" SizeC="1" SizeT="{t}" PhysicalSizeX="{size}" PhysicalSizeY="{size}">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{held}{planes}</Pixels></Image>'
    )


def test_the_objective_of_a_turret_is_known_where_the_file_says_which(tmp_path: Path) -> None:
    lenses = '<Objective ID="O:1" LensNA="0.25" Immersion="Air"/><Objective ID="O:2" LensNA="1.4" Immersion="Oil"/>'
    turret = f'<Instrument ID="I:0">{lenses}</Instrument>'
    image = pixels((16, 16), "uint8")
    assert read(ome(tmp_path / "a.ome.tif", image, ome_image(), turret)).calibration.na is None
    said = ome_image(more='<ObjectiveSettings ID="O:2"/>')
    known = read(ome(tmp_path / "b.ome.tif", image, said, turret)).calibration
    assert (known.na, known.index) == (1.4, 1.518)


def test_an_image_of_metadata_alone_is_none_of_the_file(tmp_path: Path) -> None:
    both = ome_image(size=9.0, data=False) + ome_image(size=0.1)
    assert read(ome(tmp_path / "a.ome.tif", pixels((16, 16), "uint8"), both)).calibration.pixel_size_um == 0.1


def test_planes_say_place_and_time_by_their_numbers(tmp_path: Path) -> None:
    def plane(t: int, z: int, place: float) -> str:
        where = " ".join(f'Position{a}="{place}" Position{a}Unit="um"' for a in "XYZ")
        return f'<Plane TheT="{t}" TheZ="{z}" TheC="0" DeltaT="{500 * t}" DeltaTUnit="ms" {where}/>'

    said = ome_image("".join(plane(t, z, 100 + 10 * z) for t, z in ((1, 1), (1, 0), (0, 1), (0, 0))), t=2, z=2)
    known = read(ome(tmp_path / "a.ome.tif", pixels((2, 2, 16, 16), "uint8"), said)).calibration
    assert known.position_um == (100.0, 100.0, 100.0) and known.time_step_s == 0.5


def test_centimetres_of_a_print_are_no_calibration(tmp_path: Path) -> None:
    for per_cm, size in ((28.346, None), (20000.0, 0.5)):
        path = tmp_path / f"{size}.tif"
        tifffile.imwrite(
            path, pixels((16, 16), "uint8"), imagej=True, resolution=(per_cm, per_cm), metadata={"unit": "cm"}
        )
        assert read(path).calibration.pixel_size_um == (None if size is None else pytest.approx(size))


def test_an_ome_tiff_in_several_files_is_one_image_of_a_folder(tmp_path: Path) -> None:
    image = pixels((3, 16, 16), "uint8")
    names = [f"p_{z}.ome.tif" for z in range(3)]
    blocks = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z:032}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    said = ome_image(z=3).replace("<TiffData/>", blocks)
    for z, name in enumerate(names):
        ome(tmp_path / name, image[z], said)
    ome(tmp_path / "other.ome.tif", image[0], ome_image())
    assert [p.name for p in images_of(tmp_path)] == ["other.ome.tif", "p_0.ome.tif"]
    for name in names[1:]:  # as Bio-Formats writes them: all is said in the first
        there = f'<BinaryOnly MetadataFile="{names[0]}" UUID="urn:uuid:{name}"/>'
        ome(tmp_path / name, image[names.index(name)], there)
    assert [p.name for p in images_of(tmp_path)] == ["other.ome.tif", "p_0.ome.tif"]
    part = read(tmp_path / names[2])
    assert part.axes == "ZYX" and part.calibration.pixel_size_um == 0.1
    alone = ome(tmp_path / "alone.ome.tif", image[0], '<BinaryOnly MetadataFile="x.companion.ome"/>')
    with pytest.raises(ImageError, match=r"metadata in x\.companion\.ome"):
        read(alone)


def test_planes_that_a_pattern_lacks_are_named(tmp_path: Path) -> None:
    for z in (0, 2, 6, 8):
        tifffile.imwrite(tmp_path / f"a_z{z}.tif", pixels((16, 16), "uint8"))
    with pytest.raises(ImageError, match=r"lacks 1 of 5 planes, the first at \{'z': 4\}"):
        read_pattern(tmp_path, "{}_z{z}.tif")
    tifffile.imwrite(tmp_path / "a_z4.tif", pixels((16, 16), "uint8"))
    (stack,) = read_pattern(tmp_path, "{}_z{z}.tif").values()
    assert stack.shape == (5, 16, 16)


def test_a_pattern_keeps_what_its_files_say(tmp_path: Path) -> None:
    for c, (name, wave) in enumerate((("DAPI", 0.461), ("GFP", 0.52))):
        said = Calibration(
            pixel_size_um=0.3, z_step_um=2.0, thickness_um=5.0, wavelengths_um=(wave,), channel_names=(name,)
        )
        for z in range(2):
            write(tmp_path / f"a_z{z}_w{c}.ome.tif", FocalStack(pixels((16, 16), "uint8"), "YX", said))
    (stack,) = read_pattern(tmp_path, "{}_z{z}_w{c}.ome.tif").values()
    known = stack.calibration
    assert (known.z_step_um, known.thickness_um, known.pixel_size_um) == (2.0, 5.0, 0.3)
    assert known.wavelengths_um == (0.461, 0.52) and known.channel_names == ("DAPI", "GFP")


@pytest.mark.parametrize(
    ("family", "name"), [("ome", "a.ome.tif"), ("imagej", "a.tif"), ("tiff", "a.tif"), ("zarr", "a.zarr")]
)
def test_channels_keep_their_colours(tmp_path: Path, family: str, name: str) -> None:
    if family == "zarr":
        pytest.importorskip("zarr", reason="the zarr extra is not installed; make test installs it")
    said = Calibration(channel_names=("DAPI", "GFP", "Cy5"), channel_colours=("0000ff", "00ff00", "ff8001"))
    write(tmp_path / name, FocalStack(pixels((3, 2, 16, 18), "uint16"), "CZYX", said, {}, family))
    again = read(tmp_path / name)
    assert again.calibration.channel_colours == said.channel_colours
    assert again.take(C=2).calibration.channel_colours == ("ff8001",)
    if family == "imagej":
        with tifffile.TiffFile(tmp_path / name) as file:
            assert file.imagej_metadata["mode"] == "composite"


def test_colours_that_nobody_chose_are_none(tmp_path: Path) -> None:
    one, two = (f'<Channel ID="C:{k}" SamplesPerPixel="1"{more}/>' for k, more in ((1, ' Color="-1"'), (2, "")))
    said = ome_image().replace('<Channel ID="Channel:0:0" SamplesPerPixel="1"/>', one + two)
    path = ome(tmp_path / "a.ome.tif", pixels((2, 16, 16), "uint8"), said.replace('SizeC="1"', 'SizeC="2"'))
    assert read(path).axes == "CYX" and read(path).calibration.channel_colours == ()


def test_labels_of_planes_are_no_names_of_channels(tmp_path: Path) -> None:
    image = np.zeros((3, 2, 16, 16), np.uint16)
    for name, labels, known in (
        ("channels", ["DAPI", "GFP"] * 3, ("DAPI", "GFP")),
        ("planes", [f"c:{c}/2 z:{z}/3" for z in (1, 2, 3) for c in (1, 2)], ()),
    ):
        metadata = {"axes": "ZCYX", "Labels": labels}
        tifffile.imwrite(tmp_path / f"{name}.tif", image, imagej=True, metadata=metadata)
        assert read(tmp_path / f"{name}.tif").calibration.channel_names == known
