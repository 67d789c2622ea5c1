"""Before and after: a wipe over the canvas, a key to toggle, a sheet of levels."""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np
from napari.utils.notifications import show_warning
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from focuslab.optics.optics import Optics
from focuslab_napari.jobs import JobBar
from focuslab_napari.preview import LivePreview
from focuslab_napari.results import corner_place, put_result, stacked_place
from focuslab_napari.session import Move, Session, ViewRequest

__all__ = ["CompareBox", "sheet_moves", "sheet_steps"]

_SHEET = 9  # pictures on a contact sheet


def sheet_moves(level_px: float, optics: Optics | None, least: float) -> list[Move]:
    """Shifts from the sharpest to twice the blur of a plane, in um where the optics are known, else in px."""
    end = max(level_px if optics is None else optics.defocus_um(level_px), least)
    unit = "px" if optics is None else "um"
    return [Move(-end + 2 * end * i / (_SHEET - 1), unit) for i in range(_SHEET)]


def sheet_steps(session: Session, request: ViewRequest, moves: list[Move]) -> Generator[Any, None, Any]:
    """Exact pictures of a rectangle at several positions, (N, Y, X)."""
    from focuslab.refocusing.intensity import stored
    from focuslab.refocusing.live import Picture
    from focuslab.refocusing.progress import Progress

    pictures = []
    for i, move in enumerate(moves):
        made = None
        for made in session.pictures(replace(request, move=move)):
            if not isinstance(made, Picture):
                yield Progress(i, len(moves))
        pictures.append(made.counts)  # type: ignore[union-attr]
        yield Progress(i + 1, len(moves))
    return stored(np.stack(pictures), request.image.stack.dtype)


class CompareBox(QWidget):
    """Wipe, toggle and contact sheet of the preview.

    Parameters
    ----------
    viewer, session, preview
        As in the panel.
    wish
        Gives the layer, the request and the moves of a sheet; None if there is nothing to draw.
    """

    def __init__(
        self,
        viewer: Any,
        session: Session,
        preview: LivePreview,
        wish: Callable[[], tuple[Any, ViewRequest, list[Move]] | None],
    ) -> None:
        super().__init__()
        self.viewer, self.session, self.preview, self._wish = viewer, session, preview, wish
        self.live = QCheckBox("Live")
        self.live.setChecked(True)
        self.before = QPushButton("Before / after")
        self.before.setCheckable(True)
        self.before.setToolTip("Show the plane as it is, or the preview again: key B")
        self.live.setToolTip("Draw the visible part of the image at every move of the slider")
        self.wipe = QSlider(Qt.Orientation.Horizontal)
        self.wipe.setRange(0, 100)
        self.wipe.setToolTip("Left of the line the plane as it is, right of it the preview")
        self.sheet, self.job = QPushButton("Sheet"), JobBar()
        self.sheet.setToolTip(f"{_SHEET} pictures from the sharpest to twice the blur, as a new layer")
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        for widgets in ((self.live, self.before, self.sheet), (QLabel("Wipe"), self.wipe), (self.job,)):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget)
            rows.addLayout(row)
        self.wipe.valueChanged.connect(lambda percent: preview.move_wipe(percent / 100))
        self.before.toggled.connect(self._toggled)
        self.sheet.clicked.connect(self.make_sheet)

    def toggle(self) -> None:
        """Show the plane as it is, or the preview again."""
        self.before.toggle()

    def make_sheet(self) -> None:
        """Draw the visible region at several levels, as a layer."""
        wished = self._wish()
        if wished is None:
            show_warning("A contact sheet needs an image in 2D, Live on, and one plane whose level is known.")
            return
        layer, request, moves = wished
        self.job.run(
            "Contact sheet",
            lambda: sheet_steps(self.session, request, moves),
            lambda sheet: self._put(layer, request, moves, sheet),
        )

    def _put(self, layer: Any, request: ViewRequest, moves: list[Move], sheet: Any) -> None:
        if layer not in self.viewer.layers:
            return
        place = corner_place(layer, request.corner(sheet), request.bins(sheet))
        unit = "um" if moves[0].unit == "um" else "pixel"
        put_result(
            self.viewer,
            layer,
            "contact sheet",
            sheet,
            {"operation": "contact sheet", "shifts": [round(m.value, 4) for m in moves], "unit": moves[0].unit},
            **stacked_place(place, unit, abs(moves[1].value - moves[0].value) or 1.0, moves[0].value),
            axis_labels=("shift", *place["axis_labels"]),
        )

    def _toggled(self, before: bool) -> None:
        if self.preview.layer is not None:
            self.preview.layer.visible = not before
