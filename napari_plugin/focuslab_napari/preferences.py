"""What is kept between sessions: preferences of the plugin, and the optics that were typed for a file."""

import json
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSettings

__all__ = [
    "choose_focus_axis",
    "chosen_focus_axis",
    "first_run",
    "preference",
    "remember_model",
    "remembered_models",
    "type_numbers",
    "typed_numbers",
]

_DEFAULTS = {"device": "auto", "tile": 512}


def preference(name: str) -> Any:
    """A preference from the manifest (`device`, `tile`), as set under napari's preferences."""
    from napari.settings import get_plugin_settings

    try:
        return getattr(get_plugin_settings("focuslab").compute, name)
    except (KeyError, AttributeError):  # the manifest is not registered, as when a widget is made by hand
        return _DEFAULTS[name]


def typed_numbers(layer: Any) -> dict[str, Any]:
    """Numbers that the user typed for a layer, in whichever panel, or before for the file that it is from."""
    about = layer.metadata.get("focuslab", {})
    if "typed" in about:
        return dict(about["typed"])
    if (path := _path(layer)) is None:
        return {}
    said = dict(json.loads(_store().value(f"optics/{_key(path)}", "{}")))
    if (wave := json.loads(_store().value(f"wavelengths/{_key(path)}|{layer.name}", "null"))) is not None:
        said["wavelength_um"] = wave
    return said


def type_numbers(layer: Any, typed: dict[str, Any]) -> None:
    """Keep what was typed for a layer, and for its file; all panels hear of it by the layer's metadata."""
    if path := _path(layer):  # the channels of a file may be layers of their own, each with its wavelength
        of_all = {name: value for name, value in typed.items() if name != "wavelength_um"}
        _store().setValue(f"optics/{_key(path)}", json.dumps(of_all))
        _store().setValue(f"wavelengths/{_key(path)}|{layer.name}", json.dumps(typed.get("wavelength_um")))
    about = layer.metadata.get("focuslab", {})
    layer.metadata = {**layer.metadata, "focuslab": {**about, "typed": typed}}


def chosen_focus_axis(layer: Any) -> int | None:
    """Axis of a layer that the user chose as its focus axis, -1 for none; None: as it is labelled."""
    chosen = layer.metadata.get("focuslab", {}).get("focus_axis")
    if chosen is None or chosen[1] != layer.ndim:  # of the stack that this layer was split from
        return None
    return int(chosen[0])


def choose_focus_axis(layer: Any, axis: int | None) -> None:
    """Keep the choice of a focus axis with the layer; all panels hear of it by the layer's metadata."""
    about = layer.metadata.get("focuslab", {})
    chosen = None if axis is None else (axis, layer.ndim)
    layer.metadata = {**layer.metadata, "focuslab": {**about, "focus_axis": chosen}}


def remembered_models() -> list[str]:
    """Folders of models that were trained or opened here, and are still there."""
    said = json.loads(_store().value("models", "[]"))
    return [path for path in said if (Path(path) / "card.json").is_file()]


def remember_model(folder: Path) -> None:
    """Keep a model for the lists of later sessions."""
    _store().setValue("models", json.dumps(list(dict.fromkeys([*remembered_models(), str(folder)]))))


def first_run() -> bool:
    """Whether FocusLab has never been opened here; the answer is no from then on."""
    store = _store()
    first = not store.value("opened", False, type=bool)
    store.setValue("opened", True)
    return first


def _store() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "FocusLab", "napari")


def _path(layer: Any) -> str | None:
    """File that a layer is from, opened by napari or by FocusLab."""
    return getattr(layer.source, "path", None) or layer.metadata.get("focuslab", {}).get("path")


def _key(path: str) -> str:
    return Path(path).resolve().as_posix().replace("/", "|")
