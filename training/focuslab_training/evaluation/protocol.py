"""What is measured on a field, and what it is compared with.

A field is judged on the longer side of focus, from its most blurred plane to the plane in focus. Pictures are in the
field's normalised intensity (0.5th percentile of the stack 0, 99.9th 1), cut to 0..1: data range 1. Every score says
what the picture was compared with: the plane as it was recorded, or the model's own round trip of that plane. Where
brightness changes with z (optical sections), `scaled` compares after the best affine map of intensities, for every
method alike.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.models.frontend import exact_rungs
from focuslab.optics import Optics, psf
from focuslab.quality import apd, ffl, lds, mse, psnr, scaled_to, ssim
from focuslab.quality.classical import (
    blurred_from_focus,
    convolved,
    fitted_gaussian,
    richardson_lucy,
    unsharp_mask,
    wiener,
)
from focuslab.quality.trust import finest_period_px
from focuslab_training.data.field import Field
from focuslab_training.evaluation.judges import CodeParts, LinearJudge, ReferenceJudge

__all__ = ["FieldResult", "LinearityScore", "Score", "best_settings", "judge_field", "side_of"]

Image = NDArray[np.float32]
ORIGINAL, OWN = "the plane", "own round trip"
DEBLURRING, SYNTHESIS = "deblurring", "synthesis"
CEILING = 60.0  # dB that a picture is given at most: nobody sees more, and its own truth may not carry a mean
_SHOWN = 128  # px, of the pictures that are kept to look at
_ELEMENTS = 20_000  # of a code that are kept for the principal components of all fields
_FITTED = (0.5, 0.7, 0.85, 1.0, 1.2)  # times the level, that a fitted PSF or level is chosen from


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
        Of the planes judged, most blurred first.
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
    judge: LinearJudge | ReferenceJudge,
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

    codes = judge.codes(field, order)
    own = [judge.round_trip(code) for code in codes]
    between = [judge.line(codes[0], codes[-1], way) for way in ways]
    line = [judge.picture(code) for code in between]
    strips = {"recorded planes": planes, "codes on the line between the ends, decoded": line}
    for k, plane in enumerate(planes):
        put("round trip", "model", k, own[k], plane)
    for k in range(1, last):
        put(SYNTHESIS, "model, line between the ends", k, line[k], planes[k])
        put(SYNTHESIS, "model, line between the ends", k, judge.round_trip(between[k]), own[k], OWN)
        two = judge.picture(judge.line(codes[0], codes[k], 1 / max(ways[k], 1e-6)))
        put(DEBLURRING, "model, two planes", k, two, focus)
        put(DEBLURRING, "model, two planes", k, two, own[-1], OWN)
    estimates: list[float] = []
    if isinstance(judge, LinearJudge):
        sharpest, estimates = _single_plane(judge, field, order, codes, put, planes, fitted)
        strips["sharpest, from each plane alone"] = sharpest
    if classical:
        for k in range(last):
            _classical(field, _beyond(levels[k], levels[-1]), k, planes[k], focus, put, fitted)
    vectors, linearity = {}, []
    for part in judge.parts:
        codes_of = judge.codes(field, order, physics=False) if part == "features, physics zeroed" else codes
        whole = np.stack([judge.vector(code, part) for code in codes_of])
        linearity.append(_linearity(field.name, part, whole))
        vectors[part] = whole[:, :: -(-whole.shape[1] // _ELEMENTS)].copy()
    pixel = field.optics.pixel_size_um
    finest = [finest_period_px(plane, field.optics) * pixel for plane in planes]
    shown = {title: [_middle(image) for image in row] for title, row in strips.items()}
    return FieldResult(field, levels, scores, linearity, estimates, finest, vectors, shown)


def _middle(image: Image) -> Image:
    """The middle of a picture, of its own."""
    y, x = (max((n - _SHOWN) // 2, 0) for n in image.shape)
    return image[y : y + _SHOWN, x : x + _SHOWN].copy()


def _single_plane(
    judge: LinearJudge,
    field: Field,
    order: list[int],
    codes: list[Any],
    put: Any,
    planes: list[Image],
    fitted: bool,
) -> tuple[list[Image], list[float]]:
    """Deblurring of each plane alone, level given, estimated, fitted, and synthesis from the plane in focus alone."""
    levels, focus = [field.levels_px[p] for p in order], planes[-1]

    def deblurred(k: int, level: float, doubt: float | None = None) -> Image:
        code = judge.encode(field, order[k], level, exact_rungs([level, levels[-1]]), doubt=doubt)
        return judge.picture(judge.shifted(code, min(levels[-1] - level, 0.0)))

    estimates, sharpest = [], []
    for k, code in enumerate(codes):
        made = judge.picture(judge.shifted(code, levels[-1] - levels[k]))
        sharpest.append(made)
        put(DEBLURRING, "model, level given", k, made, focus)
        read, doubt = judge.estimate(field, order[k])
        estimates.append(read)
        put(DEBLURRING, "model, blind", k, deblurred(k, read, doubt), focus)
        if k == len(codes) - 1:
            continue
        for factor in _FITTED if fitted else ():
            put(DEBLURRING, f"model, level fitted [{factor:g}]", k, deblurred(k, factor * levels[k]), focus)
        blurred = judge.picture(judge.shifted(codes[-1], levels[k] - levels[-1]))
        put(SYNTHESIS, "model, sharp plane alone", k, blurred, planes[k])
    return sharpest, estimates


def _beyond(level: float, focus: float) -> float:
    """Blur, px, that takes the plane in focus to a level: the rest of the squares, as radii of PSFs add up."""
    return math.sqrt(max(level**2 - focus**2, 0.0))


def _thicknesses(optics: Optics, fitted: bool) -> list[Optics]:
    """The microscope as it is said, and where the PSF is fitted, with a thin specimen."""
    return [optics, optics.thin] if fitted and optics.thickness_um else [optics]


def _classical(field: Field, level: float, k: int, plane: Image, focus: Image, put: Any, fitted: bool) -> None:
    """Baselines at one plane; of settings, each is reported by its own name and the best one is chosen over fields."""
    optics, sharp = field.optics, psf(field.optics, 0.0)[0]
    put(DEBLURRING, "do nothing", k, plane, focus)
    put(DEBLURRING, "unsharp mask", k, unsharp_mask(plane, max(level / 2, 1.0)), focus)
    shapes = [(factor, seen) for factor in (_FITTED if fitted else (1.0,)) for seen in _thicknesses(optics, fitted)]
    for factor, seen in shapes:
        kernel = psf(seen, optics.defocus_um(level * factor))[0]
        shape = f"{factor:g}, {seen.thickness_um:g} um thick" if optics.thickness_um else f"{factor:g}"
        found = {f"Richardson-Lucy [{n}, {shape}": made for n, made in richardson_lucy(plane, kernel).items()}
        found |= {f"Wiener [{weight:g}, {shape}": made for weight, made in wiener(plane, kernel).items()}
        for name, made in found.items():  # the specimen, and how the plane in focus shows it
            put(DEBLURRING, f"{name}]", k, made, focus)
            put(DEBLURRING, f"{name}, in focus]", k, convolved(made, sharp), focus)
    kernel = psf(optics, optics.defocus_um(level))[0]
    put(SYNTHESIS, "convolution with the PSF [whole]", k, convolved(focus, kernel), plane)
    put(SYNTHESIS, "convolution with the PSF [relative]", k, blurred_from_focus(focus, optics, level), plane)
    put(SYNTHESIS, "do nothing", k, focus, plane)
    put(SYNTHESIS, "fitted Gaussian", k, fitted_gaussian(focus, plane), plane)


def _linearity(field: str, part: CodeParts, codes: NDArray[np.float32]) -> LinearityScore:
    return LinearityScore(
        field, part, lds(codes), lds(codes, as_published=True), apd(codes), apd(codes, as_published=True)
    )


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

    A method with settings is named ``method [setting]``; it becomes ``method, best``.
    """
    groups: dict[tuple[str, str, int, str], dict[str, list[Score]]] = {}
    for score in scores:
        name, _, setting = score.method.partition(" [")
        groups.setdefault((score.task, name, score.steps, score.against), {}).setdefault(setting, []).append(score)
    for (_, name, _, _), settings in groups.items():
        best = max(settings, key=lambda s: float(np.mean([score.psnr for score in settings[s]])))
        for score in settings[best]:
            yield replace(score, method=f"{name}, best" if best else name)
