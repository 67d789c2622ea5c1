"""Buttons that open the other panels beside this one."""

from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

__all__ = ["MoreBox"]

_PANELS = {
    "Focus": "Level and sharpness of every plane, blur map, all in focus",
    "Synthesis": "Focal stack of a sharp plane, or of a simulated specimen",
    "Training": "A new model from your own focal stacks",
    "Batch": "A folder, or many layers at once",
}


class MoreBox(QWidget):
    """One button per panel."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.buttons: dict[str, QPushButton] = {}
        for name, hint in _PANELS.items():
            button = QPushButton(name)
            button.setToolTip(hint)
            button.clicked.connect(lambda _, name=name: self.open(name))
            row.addWidget(button)
            self.buttons[name] = button

    def open(self, name: str) -> Any:
        """Dock a panel as a tab beside this one; returns it."""
        _, panel = self.viewer.window.add_plugin_dock_widget("focuslab", name, tabify=True)
        return panel
