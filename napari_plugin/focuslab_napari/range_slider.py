"""A slider over a range with a trained part: where a model only extrapolates, the track is orange and says so."""

from qtpy.QtCore import QRect, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QHBoxLayout, QSlider, QVBoxLayout, QWidget

from focuslab_napari.decimal_box import DecimalBox

__all__ = ["RangeSlider"]

TRAINED, BEYOND = QColor("#2a9d8f"), QColor("#e76f51")
_STEPS = 2000
_HEIGHT = 5  # px of the coloured track


class RangeSlider(QWidget):
    """Slider and number field of one value.

    Signals
    -------
    moved
        The new value, whichever of the two was used.
    """

    moved = Signal(float)

    def __init__(self, low: float, high: float, *, step: float = 0.1, decimals: int = 2) -> None:
        super().__init__()
        self.slider, self.number, self.track = QSlider(Qt.Orientation.Horizontal), DecimalBox(), _Track()
        self.slider.setRange(0, _STEPS)
        self.number.setDecimals(decimals)
        self.number.setSingleStep(step)
        self.number.setKeyboardTracking(False)
        self.number.setFixedWidth(126)
        self._quiet = False
        left = QVBoxLayout()
        left.setSpacing(0)
        left.addWidget(self.slider)
        left.addWidget(self.track)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addLayout(left, 1)
        row.addWidget(self.number)
        self.set_range(low, high, (low, high))
        self.slider.valueChanged.connect(self._slid)
        self.number.valueChanged.connect(self._numbered)

    @property
    def value(self) -> float:
        """The value."""
        return float(self.number.value())

    @property
    def beyond(self) -> bool:
        """Whether the value lies outside the trained part by more than it was rounded to be shown."""
        rounding = 0.51 * 10.0 ** -self.number.decimals()
        return not self.trained[0] - rounding <= self.value <= self.trained[1] + rounding

    def set_range(self, low: float, high: float, trained: tuple[float, float], suffix: str = "") -> None:
        """Set the ends, the trained part and the unit; the value is kept where it can be, no signal is sent."""
        value = self.number.value()
        self.low, self.high, self.trained = low, high, trained
        self._quiet = True
        self.number.setRange(low, high)
        self.number.setSuffix(suffix)
        self._quiet = False
        self.track.parts = tuple((t - low) / (high - low) for t in (*trained, 0.0))
        self.track.update()
        self.set_value(min(max(value, low), high), quiet=True)

    def set_value(self, value: float, *, quiet: bool = False) -> None:
        """Move to a value."""
        self._quiet = True
        self.number.setValue(value)
        self.slider.setValue(round((value - self.low) / (self.high - self.low) * _STEPS))
        self._quiet = False
        if not quiet:
            self.moved.emit(self.value)

    def step(self, count: int) -> None:
        """Move by some steps of the number field."""
        self.set_value(min(max(self.value + count * self.number.singleStep(), self.low), self.high))

    def _slid(self, at: int) -> None:
        if not self._quiet:
            value = self.low + at / _STEPS * (self.high - self.low)
            self._quiet = True
            self.number.setValue(value)
            self._quiet = False
            self.moved.emit(self.value)

    def _numbered(self, value: float) -> None:
        if not self._quiet:
            self.set_value(value)


class _Track(QWidget):
    """Coloured bar below the slider: trained part, the rest, and a mark at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: tuple[float, ...] = (0.0, 1.0, 0.0)
        self.setFixedHeight(_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, Qt calls it so
        """Paint the bar, as wide as the way of the slider's handle."""
        painter = QPainter(self)
        inset, width = 8, self.width() - 16
        painter.fillRect(QRect(inset, 0, width, _HEIGHT), BEYOND)
        low, high, zero = (min(max(p, 0.0), 1.0) for p in self.parts)
        painter.fillRect(QRect(inset + int(low * width), 0, int((high - low) * width), _HEIGHT), TRAINED)
        painter.fillRect(QRect(inset + int(zero * width) - 1, 0, 2, _HEIGHT), QColor("white"))
        painter.end()
