"""Blur level and light of a plane, one of each per plane and never per tile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from focuslab.errors import ImageError
from focuslab.models.bundle import Model
from focuslab.models.estimator import safest_level
from focuslab.models.evidence import gather_evidence, mean_evidence
from focuslab.models.explain import Explanation, explain
from focuslab.models.noise import noise_at, noise_sigma
from focuslab.optics import Optics
from focuslab.refocusing.intensity import IntensityMap, finite, intensity_of
from focuslab.refocusing.sampling import structured_windows
from focuslab.refocusing.spots import without_spots
from focuslab.stack import FocalStack

__all__ = [
    "SURE",
    "Estimates",
    "LevelEstimate",
    "estimate_level",
    "how_sure",
    "measure_explanation",
    "measure_noise",
]

SURE = 0.9  # odds of structure below which a plane is taken as empty
_SUREST = 0.99  # no reading is told to be surer
_SMALLEST = 16  # px of a window that says anything of blur,
_LEAST_SIDE = 3  # and of noise
_READ = 3  # windows of a plane that are read
_FAR = (12.0, 20.0)  # px of blur over which the PSF of a real microscope becomes another than that of the simulation
_FAR_DOUBT = 0.05  # least relative error to be expected beyond, however sure a reading is that knows the latter
_FRAMES = 4  # time points that vote on the level of a plane
_ALIKE, _ALIKE_PX = 0.5, 2.0  # differences of their levels, relative and px, that are no change
_WORTH = 0.5  # of the highest contrast: a window with less has little in it, and says nothing of blur


@dataclass(frozen=True, slots=True)
class LevelEstimate:
    """Blur level read from a plane.

    Attributes
    ----------
    level_px
        Radius of the blur disc, px; 0 where there is no structure.
    structure
        Probability that there is structure to judge by.
    confidence
        Probability that the level is right to about a quarter, if there is structure.
    doubt
        Relative error to be expected of the level.
    """

    level_px: float
    structure: float
    confidence: float = 0.0
    doubt: float = 0.0

    @property
    def found(self) -> bool:
        """Whether the plane has structure."""
        return self.structure > SURE

    def within(self, plane_shape: tuple[int, int], model: Model) -> float:
        """Level, px, that can be undone: as read, but at most half of the plane (Y, X) and what a model knows."""
        return min(self.level_px, min(plane_shape) / 2, model.card.levels_px[1])


_NOTHING = LevelEstimate(0.0, 0.0)


def how_sure(*confidence: float) -> str:
    """Confidence (0..1) of one or several readings in words: none is a certainty."""
    least = "at least " if len(confidence) > 1 or confidence[0] > _SUREST else ""
    return f"{least}{min(*confidence, _SUREST):.0%} sure"


def estimate_level(windows: Sequence[NDArray[Any]], model: Model, optics: Optics) -> LevelEstimate:
    """Estimate the blur level of one plane.

    Parameters
    ----------
    windows
        Parts of the plane (Y, X) in any linear unit, together normalised here; the most structured ones are read.
    model
        Its estimator is used.
    optics
        The microscope that took the plane.
    """
    try:
        intensity = intensity_of(windows)
    except ImageError:  # no pixel says anything
        return _NOTHING
    if intensity.blank:
        return _NOTHING
    noise = measure_noise(windows, intensity.scale)
    normal = [_without_spots(intensity.normalise(finite(w, keep_nan=True), np.float64), optics, noise) for w in windows]
    normal = _most_structured([w for w in normal if min(w.shape) >= _SMALLEST])
    if not normal:
        return _NOTHING
    normal = [w for w in normal if _contrast(w) >= _WORTH * _contrast(normal[0])]
    device = next(model.estimator.parameters()).device
    with torch.inference_mode():
        said = [gather_evidence(torch.from_numpy(w.astype(np.float32)).to(device), optics) for w in normal]
        scores, odds = model.estimator(mean_evidence(said))
        level, chance, doubt = safest_level(scores, optics)
    estimate = LevelEstimate(float(level), float(torch.sigmoid(odds)), float(chance), float(doubt))
    far = min(max((estimate.level_px - _FAR[0]) / (_FAR[1] - _FAR[0]), 0.0), 1.0)
    estimate = replace(estimate, doubt=max(estimate.doubt, far * _FAR_DOUBT))
    return estimate if estimate.found else replace(estimate, level_px=0.0)


def measure_noise(windows: Sequence[NDArray[Any]], scale: float) -> float:
    """Standard deviation of the noise of one plane, in normalised intensity (counts / `scale`)."""
    found = [
        float(noise_sigma(torch.from_numpy(finite(w, keep_nan=True) / scale)[None, None]))
        for w in windows
        if min(w.shape) >= _LEAST_SIDE
    ]
    return float(np.mean(found)) if found else 0.0


def measure_explanation(
    windows: Sequence[NDArray[Any]], intensity: IntensityMap, optics: Optics, level_px: float
) -> tuple[float, Explanation]:
    """Noise of one plane, normalised, and what explains it: the deepest floor of any part, their median surplus."""
    rough = measure_noise(windows, intensity.scale)
    planes = [torch.from_numpy(intensity.normalise(finite(w, keep_nan=True)))[None, None] for w in windows]
    clean = [without_spots(plane, optics, level_px, rough) for plane in planes]
    noises = [float(noise_at(light, optics, level_px)) for light in clean if min(light.shape[-2:]) >= _LEAST_SIDE]
    noise = float(np.sqrt(np.mean(np.square(noises)))) if noises else 0.0
    parts = _most_structured([light[0, 0].numpy() for light in clean])
    said = [explain(torch.from_numpy(part), optics, level_px, noise) for part in parts]
    return noise, Explanation(max(e.floor for e in said), float(np.median([e.surplus for e in said])))


def _without_spots(window: NDArray[Any], optics: Optics, noise: float) -> NDArray[Any]:
    """A window without pixels that stand out even of a plane in focus."""
    return np.asarray(without_spots(torch.from_numpy(window)[None, None], optics, 0.0, noise)[0, 0])


def _most_structured(windows: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Few windows, normalised, those with the highest contrast."""
    return sorted(windows, key=_contrast, reverse=True)[:_READ]


def _contrast(window: NDArray[Any]) -> float:
    """Standard deviation of the square root, in which noise is even."""
    return float(np.std(np.sqrt(np.maximum(window, 0))))


class Estimates:
    """Estimated levels: one for each channel and focal plane, shared by all time points unless asked per frame."""

    def __init__(self, stack: FocalStack, model: Model, *, per_frame: bool = False) -> None:
        self.model, self._stack, self._per_frame = model, stack, per_frame
        self._known: dict[tuple[int, int, int], LevelEstimate] = {}
        self._seen: tuple[tuple[int, ...], list[NDArray[Any]]] | None = None
        self.differ: tuple[float, float] | None = None

    def of(self, index: tuple[int, ...], optics: Optics) -> LevelEstimate:
        """Level of a plane: its own, or that of up to four of its time points together."""
        stack, own = self._stack, self._stack.position(index, "T") if self._per_frame else 0
        key = (stack.position(index, "C"), stack.position(index, "Z"), own)
        if key not in self._known:
            few = sorted({int(t) for t in np.linspace(0, stack.size("T") - 1, _FRAMES)})
            frames = [own] if self._per_frame else few
            votes = [estimate_level(self.windows(self._at(index, t)), self.model, optics) for t in frames]
            found = [v for v in votes if v.found] or votes
            levels = [v.level_px for v in found]
            if max(levels) - min(levels) > max(_ALIKE_PX, _ALIKE * min(levels)):
                self.differ = min(levels), max(levels)
            self._known[key] = LevelEstimate(
                float(np.median(levels)),
                float(np.median([v.structure for v in found])),
                float(np.median([v.confidence for v in found])),
                float(np.median([v.doubt for v in found])),
            )
        return self._known[key]

    def windows(self, index: tuple[int, ...]) -> list[NDArray[Any]]:
        """Parts of a plane that say most of it; those of the last one are kept, to search them for masks takes time."""
        if self._seen is None or self._seen[0] != index:
            self._seen = index, structured_windows(self._stack, index)
        return self._seen[1]

    def _at(self, index: tuple[int, ...], frame: int) -> tuple[int, ...]:
        axes = self._stack.axes
        return (frame, *index[1:]) if axes.startswith("T") else index
