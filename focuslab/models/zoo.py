"""The models that ship with FocusLab, by name."""

from pathlib import Path

from focuslab.errors import ModelError
from focuslab.models.bundle import CARD, Model, ModelCard, load_bundle

__all__ = ["bundled_cards", "load_model"]

_ZOO = Path(__file__).parent / "zoo"


def bundled_cards() -> dict[str, ModelCard]:
    """Cards of the bundled models by name."""
    return {
        path.parent.name: ModelCard.model_validate_json(path.read_text(encoding="utf-8"))
        for path in sorted(_ZOO.glob(f"*/{CARD}"))
    }


def load_model(name_or_path: str | Path | Model = "default") -> Model:
    """Load a bundled model by name, or any bundle by its folder; a model that is loaded is taken as it is.

    Raises
    ------
    ModelError
        If there is no such model, or it is damaged; another model is never taken instead.
    """
    if isinstance(name_or_path, Model):
        return name_or_path
    if isinstance(name_or_path, str) and name_or_path in bundled_cards():
        return load_bundle(_ZOO / name_or_path)
    if not Path(name_or_path).exists():
        raise ModelError(
            f"There is no model {str(name_or_path)!r}: bundled are {', '.join(bundled_cards()) or 'none'}; anything "
            "else must be the path of a bundle."
        )
    return load_bundle(name_or_path)
