"""Nothing imports upward, and the library stays free of GUI, CLI and training packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import focuslab

ROOT = Path(focuslab.__file__).parents[1]
LAYERS = [
    ["focuslab.errors", "focuslab.memory", "focuslab.optics"],
    ["focuslab.calibration", "focuslab.files", "focuslab.pixels"],
    ["focuslab.stack"],
    ["focuslab.io", "focuslab.models", "focuslab.simulation", "focuslab.samples"],
    ["focuslab.quality"],
    ["focuslab.refocusing"],
    ["focuslab.augment"],
    ["focuslab_training", "focuslab_napari"],
    ["focuslab.cli"],
]
OUTSIDE = {"typer", "rich", "qtpy", "napari", "magicgui", "lightning", "matplotlib"}
SOURCES = [
    *(ROOT / "focuslab").rglob("*.py"),
    *(ROOT / "training" / "focuslab_training").rglob("*.py"),
    *(ROOT / "napari_plugin" / "focuslab_napari").rglob("*.py"),
]


def _name(path: Path) -> str:
    for base in (ROOT, ROOT / "training", ROOT / "napari_plugin"):
        relative = path.relative_to(base) if path.is_relative_to(base) else None
        if relative is not None and relative.parts[0] in ("focuslab", "focuslab_training", "focuslab_napari"):
            return ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    raise AssertionError(path)


def _layer(module: str) -> int | None:
    found = [i for i, layer in enumerate(LAYERS) for top in layer if module == top or module.startswith(top + ".")]
    return found[0] if found else None


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_imports_upward(path: Path) -> None:
    own = _layer(_name(path))
    if own is None:
        assert _name(path) in ("focuslab", "focuslab.__main__"), "a layer of its own: the package re-exports lazily"
        return
    for imported in _imports(path):
        layer = _layer(imported)
        assert layer is None or layer <= own, f"{_name(path)} imports {imported}"


@pytest.mark.parametrize("path", [p for p in SOURCES if _name(p).startswith("focuslab.")], ids=_name)
def test_only_the_command_line_knows_terminals_and_nothing_knows_guis(path: Path) -> None:
    allowed = {"typer", "rich"} if _name(path).startswith("focuslab.cli") else set()
    assert not {name.split(".")[0] for name in _imports(path)} & (OUTSIDE - allowed)


def test_importing_focuslab_does_not_import_torch() -> None:
    code = "import sys, focuslab; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_public_names_resolve() -> None:
    for name in focuslab.__all__:
        assert getattr(focuslab, name) is not None
    assert focuslab.__all__ == sorted(focuslab.__all__)


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_text_files_are_utf_8_on_every_system(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            named = {keyword.arg for keyword in node.keywords}
            text = node.func.attr in ("read_text", "write_text") or "newline" in named
            assert not text or "encoding" in named, f"line {node.lineno} writes or reads in the locale's encoding"
