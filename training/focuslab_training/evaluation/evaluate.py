"""Evaluation of a model on a data set: every field measured, then the report written."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from focuslab.errors import OutputError, RequestError
from focuslab.files import make_folder
from focuslab_training.data.field import Field
from focuslab_training.data.gather import Gathered
from focuslab_training.data.split import Split
from focuslab_training.evaluation.judges import Judge
from focuslab_training.evaluation.protocol import (
    FieldResult,
    LinearityScore,
    Score,
    best_settings,
    judge_field,
    side_of,
)
from focuslab_training.evaluation.report import write_report

__all__ = ["Evaluation", "Options", "evaluate", "unseen"]


_LEAST_BLUR = 0.5  # px that the farthest plane of a field is more blurred than the one in focus


@dataclass(frozen=True, slots=True)
class Options:
    """How fields are judged; see `protocol.judge_field`."""

    classical: bool = True
    scaled: bool = False
    fitted: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All results; of methods with settings, each plane's best in the mean over fields."""

    results: list[FieldResult]
    scores: list[Score]
    linearity: list[LinearityScore]


def unseen(gathered: Gathered, split: Split | None, limit: int | None = None) -> tuple[list[Field], str]:
    """Fields that the model was not trained on, no more than `limit`, and a sentence that says how that is known.

    Raises
    ------
    RequestError
        If it was trained on all of them.
    """
    if split is None:
        return gathered.fields[:limit], "The model's bundle holds no split: that these fields are unseen is not known."
    every = gathered.fields
    wanted = split.test or split.validation
    kind = "test" if split.test else "validation"
    foreign = [f for f in every if not split.has_trained(f.name, f.unit)]
    if not foreign:
        raise RequestError(
            "The model was trained on every field of this data set, or on others of the same names: evaluate it on "
            "fields that it has not seen, under names of their own."
        )
    if found := [f for f in foreign if {f.name, f.unit} & set(wanted)][:limit]:
        chosen = "" if split.test else ", but which weights were kept may hang on them"
        return found, (
            f"{len(found)} of {len(every)} fields, by their names the {kind} fields of the split that was made for "
            f"training: never trained on{chosen}."
        )
    foreign = foreign[:limit]
    return foreign, (
        f"{len(foreign)} of {len(every)} fields, none with the name of one that the model was trained on; whether it "
        "saw them under other names is not known."
    )


def evaluate(
    judge: Judge,
    chosen: Sequence[Field],
    folder: Path,
    *,
    options: Options | None = None,
    about: str = "",
    report: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge a model on fields, and write `report.html`, `scores.csv`, `linearity.csv` into a folder.

    Parameters
    ----------
    judge
        The model.
    chosen
        Fields with three planes or more on one side of focus.
    folder
        Made if it is missing.
    options
        How fields are judged.
    about
        A sentence on the data, shown in the report.
    report
        Called with the number of fields done and of all.

    Returns
    -------
    Evaluation
        Of the fields that could be judged; the report names the others.

    Raises
    ------
    RequestError
        If a field has too few planes.
    OutputError
        If the report cannot be written.
    """
    options = options or Options()
    if not chosen:
        raise RequestError("There is no field to evaluate on.")
    if short := [f.name for f in chosen if not _has_line(f)]:
        told = "fewer than three planes on one side of focus, or the farthest as sharp as focus"
        if len(short) == len(chosen):
            raise RequestError(f"{short[0]} has {told}: a line of codes needs three planes, and blur.")
        chosen = [f for f in chosen if f.name not in short]
        about = f"{about} Left out: {', '.join(short)}, with {told}.".strip()
    make_folder(folder)
    results = []
    for i, field in enumerate(chosen):
        results.append(
            judge_field(judge, field, classical=options.classical, scaled=options.scaled, fitted=options.fitted)
        )
        if report is not None:
            report(i + 1, len(chosen))
    scores = list(best_settings([score for result in results for score in result.scores]))
    linearity = [row for result in results for row in result.linearity]
    found = Evaluation(results, scores, linearity)
    try:
        _table(folder / "scores.csv", Score, scores)
        _table(folder / "linearity.csv", LinearityScore, linearity)
        write_report(folder / "report.html", judge.card, found.results, scores, linearity, about, options.scaled)
    except OSError as error:
        raise OutputError(f"The report cannot be written to {folder}: {error.strerror}.") from error
    return found


def _has_line(field: Field) -> bool:
    """Whether codes can be judged on a line from the farthest plane of a field to the one in focus."""
    side = side_of(field)
    return len(side) >= 3 and field.levels_px[side[0]] - field.levels_px[side[-1]] > _LEAST_BLUR


def _table(path: Path, kind: type, rows: Sequence[Score | LinearityScore]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(kind)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
