"""Which model, on which device."""

import contextlib
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLabel, QWidget

from focuslab.errors import FocusLabError
from focuslab_napari.preferences import preference, remember_model, remembered_models

__all__ = ["ModelBox", "announce_model"]

_OTHER = "from a folder ..."


class _News(QObject):
    """Tells all lists of models of a new one."""

    added = Signal(str)


_news = _News()


def announce_model(folder: Path) -> None:
    """Put a bundle into every list of models, now and in later sessions.

    Raises
    ------
    ModelError
        If it is not a bundle that refocuses.
    """
    from focuslab.models.bundle import load_bundle

    load_bundle(folder)
    remember_model(folder)
    _news.added.emit(str(folder))


class ModelBox(QWidget):
    """Choice of a bundled model or a bundle on disk, and of a device.

    Signals
    -------
    changed
        Another model or device is chosen.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.card: Any = None
        self.models, self.devices, self.about = QComboBox(), QComboBox(), QLabel()
        self.about.setWordWrap(True)
        self.models.setToolTip("Bundled models, models trained here, or a bundle from a folder")
        self.devices.addItems(["auto", "cpu", "cuda", "mps"])
        self.devices.setCurrentText(str(preference("device")))
        self.devices.setToolTip("Where to compute; auto: cuda where there is one, else cpu (mps, Apple's, is untested)")
        self._known: Any = None
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Model", self.models)
        form.addRow("Device", self.devices)
        form.addRow(self.about)
        for name in _bundled():
            self.models.addItem(name, name)
        self.models.addItem(_OTHER, None)
        for path in remembered_models():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # damaged since: not offered
                self._list(path)
        _news.added.connect(self._list)
        self._known = self.models.currentData()
        self.models.activated.connect(self._chosen)
        self.devices.activated.connect(lambda _: self._show())
        self._show()

    @property
    def model(self) -> str:
        """Name of a bundled model, or path of a bundle."""
        return str(self._known)

    @property
    def device(self) -> str:
        """Device as chosen."""
        return str(self.devices.currentText())

    def add(self, path: str | Path) -> None:
        """Add a bundle to the list and choose it.

        Raises
        ------
        ModelError
            If it is not a bundle that refocuses.
        """
        path = str(Path(path))  # as it is listed, with the separators of this system
        announce_model(Path(path))
        self.models.setCurrentIndex(self.models.findData(path))
        self._known = path
        self._show()

    def _list(self, path: str) -> None:
        label, at = f"{_card(path).name} ({Path(path).name})", self.models.findData(path)
        if at < 0:
            self.models.insertItem(self.models.count() - 1, label, path)
            return
        self.models.setItemText(at, label)  # trained further, or another model in the same folder
        if path == self.model:
            self._show()

    def tell_device(self, device: str) -> None:
        """Show what `auto` chose."""
        if self.device == "auto":
            self.devices.setToolTip(f"auto chose {device}")
            self.about.setText(f"{self._sentence()} Computing on {device}.")

    def _chosen(self, index: int) -> None:
        if self.models.itemData(index) is None:
            self._browse()
            return
        before, self._known = self._known, self.models.itemData(index)
        try:
            self._show()
        except (OSError, ValueError, KeyError):  # on a disk that is not there any more
            self._say(f"The model {self._known} cannot be read: is its folder still there?")
            self._known = before
            self.models.setCurrentIndex(self.models.findData(before))

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model bundle")
        try:
            if folder:
                self.add(folder)
                return
        except FocusLabError as error:
            self._say(str(error))
        self.models.setCurrentIndex(self.models.findData(self._known))

    def _say(self, sentence: str) -> None:
        from napari.utils.notifications import show_warning

        show_warning(sentence)
        self.about.setText(sentence)

    def _show(self) -> None:
        self.card = _card(self.model)
        self.about.setText(self._sentence())
        self.changed.emit()

    def _sentence(self) -> str:
        low, high = self.card.levels_px
        return f"{self.card.name} {self.card.version}: trained for blur of {low:g} to {high:g} px."


def _bundled() -> list[str]:
    """Names of the bundled models, read without loading torch."""
    return sorted(path.parent.name for path in _zoo().glob("*/card.json"))


def _zoo() -> Path:
    import focuslab

    return Path(focuslab.__file__).parent / "models" / "zoo"


def _card(model: str) -> Any:
    """Card of a model, read without loading torch."""
    import json
    from types import SimpleNamespace

    folder = _zoo() / model if (_zoo() / model).is_dir() else Path(model)
    said = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    return SimpleNamespace(name=said["name"], version=said["version"], levels_px=tuple(said["levels_px"]))
