"""What all dock widgets have in common: titled groups in a scroll area, and letting go when they are closed."""

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QFormLayout, QGroupBox, QLabel, QScrollArea, QVBoxLayout, QWidget

__all__ = ["Panel", "form_of", "sentence_label"]


class Panel(QScrollArea):
    """Dock widget of a viewer.

    Parameters
    ----------
    napari_viewer
        The viewer; napari passes it by this name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self._letting_go: list[Callable[[], None]] = []

    def when_closed(self, *deeds: Callable[[], None]) -> None:
        """Have something done when the panel is closed."""
        self._letting_go += deeds

    def close_panel(self) -> None:
        """Stop all work, let go of the viewer; once."""
        deeds, self._letting_go = self._letting_go, []
        for deed in deeds:
            deed()

    def event(self, event: QEvent) -> bool:
        """Let go of everything when napari takes the panel out of its dock, which it does without closing it."""
        if event.type() == QEvent.Type.ParentChange and self.parentWidget() is None:
            self.close_panel()
        return bool(super().event(event))

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802, Qt calls it so
        """Let go of everything when the dock is closed."""
        self.close_panel()
        super().closeEvent(event)

    def lay_out(self, parts: Mapping[str, QWidget], *below: QWidget) -> None:
        """Put every widget into a group with its title, and the others below."""
        inner = QWidget()
        rows = QVBoxLayout(inner)
        rows.setContentsMargins(6, 6, 6, 6)
        for title, part in parts.items():
            group = QGroupBox(title)
            box = QVBoxLayout(group)
            box.setContentsMargins(6, 4, 6, 4)
            box.addWidget(part)
            rows.addWidget(group)
        for widget in below:
            rows.addWidget(widget)
        rows.addStretch(1)
        self.setWidget(inner)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(inner.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width() + 4)


def sentence_label(text: str = "") -> QLabel:
    """Label for sentences, which wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def form_of(rows: Mapping[str, QWidget], *below: QWidget) -> QWidget:
    """Widgets with their titles, and others below over the whole width."""
    inner = QWidget()
    form = QFormLayout(inner)
    form.setContentsMargins(0, 0, 0, 0)
    for title, widget in rows.items():
        form.addRow(title, widget)
    for widget in below:
        form.addRow(widget)
    return inner
