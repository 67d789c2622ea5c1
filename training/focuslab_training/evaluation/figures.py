"""Pictures of a report, as PNG bytes: curves over blur level, trajectories of codes, strips of planes."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from focuslab_training.evaluation.protocol import FieldResult, Score

__all__ = ["curves", "estimates", "finest_periods", "strips", "trajectories"]

Image = NDArray[np.float32]
_DPI = 110


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight")
    return buffer.getvalue()


def curves(scores: Sequence[Score], task: str, against: str, title: str) -> bytes:
    """Mean PSNR over blur level, one line per method, the spread of fields about the model's lines.

    The plane in focus, which is its own truth, is not drawn.
    """
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    chosen = [s for s in scores if s.task == task and s.against == against and s.steps > 0]
    for method in dict.fromkeys(s.method for s in chosen):
        places = sorted({s.steps for s in chosen if s.method == method})
        values = [[s.psnr for s in chosen if s.method == method and s.steps == p] for p in places]
        levels = [float(np.mean([s.level_px for s in chosen if s.steps == p])) for p in places]
        order = np.argsort(levels)
        x, mean = np.array(levels)[order], np.array([np.mean(v) for v in values])[order]
        model = method.startswith("model")
        axes.plot(x, mean, "o-" if model else "--", label=method, linewidth=2 if model else 1)
        if model:
            low, high = (np.array([f(v) for v in values])[order] for f in (np.min, np.max))
            axes.fill_between(x, low, high, alpha=0.1)
    axes.set(xlabel="blur level of the plane (px)", ylabel="PSNR (dB)", title=title)
    if chosen:
        axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return _png(figure)


def trajectories(results: Sequence[FieldResult], part: str) -> bytes:
    """First two principal components of the codes, one line per field over its planes, focus marked."""
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    alike = [r for r in results if r.vectors[part].shape == results[0].vectors[part].shape]
    codes = np.concatenate([r.vectors[part] for r in alike]).astype(np.float64)
    codes -= codes.mean(0)
    # The few planes are far fewer than the elements of a code: the small Gram matrix has the same components.
    values, vectors = np.linalg.eigh(codes @ codes.T)
    places = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :2]
    start = 0
    for result in alike:
        path = places[start : start + len(result.levels_px)]
        start += len(path)
        (line,) = axes.plot(*path.T, ".-", linewidth=1, markersize=4)
        axes.plot(*path[-1], "o", color=line.get_color(), markersize=7)
    share = values[::-1][:2].sum() / max(float(np.maximum(values, 0).sum()), 1e-12)
    axes.set(title=f"{part} ({100 * share:.0f} % of the variance)", xlabel="component 1", ylabel="component 2")
    return _png(figure)


def strips(rows: Mapping[str, Sequence[Image]], labels: Sequence[str]) -> bytes:
    """Rows of pictures of one field."""
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(1.5 * columns, 1.95 * len(rows)))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (title, row), axes in zip(rows.items(), grid, strict=True):
        for i, axis in enumerate(axes):
            axis.set_axis_off()
            if i < len(row):
                axis.imshow(row[i], cmap="gray", vmin=0, vmax=1)
                axis.set_title(labels[i], fontsize=7, loc="left")
        axes[0].annotate(title, (0, 1), (0, 16), "axes fraction", textcoords="offset points", fontsize=8)
    return _png(figure)


def estimates(results: Sequence[FieldResult]) -> bytes:
    """Level read from each plane over its level."""
    figure = Figure(figsize=(4.5, 4))
    axes = figure.subplots()
    for result in results:
        axes.plot(result.levels_px, result.estimates_px, ".", alpha=0.6)
    top = max(max(r.levels_px) for r in results) * 1.1 + 1
    axes.plot([0, top], [0, top], "k--", linewidth=1)
    axes.set(xlabel="blur level from z or given (px)", ylabel="blur level read from the plane (px)")
    return _png(figure)


def finest_periods(results: Sequence[FieldResult]) -> bytes:
    """Finest period that the data support over blur level."""
    figure = Figure(figsize=(4.5, 4))
    axes = figure.subplots()
    for result in results:
        axes.plot(result.levels_px, result.finest_um, ".-", alpha=0.5, linewidth=1)
    axes.set(xlabel="blur level of the plane (px)", ylabel="finest period supported (um)")
    axes.grid(alpha=0.3)
    return _png(figure)
