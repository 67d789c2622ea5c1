"""What is kept between sessions: preferences of the plugin, and the optics that were typed for a file."""

import json
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSettings

__all__ = ["first_run", "preference", "remember_optics", "remembered_optics"]

_DEFAULTS = {"device": "auto", "tile": 1024}


def preference(name: str) -> Any:
    """A preference from the manifest (`device`, `tile`), as set under napari's preferences."""
    from napari.settings import get_plugin_settings

    try:
        return getattr(get_plugin_settings("focuslab").compute, name)
    except (KeyError, AttributeError):  # the manifest is not registered, as when a widget is made by hand
        return _DEFAULTS[name]


def remembered_optics(path: str | None) -> dict[str, float]:
    """Numbers that were typed for a file."""
    said = _store().value(f"optics/{_key(path)}", "{}") if path else "{}"
    return dict(json.loads(said))


def remember_optics(path: str | None, typed: dict[str, float]) -> None:
    """Keep what was typed for a file."""
    if path:
        _store().setValue(f"optics/{_key(path)}", json.dumps(typed))


def first_run() -> bool:
    """Whether FocusLab has never been opened here; the answer is no from then on."""
    store = _store()
    first = not store.value("opened", False, type=bool)
    store.setValue("opened", True)
    return first


def _store() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "FocusLab", "napari")


def _key(path: str | None) -> str:
    return Path(str(path)).resolve().as_posix().replace("/", "|")
