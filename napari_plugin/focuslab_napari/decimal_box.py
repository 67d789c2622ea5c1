"""A number field that takes point and comma for the decimal sign, whatever the language of the desktop."""

from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QDoubleSpinBox

__all__ = ["DecimalBox"]


class DecimalBox(QDoubleSpinBox):
    """Qt's own takes the other sign for one that groups digits, and 12.5 for 125."""

    def validate(self, text: str | None, position: int) -> tuple[QValidator.State, str, int]:
        """Judge a text with this language's sign."""
        state, said, at = super().validate(self._here(text), position)
        return state, said, at

    def valueFromText(self, text: str | None) -> float:  # noqa: N802, Qt calls it so
        """Number of a text with either sign."""
        return super().valueFromText(self._here(text))

    def _here(self, text: str | None) -> str:
        point = self.locale().decimalPoint()
        return (text or "").replace("," if point == "." else ".", point)
