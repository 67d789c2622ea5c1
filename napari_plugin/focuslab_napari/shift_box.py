"""The slider: how far to move the plane on screen, in um where the image is calibrated, else in px of blur."""

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from focuslab.optics.optics import Optics
from focuslab_napari.decimal_box import DecimalBox
from focuslab_napari.range_slider import RangeSlider
from focuslab_napari.session import LevelFound, Move

if TYPE_CHECKING:
    from focuslab.refocusing.levels import LevelEstimate

__all__ = ["ShiftBox"]

_AS_READ = -1  # %


class ShiftBox(QWidget):
    """Shift, level of the plane, and the way to the sharpest.

    Signals
    -------
    changed
        Shift or level are others.
    read_again
        The level is to be read from the pixels as they are now.
    """

    changed = Signal()
    read_again = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.slider = RangeSlider(-20.0, 20.0, step=0.5)
        self.slider.setToolTip(
            "Negative is sharper, positive blurrier; orange is beyond what the model was trained for"
        )
        self.sharpest = QPushButton("Sharpest")
        self.sharpest.setToolTip("Undo the blur of the plane on screen")
        self.reset = QPushButton("As it is")
        self.level = DecimalBox()
        self.level.setRange(0.0, 1e4)
        self.level.setDecimals(2)
        self.level.setSingleStep(0.5)
        self.level.setKeyboardTracking(False)
        self.level.setToolTip("Distance of the plane on screen from focus; estimated, or what you type")
        self.automatic = QPushButton("Read")
        self.automatic.setToolTip("Read the level from the plane again")
        self.doubt = QSpinBox()
        self.doubt.setRange(_AS_READ, 30)
        self.doubt.setValue(_AS_READ)
        self.doubt.setSuffix(" %")
        self.doubt.setSpecialValueText("as read")
        self.doubt.setKeyboardTracking(False)
        self.doubt.setToolTip(
            "Error of level and microscope to allow for: 0 is crisp, more is softer, with fewer artefacts where they "
            "are off; as read: what the estimate says, 0 for a level that you type"
        )
        self.about = QLabel("")
        self.about.setWordWrap(True)
        self.typed: dict[tuple[int, ...], tuple[float, str]] = {}  # as they were typed, with their unit
        self.optics: Optics | None = None
        self._trained = (0.0, 45.0)
        self._index: tuple[int, ...] = ()
        self._level_px: float | None = None
        self.estimate: LevelEstimate | None = None  # what the level was read with; None for a typed one
        self._to_sharpest = False
        self._said = ""
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.slider)
        level = (QLabel("Plane's level"), self.level, self.automatic)
        for widgets in ((self.sharpest, self.reset), level, (QLabel("Doubt"), self.doubt)):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget)
            rows.addLayout(row)
        rows.addWidget(self.about)
        self.slider.moved.connect(self._moved)
        self.sharpest.clicked.connect(self.to_sharpest)
        self.reset.clicked.connect(lambda: self.slider.set_value(0.0))
        self.level.valueChanged.connect(self._level_typed)
        self.automatic.clicked.connect(self._forget_level)
        self.doubt.valueChanged.connect(lambda _: self.changed.emit())

    @property
    def unit(self) -> str:
        """``um`` or ``px``."""
        return "px" if self.optics is None else "um"

    @property
    def move(self) -> Move:
        """Where to."""
        return Move(self.slider.value, self.unit)

    @property
    def level_px(self) -> float | None:
        """Level of the plane on screen, px, once it is known."""
        return self._level_px

    @property
    def said_doubt(self) -> float | None:
        """Relative error of the level to allow for, where the user says it."""
        return None if self.doubt.value() == _AS_READ else self.doubt.value() / 100

    @property
    def sure(self) -> bool:
        """Whether the level is typed, or was read from structure."""
        return self._level_px is not None and (self.estimate is None or self.estimate.found)

    def typed_level(self, index: tuple[int, ...]) -> float | None:
        """Level that was typed for a plane, px by the present microscope."""
        value, unit = self.typed.get(index, (None, "px"))
        if value is None or unit == "px":
            return value
        return None if self.optics is None else self.optics.radius_px(value)

    def show_plane(self, index: tuple[int, ...], optics: Optics | None, trained: tuple[float, float]) -> None:
        """Turn to another plane or another microscope."""
        if (index, optics, trained) == (self._index, self.optics, self._trained):
            return
        shift_px, unit = self._px(self.slider.value), self.unit
        self._index, self.optics, self._trained = index, optics, trained
        self._level_px, self.estimate = self.typed_level(index), None
        self._set_range()
        if self.unit != unit:  # the same blur, in other words
            self.slider.set_value(math.copysign(self._shown(abs(shift_px)), shift_px))

    def tell(self, found: LevelFound) -> None:
        """Show the level of the plane on screen."""
        if found.index != self._index:
            return
        self._level_px = found.level_px
        self.level.blockSignals(True)
        self.level.setValue(self._shown(found.level_px))
        self.level.blockSignals(False)
        sure = self.estimate = found.estimate
        if sure is None:
            said = "Level as typed."
        elif not sure.found:
            said = "No structure in this plane: its level is not known, Apply copies it unchanged."
        else:
            from focuslab.refocusing.levels import how_sure

            certain = how_sure(sure.confidence)
            said = f"Level estimated, {certain} to a quarter of it; drawn with a doubt of {sure.doubt:.0%}."
        before = self.slider.value
        self._set_range()
        if self._to_sharpest:
            self._to_sharpest = False
            self.to_sharpest()
        elif self.slider.value != before:  # what is being drawn lies beyond the new end
            self.changed.emit()
        self._say(said)

    def to_sharpest(self) -> None:
        """Move the slider to the sharpest; if the level is not known yet, as soon as it is."""
        if self._level_px is None:
            self._to_sharpest = True
            self.changed.emit()
        else:
            self.slider.set_value(-self._shown(self._level_px))

    def forget(self) -> None:
        """Forget all typed levels: another image is shown."""
        self.typed.clear()
        self._level_px = None

    def _px(self, shown: float) -> float:
        """Shift of the slider in px of blur."""
        return shown if self.optics is None else self.optics.shift_px(shown)

    def _shown(self, level_px: float) -> float:
        return level_px if self.optics is None else self.optics.defocus_um(level_px)

    def _moved(self, _: float) -> None:
        self._say(self._said)
        self.changed.emit()

    def _level_typed(self, value: float) -> None:
        self.typed[self._index] = (value, self.unit)
        self._level_px, self.estimate = self.typed_level(self._index), None
        self._set_range()
        self.changed.emit()

    def _forget_level(self) -> None:
        self.typed.pop(self._index, None)
        self._level_px = None
        self.read_again.emit()
        self.changed.emit()

    def _say(self, said: str) -> None:
        self._said = said
        beyond = ""
        if self.slider.beyond:
            where = "sharper than the sharpest" if self.slider.value < 0 else "blurrier than the model was trained for"
            beyond = f" <span style='color:#e76f51'>Extrapolated: {where}.</span>"
        self.about.setText(said + beyond)

    def _set_range(self) -> None:
        """Ends of the slider: some way beyond the trained part on both sides."""
        low, high = (self._shown(edge) for edge in self._trained)
        level = self._shown(self._level_px or 0.0)
        trained = (low - level, high - level)
        over = 0.15 * (high - low)
        if self._level_px is None:
            trained = (-high, high)
        self.slider.set_range(trained[0] - over, trained[1] + over, trained, f" {self.unit}")
        self.level.setSuffix(f" {self.unit}")
        self._say(self._said)
