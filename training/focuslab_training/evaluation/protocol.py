"""What is measured on a field, and what it is compared with.

A field is judged on the longer side of focus, from the farthest plane to the one in focus. Pictures are in the field's
normalised intensity (0.5th percentile of the stack 0, 99.9th 1), cut to 0..1: data range 1. Every score says
what the picture was compared with: the plane as it was recorded, or the model's own round trip of that plane. Where
brightness changes with z (optical sections), `scaled` compares after the best affine map of intensities, for every
method alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.models.frontend import exact_rungs
from focuslab.quality import apd, ffl, lds, mse, psnr, scaled_to, ssim
from focuslab.quality.trust import finest_period_px
from focuslab_training.data.field import Field
from focuslab_training.evaluation.baselines import DEBLURRING, FITTED, SYNTHESIS, THIN, baselines
from focuslab_training.evaluation.judges import CodeParts, Judge, LinearJudge

__all__ = ["FieldResult", "LinearityScore", "Score", "best_settings", "judge_field", "side_of"]

Image = NDArray[np.float32]
ORIGINAL, OWN = "the plane", "own round trip"
CEILING = 60.0  # dB that a picture is given at most: nobody sees more, and its own truth may not carry a mean
_SHOWN = 128  # px, of the pictures that are kept to look at
_LONGEST = 2 << 20  # elements of a code that its straightness is measured on
_LEAST_WAY = 0.02  # of the way to focus, that a second plane must have come for a line to go through both
_ELEMENTS = 20_000  # of a code that are kept for the principal components of all fields


@dataclass(frozen=True, slots=True)
class Score:
    """Agreement of one picture: of `task` by `method`, `steps` planes from focus, compared `against` something."""

    field: str
    task: str
    method: str
    plane: int
    steps: int
    level_px: float
    against: str
    psnr: float
    ssim: float
    mse: float
    ffl: float


@dataclass(frozen=True, slots=True)
class LinearityScore:
    """Straightness of the codes of one field, of one part of them."""

    field: str
    part: str
    lds: float
    lds_as_published: float
    apd: float
    apd_as_published: float


@dataclass(slots=True)
class FieldResult:
    """All that was measured on a field.

    Attributes
    ----------
    levels_px
        Of the planes judged, farthest from focus first.
    estimates_px
        Levels read from the planes, where the model can.
    finest_um
        Period of the finest detail that the data of each plane support.
    vectors
        Codes of the planes, (planes, length), by part; of long ones evenly chosen elements.
    strips
        Rows of pictures to look at, by title: their middle, so that a data set may be large.
    """

    field: Field
    levels_px: list[float]
    scores: list[Score]
    linearity: list[LinearityScore]
    estimates_px: list[float]
    finest_um: list[float]
    vectors: dict[str, NDArray[np.float32]]
    strips: dict[str, list[Image]]


def side_of(field: Field) -> list[int]:
    """Planes of the longer side of focus, farthest first, focus last."""
    side = max(field.sides, key=len)
    return sorted(side, key=lambda plane: -abs(plane - field.focus))


def judge_field(
    judge: Judge,
    field: Field,
    *,
    classical: bool = True,
    scaled: bool = False,
    fitted: bool = False,
) -> FieldResult:
    """Measure a model on one field.

    Parameters
    ----------
    judge
        The model.
    field
        At least three planes on one side of focus.
    classical
        Whether the baselines are measured too.
    scaled
        Whether every picture is first brought to the brightness of its truth.
    fitted
        Whether deconvolution may choose its PSF by the result, and the model its level, for real stacks whose PSF is
        not known.
    """
    order = side_of(field)
    planes = [field.plane(p) for p in order]
    levels = [field.levels_px[p] for p in order]
    focus, last = planes[-1], len(order) - 1
    ways = [(levels[0] - level) / max(levels[0] - levels[-1], 1e-6) for level in levels]
    scores: list[Score] = []

    def put(task: str, method: str, k: int, made: Image, truth: Image, against: str = ORIGINAL) -> None:
        where = (order[k], last - k, levels[k])
        scores.append(_score(field.name, task, method, where, against, made, truth, scaled))

    ends = judge.code(field, order[0]), judge.code(field, order[-1])  # codes are large: few are held at once
    own_focus, estimates = judge.round_trip(ends[1]), []
    strips: dict[str, list[Image]] = {"recorded planes": [_middle(plane) for plane in planes]}
    parts: dict[CodeParts, list[NDArray[np.float32]]] = {part: [] for part in judge.parts}

    def show(title: str, picture: Image) -> Image:
        strips.setdefault(title, []).append(_middle(picture))
        return picture

    for k, plane in enumerate(planes):
        code = ends[k // last] if k in (0, last) else judge.code(field, order[k])
        own, between = judge.round_trip(code), judge.line(*ends, ways[k])
        put("round trip", "model", k, own, plane)
        line = show("codes on the line between the ends, decoded", judge.picture(between))
        if 0 < k < last:
            put(SYNTHESIS, "model, line between the ends", k, line, plane)
            put(SYNTHESIS, "model, line between the ends", k, judge.round_trip(between), own, OWN)
            if abs(ways[k]) > _LEAST_WAY:
                two = judge.picture(judge.line(ends[0], code, 1 / ways[k]))
                put(DEBLURRING, "model, two planes", k, two, focus)
                put(DEBLURRING, "model, two planes", k, two, own_focus, OWN)
        if isinstance(judge, LinearJudge):
            made = judge.picture(judge.shifted(code, levels[-1] - levels[k]))
            sharpest = show("sharpest, from each plane alone", made)
            put(DEBLURRING, "model, level given", k, sharpest, focus)
            estimates.append(_single_plane(judge, field, order, k, ends[1], planes, put, fitted))
        if classical and k < last:
            baselines(field, levels[k], levels[-1], k, plane, focus, put, fitted)
        for part, codes in parts.items():
            zeroed = part == "features, physics zeroed"
            of = judge.code(field, order[k], physics=False) if zeroed else code
            codes.append(_thinned(judge.vector(of, part), _LONGEST))
    linearity = [_linearity(field.name, part, np.stack(codes), ways) for part, codes in parts.items()]
    vectors: dict[str, NDArray[np.float32]] = {
        part: np.stack([_thinned(code, _ELEMENTS) for code in codes]) for part, codes in parts.items()
    }
    pixel = field.optics.pixel_size_um
    finest = [finest_period_px(plane, field.optics) * pixel for plane in planes]
    return FieldResult(field, levels, scores, linearity, estimates, finest, vectors, strips)


def _middle(image: Image) -> Image:
    """The middle of a picture, of its own."""
    y, x = (max((n - _SHOWN) // 2, 0) for n in image.shape)
    return image[y : y + _SHOWN, x : x + _SHOWN].copy()


def _thinned(code: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Evenly chosen elements of a code, no more than so many."""
    return code[:: -(-len(code) // most)].copy()


def _single_plane(
    judge: LinearJudge,
    field: Field,
    order: list[int],
    k: int,
    sharp: Any,
    planes: list[Image],
    put: Any,
    fitted: bool,
) -> float:
    """Deblurring of a plane alone, level read or fitted, and its synthesis from the plane in focus; the level read."""
    here, in_focus = field.levels_px[order[k]], field.levels_px[order[-1]]

    def deblurred(level: float, doubt: float | None = None) -> Image:
        code = judge.encode(field, order[k], level, exact_rungs([level, in_focus]), doubt=doubt)
        return judge.picture(judge.shifted(code, min(in_focus - level, 0.0)))

    read, doubt = judge.estimate(field, order[k])
    put(DEBLURRING, "model, blind", k, deblurred(read, doubt), planes[-1])
    if k < len(planes) - 1:
        for factor in FITTED if fitted else ():
            put(DEBLURRING, f"model, level fitted [{factor:g}]", k, deblurred(factor * here), planes[-1])
        blurred = judge.picture(judge.shifted(sharp, here - in_focus))
        put(SYNTHESIS, "model, sharp plane alone", k, blurred, planes[k])
    return read


def _linearity(field: str, part: CodeParts, codes: NDArray[np.float32], ways: list[float]) -> LinearityScore:
    directions = lds(codes), lds(codes, as_published=True)
    return LinearityScore(field, part, *directions, apd(codes, ways), apd(codes, ways, as_published=True))


def _score(
    field: str,
    task: str,
    method: str,
    where: tuple[int, int, float],
    against: str,
    made: Image,
    truth: Image,
    scaled: bool,
) -> Score:
    brought = scaled_to(made, truth) if scaled else made
    a, b = np.clip(brought, 0, 1).astype(np.float64), np.clip(truth, 0, 1).astype(np.float64)
    return Score(
        field,
        task,
        method,
        *where,
        against,
        min(psnr(a, b, data_range=1.0), CEILING),
        ssim(a, b, data_range=1.0),
        mse(a, b),
        ffl(a, b),
    )


def best_settings(scores: Sequence[Score]) -> Iterator[Score]:
    """Scores with the settings of each method resolved: at every step from focus the best in the mean over fields.

    A method with settings is named ``method [setting]``; it becomes ``method, best``. A setting is judged by all
    fields: one that is thin itself stands with what it has under `THIN` as well.
    """
    groups: dict[tuple[str, str, int, str], dict[str, dict[str, Score]]] = {}
    for score in scores:
        name, _, setting = score.method.partition(" [")
        groups.setdefault((score.task, name, score.steps, score.against), {}).setdefault(setting, {})[score.field] = (
            score
        )
    for (_, name, _, _), settings in groups.items():
        every = {field for found in settings.values() for field in found}
        whole = {s: {**settings.get(s.replace(THIN, ""), {}), **found} for s, found in settings.items()}
        judged = [list(found.values()) for found in whole.values() if found.keys() == every]
        for score in max(judged, key=lambda some: float(np.mean([score.psnr for score in some]))):
            yield replace(score, method=f"{name}, best" if score.method != name else name)
