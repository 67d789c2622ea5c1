"""Two planes of a stack, and t on the line through them: 0 is A, 1 is B, outside is extrapolation."""

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QSpinBox, QWidget

from focuslab_napari.range_slider import RangeSlider
from focuslab_napari.session import LevelFound, Move

__all__ = ["TwoPlanesBox"]

_LOW, _HIGH = -1.0, 8.0
_NOT_ENOUGH = "Two planes need a focus axis with at least two planes: choose it under Focus axis."


class TwoPlanesBox(QWidget):
    """Choice of planes A and B and of t.

    Signals
    -------
    changed
        A, B or t are others.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.about = QSpinBox(), QSpinBox(), QLabel(_NOT_ENOUGH)
        self.about.setWordWrap(True)
        self.slider = RangeSlider(_LOW, _HIGH, step=0.1)
        self.slider.set_range(_LOW, _HIGH, (0.0, 1.0))
        self.slider.setToolTip("Green is between the planes, orange beyond them")
        self._planes = 0
        self._levels: dict[int, float] = {}
        self._field: Any = None
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Plane A", self.a)
        form.addRow("Plane B", self.b)
        form.addRow("t", self.slider)
        form.addRow(self.about)
        self.b.setValue(1)
        for box in (self.a, self.b):
            box.valueChanged.connect(self._changed)
        self.slider.moved.connect(self._changed)

    @property
    def ready(self) -> bool:
        """Whether there are two planes."""
        return self._planes > 1 and self.a.value() != self.b.value()

    @property
    def move(self) -> Move:
        """Where to on the line."""
        return Move(self.slider.value, "line")

    def show_stack(self, planes: int) -> None:
        """Turn to a stack of so many focal planes."""
        self._planes = planes
        self._field = None
        self._levels.clear()
        for box in (self.a, self.b):
            box.blockSignals(True)
            box.setRange(0, max(planes - 1, 0))
            box.blockSignals(False)
        if planes > 1 and self.a.value() == self.b.value():
            self.b.setValue(self.a.value() + 1 if self.a.value() + 1 < planes else 0)
        self.setEnabled(planes > 1)
        self._say()

    def tell(self, plane: int, field: Any, found: LevelFound) -> None:
        """Learn the level of a plane of a field: of one channel and time point, by one microscope."""
        if field != self._field:
            self._field = field
            self._levels.clear()
        self._levels[plane] = found.level_px
        self._say()

    def _changed(self, _: float) -> None:
        self._say()
        self.changed.emit()

    def _say(self) -> None:
        if self._planes < 2:
            self.about.setText(_NOT_ENOUGH)
            return
        if self.a.value() == self.b.value():
            self.about.setText("A and B are the same plane: choose two.")
            return
        t = self.slider.value
        said = ["Interpolation." if 0 <= t <= 1 else "<span style='color:#e76f51'>Extrapolation.</span>"]
        a, b = (self._levels.get(box.value()) for box in (self.a, self.b))
        if a is not None and b is not None:
            said.append(f"A is {a:.1f} px out of focus, B {b:.1f} px.")
            said.append(self._warning(a, b))
        said.append(f"The bare line a + t (b - a) would amplify noise {noise_gain(t):.1f} times.")
        self.about.setText(" ".join(s for s in said if s))

    def _warning(self, a: float, b: float) -> str:
        """Sentence on planes that may lie on different sides of focus: the sharpest of those between is neither."""
        low, high = sorted((self.a.value(), self.b.value()))
        between = [self._levels[p] for p in range(low + 1, high) if p in self._levels]
        if any(level < 0.8 * min(a, b) for level in between):
            return "<span style='color:#e76f51'>They lie on different sides of focus: the line is no defocus.</span>"
        if abs(a - b) < 0.5:
            return "Their blur is the same: the line leads nowhere, or they lie on both sides of focus."
        return ""


def noise_gain(t: float) -> float:
    """Standard deviation of the noise of (1 - t) a + t b over that of a and b: what the bare line would cost."""
    return float(((1 - t) ** 2 + t**2) ** 0.5)
