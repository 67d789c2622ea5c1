"""A small plot in the colours of napari: curves on a left and a right axis, a line that marks where one is."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from qtpy.QtCore import Signal

__all__ = ["CurvePlot", "Curves"]

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]
_LEFT, _RIGHT = ("#2a9d8f", "#e76f51", "#e9c46a", "#8ab6f9"), ("#9a9a9a",)


class CurvePlot(FigureCanvasQTAgg):
    """Plot of curves by name.

    Parameters
    ----------
    viewer
        Whose theme to take.
    xlabel
        Of the common axis.

    Signals
    -------
    picked
        The position along x that was clicked.
    """

    picked = Signal(float)

    def __init__(self, viewer: Any, xlabel: str) -> None:
        super().__init__(Figure(figsize=(3.4, 2.2), layout="constrained"))
        theme = get_theme(str(viewer.theme))
        self._ink, self._paper = str(theme.text.as_hex()), str(theme.background.as_hex())
        self.setMinimumHeight(180)
        self.xlabel = xlabel
        self.figure.set_facecolor(self._paper)
        self.left = self.figure.add_subplot()
        self.right = self.left.twinx()
        self._mark: Any = None
        self._at: float | None = None
        self.mpl_connect("button_press_event", self._clicked)
        self.show_curves({})

    def show_curves(
        self,
        left: Curves,
        right: Curves | None = None,
        *,
        left_label: str = "",
        right_label: str = "",
        whole: bool = False,
    ) -> None:
        """Draw curves in place of those that are there; `whole` marks every point and keeps x to whole numbers."""
        style = {"marker": "o", "markersize": 3} if whole else {}
        for axes, curves, label, colours in (
            (self.left, left, left_label, _LEFT),
            (self.right, right or {}, right_label, _RIGHT),
        ):
            axes.clear()
            axes.patch.set_visible(False)
            for i, (name, (x, y)) in enumerate(curves.items()):
                axes.plot(x, y, label=name, color=colours[i % len(colours)], linewidth=1.4, **style)
            axes.set_ylabel(label, color=colours[0] if len(curves) == 1 else self._ink)
            axes.tick_params(colors=self._ink, labelsize=8)
            for spine in axes.spines.values():
                spine.set_color(self._ink)
        self.right.set_visible(bool(right))
        if right:
            self.right.yaxis.set_label_position("right")
        self.left.set_xlabel(self.xlabel, color=self._ink)
        if whole:
            self.left.xaxis.get_major_locator().set_params(integer=True)
        if len(left) > 1:
            self.left.legend(fontsize=8, facecolor=self._paper, labelcolor=self._ink, framealpha=0.6)
        self._mark = None
        self.mark(self._at)

    def mark(self, x: float | None) -> None:
        """Mark a position; None for none."""
        self._at = x
        if self._mark is not None:
            self._mark.remove()
        self._mark = None if x is None else self.left.axvline(x, color=self._ink, linewidth=1, linestyle=":")
        self.draw_idle()

    def _clicked(self, event: Any) -> None:
        if event.xdata is not None:
            self.picked.emit(float(event.xdata))
