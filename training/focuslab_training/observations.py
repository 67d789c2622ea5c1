"""Planes for the level estimator to learn from: simulated, and reduced at once to what they say about their blur.

Real optics are never quite what the user says and real specimens never quite flat, so a share of the planes is taken
with a slightly other aperture, and a share of specimens that are a few per cent of the blur thick.
"""

import numpy as np
import torch
from torch import Tensor

from focuslab.models.evidence import SPECTRUM_BINS, TRIAL_LEVELS, Evidence, gather_evidence
from focuslab.optics import Optics, camera_otf, mirror_pad
from focuslab_training.recipe import OpticsRange
from focuslab_training.simulation import draw_level, draw_optics, expose, log_uniform
from focuslab_training.specimens import SpecimenPool

__all__ = ["Observations", "normalise"]

_SIDES = (96, 480)  # px
_MARGIN = 96
_EMPTY = 0.12
_OTHER_APERTURE = 0.5
_THICK = 0.4
_JITTER = 0.02  # of all evidence, so that the few planes are not learnt by heart


class Observations:
    """Evidence of simulated planes, kept for good: making it costs far more than learning from it.

    Parameters
    ----------
    specimens
        What is imaged.
    ranges
        Microscopes and cameras.
    seed
        The same seed gives the same planes.
    """

    def __init__(self, specimens: SpecimenPool, ranges: OpticsRange, seed: int = 0) -> None:
        self.specimens, self.ranges = specimens, ranges
        self.rng = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)
        self.rows = torch.empty(0, len(TRIAL_LEVELS) + SPECTRUM_BINS + 2 + 1)

    def add(self) -> None:
        """Take one more plane."""
        optics = draw_optics(self.ranges, self.rng)
        level = -1.0 if self.rng.random() < _EMPTY else draw_level(self.ranges, self.rng)
        side = round(log_uniform(self.rng, *_SIDES))
        plane = self._empty(side) if level < 0 else self._plane(side, optics, level)
        said = gather_evidence(normalise(plane), optics)
        self.rows = torch.cat(
            [self.rows, torch.cat([said.misfit, said.spectrum, said.facts, torch.tensor([[level]])], 1)]
        )

    def draw(self, count: int) -> tuple[Evidence, Tensor, Tensor]:
        """Evidence of `count` random planes, their levels in px, and whether there is structure in them."""
        rows = self.rows[torch.from_numpy(self.rng.integers(len(self.rows), size=count))]
        said, levels = rows[:, :-1], rows[:, -1]
        said = said + _JITTER * torch.from_numpy(self.rng.standard_normal(said.shape, dtype=np.float32))
        misfit, spectrum, facts = said.split([len(TRIAL_LEVELS), SPECTRUM_BINS, 2], 1)
        return Evidence(misfit, spectrum, facts), levels.clamp(min=0), levels >= 0

    def _plane(self, side: int, optics: Optics, level: float) -> Tensor:
        rng, ranges = self.rng, self.ranges
        seen = optics
        if rng.random() < _OTHER_APERTURE:
            other = optics.na * float(np.exp(rng.normal(0, 0.05)))
            seen = optics.replace(na=min(other, 0.97 * optics.index))
        thickness = level * rng.uniform(0, 0.15) if rng.random() < _THICK else 0.0
        slices = [abs(level + part * thickness) for part in (-1, -0.5, 0, 0.5, 1)]
        outside = 0 if rng.random() < 0.5 else _MARGIN  # half of the planes are a whole image, mirrored at its edge
        light = self.specimens.draw(side + 2 * outside, rng)
        haze = log_uniform(rng, 0.01, 0.5) if rng.random() < 0.4 else 0.0
        light = mirror_pad(light * log_uniform(rng, 0.4, 1.2) + haze, _MARGIN)
        transfer = camera_otf(seen, slices, (light.shape[-2], light.shape[-1])).mean(0)
        image = torch.fft.irfft2(torch.fft.rfft2(light) * transfer, s=light.shape[-2:])
        edge = _MARGIN + outside
        image = image[edge : edge + side, edge : edge + side]
        return expose(image, log_uniform(rng, *ranges.photons), log_uniform(rng, *ranges.read_noise), self.noise)

    def _empty(self, side: int) -> Tensor:
        """A field with nothing in it: noise, white or slightly correlated, on a slow gradient."""
        rng = self.rng
        noise = torch.from_numpy(rng.standard_normal((side + 2, side + 2), dtype=np.float32))
        smooth = torch.nn.functional.avg_pool2d(noise[None, None], 3, 1)[0, 0]
        image = smooth if rng.random() < 0.3 else noise[1:-1, 1:-1]
        y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
        a, b, c = (float(v) for v in rng.normal(0, 0.3, 3))
        return image + float(rng.integers(0, 2)) * (a * y + b * x + c * (x**2 + y**2))


def normalise(plane: Tensor) -> Tensor:
    """Plane with its 0.5th percentile at 0 and its 99.9th at 1, as the engine does."""
    dark, bright = torch.quantile(plane.flatten()[:: max(plane.numel() // 100_000, 1)], torch.tensor([0.005, 0.999]))
    return (plane - dark) / (bright - dark).clamp(min=1e-6)
