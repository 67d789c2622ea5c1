"""`focuslab models`: the bundled models."""

from rich.table import Table

from focuslab.cli.console import out
from focuslab.models.zoo import bundled_cards

__all__ = ["models"]


def models() -> None:
    """List the models that ship with FocusLab."""
    table = Table("name", "version", "blur levels", "sampling c", "modality", "sha256")
    for name, card in bundled_cards().items():
        table.add_row(
            name,
            card.version,
            f"{card.levels_px[0]:g} to {card.levels_px[1]:g} px",
            f"{card.sampling[0]:g} to {card.sampling[1]:g}",
            card.modality,
            card.sha256[:12],
        )
    out.print(table)
