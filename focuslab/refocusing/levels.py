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
from focuslab.models.frontend import noise_sigma
from focuslab.optics import Optics
from focuslab.refocusing.intensity import IntensityMap, finite, intensity_of
from focuslab.refocusing.spots import without_spots

__all__ = ["SURE", "LevelEstimate", "estimate_level", "how_sure", "measure_explanation", "measure_noise"]

SURE = 0.9  # odds of structure below which a plane is taken as empty
_SUREST = 0.99  # no reading is told to be surer
_SMALLEST = 16  # px of a window that says anything
_READ = 3  # windows of a plane that are read
_FAR = (12.0, 20.0)  # px of blur over which the PSF of a real microscope becomes another than that of the simulation
_FAR_DOUBT = 0.05  # least relative error to be expected beyond, however sure a reading is that knows the latter
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
        if min(w.shape) >= 3
    ]
    return float(np.mean(found)) if found else 0.0


def measure_explanation(
    windows: Sequence[NDArray[Any]], intensity: IntensityMap, optics: Optics, level_px: float
) -> tuple[float, Explanation]:
    """Noise of one plane, normalised, and what explains it: the deepest floor of any part, their median surplus."""
    noise = measure_noise(windows, intensity.scale)
    planes = [torch.from_numpy(intensity.normalise(finite(w, keep_nan=True)))[None, None] for w in windows]
    clean = [without_spots(plane, optics, level_px, noise) for plane in planes]
    if any(light is not plane for light, plane in zip(clean, planes, strict=True)):
        noise = float(np.mean([float(noise_sigma(light)) for light in clean]))
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
