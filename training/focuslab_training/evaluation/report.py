"""The report: one HTML page that needs nothing else, and says beside every number what it means."""

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

import focuslab
from focuslab.models.bundle import ModelCard
from focuslab_training.evaluation import figures
from focuslab_training.evaluation.baselines import DEBLURRING, SYNTHESIS
from focuslab_training.evaluation.protocol import CEILING, ORIGINAL, OWN, FieldResult, LinearityScore, Score

__all__ = ["write_report"]

_MEASURES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "mse": "MSE", "ffl": "FFL"}
_SHOWN = 2  # best and worst fields shown


def write_report(
    path: Path,
    card: ModelCard,
    results: Sequence[FieldResult],
    scores: Sequence[Score],
    linearity: Sequence[LinearityScore],
    about: str,
    scaled: bool,
) -> None:
    """Write the page of an evaluation, see `evaluate`."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["picture"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    template = environment.from_string(files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8"))
    page = template.render(
        version=focuslab.__version__,
        card=card.model_dump(),
        about=about,
        scaled=scaled,
        fields=len(results),
        groups=[
            (title, text, _tables(scores, task, against), figures.curves(scores, task, against, title))
            for title, text, task, against in _GROUPS
            if any(s.task == task and s.against == against for s in scores)
        ],
        straightness=_straightness(linearity),
        trajectories=[figures.trajectories(results, part) for part in results[0].vectors],
        estimates=figures.estimates(results) if results[0].estimates_px else None,
        errors=_level_errors(results),
        finest=figures.finest_periods(results),
        periods=_periods(results),
        pictures=_pictures(results, scores),
    )
    path.write_text(page, encoding="utf-8")


_GROUPS = (
    ("Deblurring", "Pictures at focus, compared with the recorded plane in focus.", DEBLURRING, ORIGINAL),
    (
        "Deblurring, against the model's own round trip",
        "The same pictures, compared with what the model makes of the plane in focus itself.",
        DEBLURRING,
        OWN,
    ),
    ("Synthesis", "Pictures at the level of each plane, compared with that recorded plane.", SYNTHESIS, ORIGINAL),
    (
        "Linearity gap",
        "Codes on the line between the ends, decoded, compared with the model's own round trip of each plane.",
        SYNTHESIS,
        OWN,
    ),
    ("Round trip", "Each plane encoded and decoded, nothing kept beside the code.", "round trip", ORIGINAL),
)


def _tables(scores: Sequence[Score], task: str, against: str) -> dict[str, Any]:
    """For each measure: rows of methods, columns of levels, mean over fields and worst field."""
    chosen = [s for s in scores if s.task == task and s.against == against]
    places = sorted({s.steps for s in chosen}, reverse=True)
    head = [f"{np.mean([s.level_px for s in chosen if s.steps == place]):.1f} px" for place in places]
    tables = {}
    for measure, title in _MEASURES.items():
        worst = min if measure in ("psnr", "ssim") else max
        rows = {}
        for method in dict.fromkeys(s.method for s in chosen):
            cells = []
            for place in places:
                values = [getattr(s, measure) for s in chosen if s.method == method and s.steps == place]
                cells.append(f"{_short(float(np.mean(values)))} ({_short(worst(values))})" if values else "")
            rows[method] = cells
        tables[title] = rows
    return {"head": head, "tables": tables}


def _short(value: float) -> str:
    if value >= CEILING:  # dB: the picture is its truth
        return "same"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _straightness(linearity: Sequence[LinearityScore]) -> list[list[str]]:
    names = ("lds", "lds_as_published", "apd", "apd_as_published")
    return [
        [part, *(f"{np.mean([getattr(r, name) for r in linearity if r.part == part]):.3f}" for name in names)]
        for part in dict.fromkeys(r.part for r in linearity)
    ]


def _level_errors(results: Sequence[FieldResult]) -> str:
    """Median relative error of the levels beyond one depth of focus."""
    errors = []
    for result in results:
        optics = result.field.optics
        depth = optics.radius_px(optics.depth_of_focus_um)
        pairs = zip(result.levels_px, result.estimates_px, strict=False)
        errors += [abs(estimate / level - 1) for level, estimate in pairs if level > depth]
    return f"{100 * float(np.median(errors)):.0f} %" if errors else "none judged"


def _periods(results: Sequence[FieldResult]) -> list[tuple[str, str]]:
    """Mean level and median finest period at every step from focus, of the fields that have so many; focus last."""
    rows = []
    for steps in reversed(range(max(len(r.levels_px) for r in results))):
        there = [r for r in results if len(r.levels_px) > steps]
        level = np.mean([r.levels_px[-1 - steps] for r in there])
        rows.append((f"{level:.1f} px", f"{np.median([r.finest_um[-1 - steps] for r in there]):.2f} um"))
    return rows


def _pictures(results: Sequence[FieldResult], scores: Sequence[Score]) -> list[tuple[str, bytes]]:
    """Strips of the best and the worst fields."""
    fields, methods = {r.field.name for r in results}, ("model, blind", "model, two planes")
    of_all = (m for m in methods if {s.field for s in scores if s.method == m} >= fields)
    method = next(of_all, "model")  # the round trip, which every field has

    def gain(result: FieldResult) -> float:
        own = [s.psnr for s in scores if s.field == result.field.name and s.method == method and s.against == ORIGINAL]
        return float(np.mean(own))

    ranked = sorted(results, key=gain, reverse=True)
    chosen = {"best": ranked[:_SHOWN], "worst": ranked[_SHOWN:][-_SHOWN:]}
    return [
        (
            f"{kind}: {result.field.name} ({method}, mean {gain(result):.1f} dB)",
            figures.strips(result.strips, [f"{level:.1f} px" for level in result.levels_px]),
        )
        for kind, some in chosen.items()
        for result in some
    ]
