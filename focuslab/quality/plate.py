"""A plate as a picture: one square per well, coloured by a number; a well without one is crossed out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from focuslab.errors import OutputError, RequestError

__all__ = ["NO_WELL", "PLATES", "plate_map", "plate_shape"]

PLATES = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24))
NO_WELL = "No file name holds a well (such as A01): say how with --wells '{well}_s{field}.tif'."
_MOST = (32, 48)  # rows and columns of a plate with 1536 wells
_CELL, _EDGE = 44, 40  # px
_COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))  # viridis
_NONE, _INK = (225, 225, 225), (40, 40, 40)


def plate_shape(wells: list[str]) -> tuple[int, int]:
    """Rows and columns of the smallest usual plate that has all wells (``A01``, ...).

    Raises
    ------
    RequestError
        If a name is not that of a well.
    """
    places = [_place(well) for well in wells]
    rows, columns = (max(p[i] for p in places) + 1 for i in (0, 1))
    for plate in PLATES:
        if rows <= plate[0] and columns <= plate[1]:
            return plate
    return rows, columns


def plate_map(levels: Mapping[str, float | None], path: Path, *, title: str, unit: str) -> Path:
    """Draw a plate and write it as PNG.

    Parameters
    ----------
    levels
        Number of every well by name; None for a well without structure. Wells that are not named stay empty.
    path
        PNG file.
    title, unit
        What the numbers are.

    Raises
    ------
    RequestError
        If there is no well.
    OutputError
        If it cannot be written.
    """
    if not levels:
        raise RequestError(NO_WELL)
    rows, columns = plate_shape(list(levels))
    top = max((v for v in levels.values() if v is not None), default=1.0) or 1.0  # colours start at 0
    width = _EDGE + columns * _CELL + 3 * _EDGE
    image = Image.new("RGB", (max(width, 420), 2 * _EDGE + rows * _CELL + _EDGE // 2), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((_EDGE, 6), title, _INK, font)
    for row in range(rows):
        draw.text((12, 2 * _EDGE + row * _CELL + 12), _letter(row), _INK, font)
    for column in range(columns):
        draw.text((_EDGE + column * _CELL + 14, _EDGE + 18), str(column + 1), _INK, font)
    named = {_place(well): value for well, value in levels.items()}
    for row, column in np.ndindex(rows, columns):
        x, y = _EDGE + column * _CELL, 2 * _EDGE + row * _CELL
        box = (x + 2, y + 2, x + _CELL - 3, y + _CELL - 3)
        if (row, column) not in named:
            draw.rectangle(box, outline=_NONE)
            continue
        value = named[row, column]
        if value is None:
            draw.rectangle(box, _NONE)
            draw.line((box[:2], box[2:]), _INK)
            continue
        colour = _colour(value / top)
        draw.rectangle(box, colour)
        draw.text((x + 7, y + 13), f"{value:.3g}", "white" if sum(colour) < 380 else "black", font)
    x, y0, y1 = image.width - 2 * _EDGE - 10, 2 * _EDGE, 2 * _EDGE + rows * _CELL
    for y in range(y0, y1):
        draw.line(((x, y), (x + 14, y)), _colour((y1 - 1 - y) / max(y1 - 1 - y0, 1)))
    draw.text((x + 18, y0 - 4), f"{top:.3g} {unit}", _INK, font)
    draw.text((x + 18, y1 - 14), f"0 {unit}", _INK, font)
    draw.text((_EDGE, y1 + 6), "crossed out: no structure", _INK, font)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="png")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.") from error
    return path


def _place(well: str) -> tuple[int, int]:
    """Row and column of a well, from 0."""
    letters = "".join(c for c in well if c.isalpha()).upper()
    digits = "".join(c for c in well if c.isdigit())
    if not letters or not digits or letters + digits != well.upper() or int(digits) < 1:
        raise RequestError(f"A well is called by row and column, such as A01 or AF48; got {well!r}.")
    row = 0
    for letter in letters:
        row = 26 * row + ord(letter) - ord("A") + 1
    if row > _MOST[0] or int(digits) > _MOST[1]:
        raise RequestError(f"No plate has a well {well}: say how names hold it with --wells '{{well}}_s{{field}}.tif'.")
    return row - 1, int(digits) - 1


def _letter(row: int) -> str:
    return _letter(row // 26 - 1) + _letter(row % 26) if row >= 26 else chr(ord("A") + row)


def _colour(share: float) -> tuple[int, int, int]:
    at = share * (len(_COLOURS) - 1)
    first = min(int(at), len(_COLOURS) - 2)
    a, b = np.array(_COLOURS[first]), np.array(_COLOURS[first + 1])
    red, green, blue = (int(v) for v in np.rint(a + (at - first) * (b - a)))
    return red, green, blue
