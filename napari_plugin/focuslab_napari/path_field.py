"""A folder: typed, or chosen in a dialog."""

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget

__all__ = ["FolderField"]


class FolderField(QWidget):
    """Line for a folder, with a button that opens a dialog.

    Signals
    -------
    changed
        Another folder is named.
    """

    changed = Signal()

    def __init__(self, hint: str) -> None:
        super().__init__()
        self.line, self.browse = QLineEdit(), QPushButton("...")
        self.line.setPlaceholderText(hint)
        self.line.setToolTip(hint)
        self.browse.setMaximumWidth(36)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.browse)
        self.line.editingFinished.connect(self.changed)
        self.browse.clicked.connect(self._ask)

    @property
    def path(self) -> Path | None:
        """The folder, None while none is named."""
        return Path(self.line.text().strip()).expanduser() if self.line.text().strip() else None

    def _ask(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, self.line.placeholderText(), self.line.text()):
            self.line.setText(folder)
            self.changed.emit()
