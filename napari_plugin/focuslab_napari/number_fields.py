"""Named numbers to be typed, one below the other: some that always have a value, some that may be left open."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QRegularExpression
from qtpy.QtGui import QRegularExpressionValidator
from qtpy.QtWidgets import QFormLayout, QLineEdit, QSpinBox, QWidget

from focuslab_napari.decimal_box import DecimalBox

__all__ = ["Number", "NumberFields", "OpenNumbers", "numbers_in", "positive_field", "text_of"]


@dataclass(frozen=True, slots=True)
class Number:
    """A number: title, unit, first value, range, decimals (0: whole)."""

    title: str
    value: float
    low: float
    high: float
    decimals: int = 2
    unit: str = ""


class NumberFields(QWidget):
    """Spin boxes for numbers by name."""

    def __init__(self, numbers: Mapping[str, Number]) -> None:
        super().__init__()
        self.form = QFormLayout(self)
        self.form.setContentsMargins(0, 0, 0, 0)
        self.boxes: dict[str, QSpinBox | DecimalBox] = {}
        for name, number in numbers.items():
            box: QSpinBox | DecimalBox
            if number.decimals:
                box = DecimalBox()
                box.setDecimals(number.decimals)
                box.setRange(number.low, number.high)
                box.setSingleStep(10.0 ** -(number.decimals - 1))
                box.setValue(number.value)
            else:
                box = QSpinBox()
                box.setRange(int(number.low), int(number.high))
                box.setValue(int(number.value))
            box.setSuffix(f" {number.unit}" if number.unit else "")
            self.form.addRow(number.title, box)
            self.boxes[name] = box

    def __getitem__(self, name: str) -> float:
        return self.boxes[name].value()

    def whole(self, name: str) -> int:
        """A number that is whole."""
        return int(self.boxes[name].value())


class OpenNumbers(QWidget):
    """Positive numbers that may be left open.

    Parameters
    ----------
    titles
        Title and unit of each number, by name.
    hint
        What an open field shows.
    """

    def __init__(self, titles: Mapping[str, tuple[str, str]], hint: str) -> None:
        super().__init__()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        self.fields: dict[str, QLineEdit] = {}
        for name, (title, unit) in titles.items():
            self.fields[name] = positive_field(hint)
            form.addRow(f"{title}, {unit}" if unit else title, self.fields[name])

    @property
    def values(self) -> dict[str, float]:
        """The numbers that were typed."""
        said = {name: numbers_in(field.text()) for name, field in self.fields.items()}
        return {name: numbers[0] for name, numbers in said.items() if numbers and numbers[0] > 0}


def positive_field(hint: str, *, several: bool = False) -> QLineEdit:
    """Line for a positive number, with a point or a comma, or for several with ", " between."""
    field = QLineEdit()
    digits = r"[0-9., ;]*" if several else r"[0-9]*[.,]?[0-9]*"
    field.setValidator(QRegularExpressionValidator(QRegularExpression(digits)))
    field.setPlaceholderText(hint)
    return field


def numbers_in(text: str) -> list[float]:
    """Numbers of a line, with points or decimal commas; what is none is left out.

    A comma followed by a space stands between numbers, and so does any beside points: 0,46, 0,52 and 0.46,0.52 are two.
    """
    found = []
    for word in re.split(r"[;\s]+|,(?=\s|$)", text):
        for part in word.split(",") if "." in word else [word.replace(",", ".")]:
            with suppress(ValueError):
                found.append(float(part))
    return found


def text_of(value: Any) -> str:
    """A number, or several, as a line shows them; nothing for what is not known."""
    several = value if isinstance(value, list | tuple) else (value,)
    return ", ".join(f"{v:g}" for v in several if v is not None)
