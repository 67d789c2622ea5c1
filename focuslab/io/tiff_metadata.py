"""Calibration in TIFF files: what the OME and ImageJ dialects say, and how to say it again.

A resolution tag in inch or centimetre alone means nothing in microscopy (72 dpi is not 352.8 um), so a plain
TIFF is uncalibrated.
"""

import json
import math
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import tifffile

from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError
from focuslab.io.units import micrometres, seconds_per, square_pixels, um_per

__all__ = [
    "completed",
    "imagej_calibration",
    "number",
    "ome_calibration",
    "ome_cannot_say",
    "ome_metadata",
    "own_notes",
    "with_objective",
]

_PRINTED = ("inch", "inches", "in")  # of ImageJ: how large a picture is printed, not what was measured
_PRINTED_UM = 50.0  # pixels larger than that, in centimetres, are those of a printer as well


def own_notes(text: str, key: str | None = None) -> dict[str, Any]:
    """What FocusLab wrote of provenance and calibration into a description, as JSON or below a key of it."""
    try:
        said = json.loads(text) if text.startswith("{") else {}
    except ValueError:
        return {}
    said = said.get(key, {}) if key else said
    return said if isinstance(said, dict) and {"provenance", "calibration"} <= said.keys() else {}


def completed(found: Calibration, notes: dict[str, Any]) -> Calibration:
    """Calibration that a dialect of TIFF says, with what it cannot say from `own_notes`."""
    said = notes.get("calibration", {})
    try:
        own = Calibration(**{name: value for name, value in said.items() if name in Calibration.model_fields})
    except (CalibrationError, AttributeError):  # notes of nobody's, or spoilt on the way
        return found
    return found.replace(**{**own.model_dump(exclude_defaults=True), **found.model_dump(exclude_defaults=True)})


def imagej_calibration(tiff: tifffile.TiffFile, *, any_unit: bool = False) -> Calibration:
    """Calibration of an ImageJ hyperstack."""
    said = tiff.imagej_metadata or {}
    unit = str(said.get("unit", ""))
    unit = "" if unit.strip().lower() in _PRINTED else unit
    tags = tiff.pages.first.tags
    sizes = []
    for name in ("XResolution", "YResolution"):
        tag = tags.get(name)
        top, bottom = tag.value if tag is not None else (0, 1)
        size = micrometres(bottom / top if top else None, unit, any_unit=any_unit)
        printed = unit.strip().lower().startswith(("cm", "centi")) and (size or 0.0) > _PRINTED_UM
        sizes.append(None if printed else size)
    labels = said.get("Labels")
    channels = said.get("channels", 1)
    names = tuple(str(label) for label in labels[:channels]) if labels and channels > 1 else ()
    if any(str(label) != names[i % channels] for i, label in enumerate(labels or ()) if names):
        names = ()  # labels of planes, such as "c:1/2 z:1/5", not of channels
    tables = said.get("LUTs") or ()
    composite = channels > 1 and said.get("mode") in ("composite", "color") and len(tables) == channels
    interval = (number(said.get("finterval")) or 0.0) * (seconds_per(str(said.get("tunit") or "s")) or 0.0)
    return Calibration(
        pixel_size_um=square_pixels(*sizes),
        z_step_um=micrometres(abs(number(said.get("spacing")) or 0.0) or None, unit, any_unit=any_unit),
        time_step_s=interval if interval > 0 else None,
        channel_names=names,
        channel_colours=tuple(bytes(np.asarray(t)[:, -1].tolist()).hex() for t in tables) if composite else (),
    )


def ome_calibration(xml: str, image: int = 0, *, any_unit: bool = False) -> Calibration:
    """Calibration and optics of one image of an OME-XML document."""
    try:
        root = ET.fromstring(xml)
    except ET.ParseError:
        return Calibration()
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    images = [i for i in root.findall(f"{space}Image") if i.find(f"{space}Pixels/{space}TiffData") is not None]
    images = images or root.findall(f"{space}Image")  # those of metadata alone are no series of the file
    if image >= len(images):
        return Calibration()
    pixels = images[image].find(f"{space}Pixels")
    if pixels is None:
        return Calibration()

    def size(axis: str) -> float | None:
        value = number(pixels.get(f"PhysicalSize{axis}"))
        unit = pixels.get(f"PhysicalSize{axis}Unit", "um")
        return micrometres(value, unit, any_unit=any_unit)

    channels = pixels.findall(f"{space}Channel")
    waves = tuple(
        micrometres(number(c.get("EmissionWavelength")), c.get("EmissionWavelengthUnit", "nm"), any_unit=True)
        for c in channels
    )
    names = tuple(c.get("Name") or f"channel {i}" for i, c in enumerate(channels))
    settings = images[image].find(f"{space}ObjectiveSettings")
    lenses = {lens.get("ID"): lens for lens in root.iter(f"{space}Objective")}
    alone = next(iter(lenses.values())) if len(lenses) == 1 else None  # of a whole turret, nobody knows which it was
    lens = lenses.get(settings.get("ID")) if settings is not None else alone
    index = _positive(settings.get("RefractiveIndex")) if settings is not None else None
    immersion = {"Air": 1.0, "Water": 1.33, "WaterDipping": 1.33, "Oil": 1.518, "Glycerol": 1.47}
    if index is None and lens is not None:
        index = immersion.get(lens.get("Immersion", ""))
    planes = {tuple(int(number(p.get(f"The{a}")) or 0) for a in "TCZ"): p for p in pixels.findall(f"{space}Plane")}
    return Calibration(
        pixel_size_um=square_pixels(size("X"), size("Y")),
        z_step_um=size("Z"),
        time_step_s=_time_step(pixels, planes),
        na=_positive(lens.get("LensNA")) if lens is not None else None,
        index=index,
        wavelengths_um=waves if any(waves) else (),
        channel_names=names if any(c.get("Name") for c in channels) else (),
        channel_colours=_colours(channels),
        position_um=_position(planes.get((0, 0, 0))),
        downwards=_falls(*(_position(planes.get((0, 0, z))) for z in (0, 1))),
    )


def _falls(first: tuple[float, ...] | None, second: tuple[float, ...] | None) -> bool:
    """Whether the second focal plane lies below the first, Z leading."""
    return first is not None and second is not None and second[0] < first[0]


def _colours(channels: list[ET.Element]) -> tuple[str, ...]:
    """Colours of channels, RRGGBB; OME-XML says them as a signed number, RGBA, and white where nobody chose one."""
    said = [number(channel.get("Color", "-1")) for channel in channels]
    if any(colour is None or not -(2**31) <= colour < 2**31 for colour in said):
        return ()
    found = tuple(f"{(int(colour or 0) & 0xFFFFFFFF) >> 8:06x}" for colour in said)
    return found if set(found) - {"ffffff"} else ()


def _time_step(pixels: ET.Element, planes: dict[tuple[int, ...], ET.Element]) -> float | None:
    """Seconds between time points: what is said, else what lies between the first two."""
    step, unit = number(pixels.get("TimeIncrement")), pixels.get("TimeIncrementUnit", "s")
    first, second = planes.get((0, 0, 0)), planes.get((1, 0, 0))
    if not step and first is not None and second is not None:
        since = [number(plane.get("DeltaT")) for plane in (first, second)]
        step, unit = (since[1] or 0.0) - (since[0] or 0.0), second.get("DeltaTUnit", "s")
    seconds = seconds_per(unit)
    return step * seconds if step and seconds and step > 0 else None


def _position(plane: ET.Element | None) -> tuple[float, float, float] | None:
    """Place of a plane on the stage, um; the default unit, the frame of some reference, is none."""
    if plane is None:
        return None
    place = [number(plane.get(f"Position{axis}", "0" if axis == "Z" else None)) for axis in "ZYX"]
    units = [um_per(plane.get(f"Position{axis}Unit", "")) for axis in "ZYX"]
    z, y, x = (
        p * u if p is not None and u is not None and math.isfinite(p) else None
        for p, u in zip(place, units, strict=True)
    )
    return None if y is None or x is None else (z or 0.0, y, x)


def ome_metadata(calibration: Calibration, axes: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Fields that tifffile writes into OME-XML; the objective follows by `with_objective`."""
    channels = shape[axes.index("C")] if "C" in axes else 1
    said: dict[str, Any] = {"axes": axes}
    if calibration.pixel_size_um:
        for axis in "XY":
            said[f"PhysicalSize{axis}"] = calibration.pixel_size_um
            said[f"PhysicalSize{axis}Unit"] = "µm"
    if calibration.z_step_um:
        said |= {"PhysicalSizeZ": calibration.z_step_um, "PhysicalSizeZUnit": "µm"}
    if calibration.time_step_s:
        said |= {"TimeIncrement": calibration.time_step_s, "TimeIncrementUnit": "s"}
    known: list[dict[str, Any]] = [{} for _ in range(channels)]
    for c, channel in enumerate(known):
        if len(calibration.channel_names) == channels:
            channel["Name"] = calibration.channel_names[c]
        if len(calibration.channel_colours) == channels:
            colour = (int(calibration.channel_colours[c], 16) << 8) + 255
            channel["Color"] = colour - (1 << 32) if colour >= 1 << 31 else colour
        if wave := calibration.wavelength_um(c):
            channel |= {"EmissionWavelength": 1000 * wave, "EmissionWavelengthUnit": "nm"}
    if any(known):
        said["Channel"] = known
    if calibration.position_um:
        said["Plane"] = _places(calibration, axes, shape)
    return said


def _places(calibration: Calibration, axes: str, shape: tuple[int, ...]) -> dict[str, list[Any]]:
    """Where every plane lies on the stage."""
    _, y, x = calibration.position_um or (0.0, 0.0, 0.0)
    lead = shape[:-2]
    at = [index[axes.index("Z")] if "Z" in axes else 0 for index in np.ndindex(*lead)]
    places = {"X": [x] * len(at), "Y": [y] * len(at), "Z": [calibration.z_of(k) for k in at]}
    units = {f"Position{axis}Unit": ["µm"] * len(at) for axis in places}
    return {**{f"Position{axis}": values for axis, values in places.items()}, **units}


def ome_cannot_say(calibration: Calibration) -> dict[str, float]:
    """What of a calibration OME-XML has no place for."""
    index = calibration.index if calibration.na is None else None  # it stands beside an objective
    said = {"thickness_um": calibration.thickness_um, "index": index}
    return {name: value for name, value in said.items() if value is not None}


def with_objective(xml: str, calibration: Calibration) -> str:
    """Add the objective (NA, immersion index) to an OME-XML document that tifffile wrote."""
    if calibration.na is None:
        return xml
    lens = f'<Instrument ID="Instrument:0"><Objective ID="Objective:0" LensNA="{calibration.na}"/></Instrument>'
    index = f' RefractiveIndex="{calibration.index}"' if calibration.index else ""
    settings = f'<InstrumentRef ID="Instrument:0"/><ObjectiveSettings ID="Objective:0"{index}/>'
    xml = xml.replace("<Image ", lens + "<Image ", 1)
    return xml.replace("<Pixels ", settings + "<Pixels ", 1)


def _positive(text: str | None) -> float | None:
    """A number that means something: microscopes write 0 where they do not know."""
    value = number(text)
    return value if value is not None and 0 < value < math.inf else None


def number(said: object) -> float | None:
    """A finite number that metadata say, None where they say none: no pixel depends on it."""
    try:
        value = float(str(said)) if said is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
