"""Planes for the level estimator to learn from: simulated, and reduced at once to what they say about their blur.

Real optics are never quite what the user says and real specimens never quite flat, so a share of the planes is taken
with a slightly other aperture, and a share of specimens that are thick, up to 15 % of their blur to either side.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from focuslab.models.evidence import CURVES, FITS, SPECTRUM_BINS, TRIAL_LEVELS, Evidence, gather_evidence
from focuslab.optics import Optics, camera_otf, mirror_pad
from focuslab.pixels import PERCENTILES
from focuslab_training.data.draws import draw_level, draw_optics, log_uniform
from focuslab_training.data.simulation import expose
from focuslab_training.data.specimens import SpecimenPool
from focuslab_training.sections import OpticsRange

__all__ = ["EvidenceBatch", "Observations", "normalise"]

_SIDES = (96, 480)  # px
_MARGIN = 96
_EMPTY = 0.12
_NEAR_FOCUS = 0.1  # share of the others that are in focus or up to 2.5 px out of it, besides those of `draw_level`
_OTHER_APERTURE = 0.5
_THICK = 0.4
_HAZY = 0.4  # share of specimens with light from far out of focus in their sharp image
_ALIKE = 0.4  # share of those whose nuclei are the very same
_PLAIN = 0.2  # share of fields with a few even, smooth-edged nuclei and nothing else
_FEW = 0.12  # share of planes of such nuclei in little light: noise drowns the edge that they are told by
_FAINT = 0.2  # share of the others with little light
_LITTLE = (40, 600)  # photons at their brightest structures
_PARTS = [CURVES * len(TRIAL_LEVELS), FITS * (1 + len(TRIAL_LEVELS)), SPECTRUM_BINS, 2]
_JITTER = 0.05  # of all evidence, so that the few planes are not learnt by heart


@dataclass(frozen=True, slots=True)
class EvidenceBatch:
    """Evidence of planes, their levels (B,) in px, and whether there is structure in them (B,)."""

    evidence: Evidence
    levels: Tensor
    structure: Tensor


class Observations:
    """Evidence of simulated planes, kept for good: making it costs far more than learning from it.

    Parameters
    ----------
    specimens
        What is imaged.
    ranges
        Microscopes and cameras.
    batch
        Planes to learn from at once.
    first, every
        Planes taken before the first step, and steps for every further one (none: no further ones).
    seed
        The same seed gives the same planes.
    """

    def __init__(
        self,
        specimens: SpecimenPool,
        ranges: OpticsRange,
        *,
        batch: int = 128,
        first: int = 64,
        every: int | None = 4,
        seed: int = 0,
    ) -> None:
        self.specimens, self.ranges = specimens, ranges
        self.size, self.first, self.every, self.seed = batch, first, every, seed
        self.rows = torch.empty(0, sum(_PARTS) + 1)

    def add(self) -> None:
        """Take one more plane."""
        self.rng = np.random.default_rng([self.seed, len(self.rows)])
        self.noise = torch.Generator().manual_seed(int(self.rng.integers(1 << 31)))
        optics = draw_optics(self.ranges, self.rng)
        level = self._level()
        side = round(log_uniform(self.rng, *_SIDES))
        plane = self._empty(side) if level < 0 else self._plane(side, optics, level)
        said = gather_evidence(normalise(plane), optics)
        row = torch.cat([*(part.flatten(1) for part in said), torch.tensor([[level]])], 1)
        self.rows = torch.cat([self.rows, row])

    def batch(self, step: int, rank: int = 0, world: int = 1) -> EvidenceBatch:
        """Random planes of those taken until a step; each of `world` processes draws its share."""
        count = self.first + (step // self.every if self.every else 0)
        while len(self.rows) < count:
            self.add()
        rng = np.random.default_rng([self.seed, step, rank, 2])
        rows = self.rows[torch.from_numpy(rng.integers(count, size=max(self.size // world, 1)))]
        said, levels = rows[:, :-1], rows[:, -1]
        said = said + _JITTER * torch.from_numpy(rng.standard_normal(said.shape, dtype=np.float32))
        misfit, fit, spectrum, facts = torch.split(said, _PARTS, 1)
        curves = misfit.reshape(len(rows), CURVES, -1), fit.reshape(len(rows), FITS, -1)
        evidence = Evidence(*curves, spectrum, facts)
        return EvidenceBatch(evidence, levels.clamp(min=0), levels >= 0)

    def _level(self) -> float:
        """Draw a level, px, -1 for a field with nothing in it; more of them than the autoencoder's about focus."""
        if self.rng.random() < _EMPTY:
            return -1.0
        if self.rng.random() >= _NEAR_FOCUS:
            return draw_level(self.ranges, self.rng)
        return 0.0 if self.rng.random() < 0.5 else float(self.rng.uniform(0, 2.5))

    def _plane(self, side: int, optics: Optics, level: float) -> Tensor:
        rng, ranges = self.rng, self.ranges
        seen = optics
        if rng.random() < _OTHER_APERTURE:
            other = optics.na * float(np.exp(rng.normal(0, 0.05)))
            seen = optics.replace(na=min(other, 0.97 * optics.index))
        depth = level * rng.uniform(0, 0.15) if rng.random() < _THICK else 0.0  # to either side of the middle
        slices = [abs(level + part * depth) for part in (-1, -0.5, 0, 0.5, 1)]
        outside = 0 if rng.random() < 0.5 else _MARGIN  # half of the planes are a whole image, mirrored at its edge
        few = rng.random() < _FEW
        light = plain_nuclei(side + 2 * outside, rng) if few else self._specimen(side + 2 * outside)
        haze = log_uniform(rng, 0.01, 0.5) if rng.random() < 0.4 else 0.0
        photons = log_uniform(rng, *ranges.photons)
        if few or rng.random() < _FAINT:
            photons = log_uniform(rng, *_LITTLE)
            if rng.random() < 0.5:  # on a background that is brighter than they are: noise is even
                haze = log_uniform(rng, 0.5, 10)
                photons *= 1 + haze
        light = mirror_pad(light * log_uniform(rng, 0.4, 1.2) + haze, _MARGIN)
        transfer = camera_otf(seen, slices, (light.shape[-2], light.shape[-1])).mean(0)
        image = torch.fft.irfft2(torch.fft.rfft2(light) * transfer, s=light.shape[-2:])
        edge = _MARGIN + outside
        image = image[edge : edge + side, edge : edge + side]
        return expose(image, photons, log_uniform(rng, *ranges.read_noise), self.noise)

    def _specimen(self, size: int) -> Tensor:
        """A window of a specimen, or of one in the haze of what lies above and below it, or plain nuclei.

        Haze is smooth in the sharpest of images: a reader that takes smoothness for defocus reads too much. And an even
        nucleus is what a point out of focus looks like: it must be told by its edge.
        """
        if self.rng.random() < _PLAIN:
            return plain_nuclei(size, self.rng)
        light = self.specimens.draw(size, self.rng)
        if self.rng.random() >= _HAZY:
            return light
        around = light if self.rng.random() < 0.5 else self.specimens.draw(size, self.rng)
        radius = log_uniform(self.rng, 2, 60)
        blurred = gaussian_filter(around.numpy(), radius / 2, mode="mirror", truncate=3)
        return light + log_uniform(self.rng, 0.1, 3) * torch.from_numpy(blurred)

    def _empty(self, side: int) -> Tensor:
        """A field with nothing in it: noise, white or slightly correlated, on a slow gradient."""
        rng = self.rng
        noise = torch.from_numpy(rng.standard_normal((side + 2, side + 2), dtype=np.float32))
        smooth = torch.nn.functional.avg_pool2d(noise[None, None], 3, 1)[0, 0]
        image = smooth if rng.random() < 0.3 else noise[1:-1, 1:-1]
        y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
        a, b, c = (float(v) for v in rng.normal(0, 0.3, 3))
        return image + float(rng.integers(0, 2)) * (a * y + b * x + c * (x**2 + y**2))


def plain_nuclei(size: int, rng: np.random.Generator) -> Tensor:
    """A few even ellipses (size, size) of about the same brightness, 1 at their brightest, and about one size.

    Some are discs of the very same size, as beads are: their spectrum has the dips of a somewhat wider blur.
    """
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    light = torch.zeros(size, size)
    radius, alike = log_uniform(rng, 3, 25), rng.random() < _ALIKE
    for _ in range(int(rng.integers(1, 9))):
        (cy, cx), angle = rng.uniform(0, size, 2), rng.uniform(0, math.pi)
        long, short = radius * rng.uniform(0.8, 1.25), radius * rng.uniform(0.6, 1)
        if alike:
            long = short = radius
        u = (math.cos(angle) * (x - cx) + math.sin(angle) * (y - cy)) / long
        v = (math.cos(angle) * (y - cy) - math.sin(angle) * (x - cx)) / short
        inside = torch.sigmoid((1 - torch.hypot(u, v)) * short * 2)
        light = torch.maximum(light, inside * float(rng.uniform(0.6, 1)))
    return light


def normalise(plane: Tensor) -> Tensor:
    """Plane with its 0.5th percentile at 0 and its 99.9th at 1, as the engine does."""
    dark, bright = torch.quantile(plane.flatten()[:: max(plane.numel() // 100_000, 1)], torch.tensor(PERCENTILES) / 100)
    return (plane - dark) / (bright - dark).clamp(min=1e-6)
