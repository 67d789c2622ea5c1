"""Plates in OME-Zarr (the HCS layout): a folder per row, in it one per well, in it one image per field.

A field is an image like any other, whose path goes through that of its plate: ``screen.zarr/B/3/0``.
"""

from pathlib import Path
from typing import Any

from focuslab.errors import ImageError
from focuslab.io.ome_zarr import attributes_of, open_for_writing

__all__ = ["copy_plate", "fields_of", "is_plate", "plate_of", "well_of"]


def is_plate(path: Path) -> bool:
    """Whether a folder is a plate."""
    return path.is_dir() and "plate" in attributes_of(path)


def fields_of(plate: Path) -> list[Path]:
    """Paths of all fields of a plate, in its order.

    Raises
    ------
    ImageError
        If a well that the plate names is not there, or the plate does not say its wells as NGFF has it.
    """
    found = []
    try:
        for well in attributes_of(plate)["plate"]["wells"]:
            folder = plate / well["path"]
            said = attributes_of(folder).get("well")
            if said is None:
                raise ImageError(f"{plate.name} names a well {well['path']} that is not there.")
            found += [folder / str(image["path"]) for image in said["images"]]
    except (KeyError, TypeError) as error:
        raise ImageError(f"{plate.name} has metadata that are not those of an NGFF plate ({error!r}).") from error
    return found


def plate_of(path: Path) -> Path | None:
    """Plate that a path goes through, None if there is none; the path need not exist."""
    return next((p for p in path.parents if p.suffix.lower() == ".zarr"), None)


def well_of(path: Path) -> tuple[str, str] | None:
    """Well, such as ``B03``, and field of a path through a plate."""
    plate = plate_of(path)
    parts = path.relative_to(plate).parts if plate is not None else ()
    if len(parts) != 3 or not parts[1].isdigit():
        return None
    return f"{parts[0].upper()}{int(parts[1]):02d}", parts[2]


def copy_plate(source: Path, target: Path) -> None:
    """Write the metadata of a plate, its rows and wells, around the fields that are there; of none, nothing."""
    said = attributes_of(source)["plate"]
    wells = []
    for well in said["wells"]:
        folder = Path(well["path"])
        of_well = attributes_of(source / folder)["well"]
        if images := [image for image in of_well["images"] if (target / folder / str(image["path"])).is_dir()]:
            wells.append(well)
            for row in folder.parents[:-1]:
                _group(target / row, None)
            _group(target / folder, {"well": {**of_well, "version": "0.5", "images": images}})
    if wells:
        _group(target, {"plate": {**said, "version": "0.5", "wells": wells}})


def _group(path: Path, ome: dict[str, Any] | None) -> None:
    group = open_for_writing(path)
    if ome is not None:
        group.attrs["ome"] = {"version": "0.5", **ome}
