"""Titled groups of widgets, one below the other."""

from collections.abc import Mapping

from qtpy.QtWidgets import QGroupBox, QVBoxLayout, QWidget

__all__ = ["groups"]


def groups(parts: Mapping[str, QWidget], *below: QWidget) -> QWidget:
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
    return inner
