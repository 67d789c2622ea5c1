"""Blur level and noise of a plane, one of each per plane and never per tile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from focuslab.models.bundle import Model
from focuslab.models.frontend import noise_sigma
from focuslab.refocusing.intensity import finite

__all__ = ["LevelEstimate", "estimate_level", "measure_noise"]


_SURE = 0.9  # odds of structure below which a plane is taken as empty


@dataclass(frozen=True, slots=True)
class LevelEstimate:
    """Blur level read from a plane.

    Attributes
    ----------
    level_px
        Radius of the blur disc, px; 0 where there is no structure.
    structure
        Probability that there is structure to judge by.
    """

    level_px: float
    structure: float

    @property
    def found(self) -> bool:
        """Whether the plane has structure."""
        return self.structure > _SURE


def estimate_level(windows: Sequence[NDArray[Any]], model: Model, sampling: float) -> LevelEstimate:
    """Estimate the blur level of one plane.

    Parameters
    ----------
    windows
        Parts of the plane (Y, X) in any linear unit, together normalised here.
    model
        Its estimator is used.
    sampling
        Sampling number c of the optics.

    Returns
    -------
    LevelEstimate
        Median over the windows that have structure.
    """
    values = np.concatenate([w.ravel() for w in windows]).astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return LevelEstimate(0.0, 0.0)
    dark, bright = np.percentile(values, (0.5, 99.9))
    if not bright > dark:
        return LevelEstimate(0.0, 0.0)
    device = next(model.estimator.parameters()).device
    condition = torch.tensor([[sampling]], dtype=torch.float32, device=device)
    found = []
    for window in windows:
        plane = (finite(window, keep_nan=True).astype(np.float64) - dark) / (bright - dark)
        tensor = torch.from_numpy(plane.astype(np.float32))[None, None].to(device)
        with torch.inference_mode():
            level, odds = model.estimator(tensor, condition)
        found.append((float(torch.expm1(level)), float(torch.sigmoid(odds))))
    structured = [level for level, odds in found if odds > _SURE]
    structure = max(odds for _, odds in found)
    return LevelEstimate(max(float(np.median(structured)), 0.0) if structured else 0.0, structure)


def measure_noise(windows: Sequence[NDArray[Any]], scale: float) -> float:
    """Standard deviation of the noise of one plane, in normalised intensity (counts / `scale`)."""
    found = [
        float(noise_sigma(torch.from_numpy(finite(w, keep_nan=True) / scale)[None, None]))
        for w in windows
        if min(w.shape) >= 3
    ]
    return float(np.mean(found)) if found else 0.0
