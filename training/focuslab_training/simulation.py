"""Planes that a simulated microscope would take, drawn at random, with what they should look like elsewhere.

Drawing a microscope and its PSFs costs more than blurring a crop, so *situations* (one microscope, one true and
one given blur level, a few target levels and all their filters) are kept in a pool that renews itself.

The level that the model is given may be wrong, as an estimate is: the planes are then restored as if it were
right, and the picture asked for is the truth at the same fraction of the way to focus.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focuslab.models.frontend import PhysicsFrontEnd, bracket, exact_rungs
from focuslab.models.wiener import sharpest
from focuslab.optics import Optics, mirror_pad, otf, psf
from focuslab_training.recipe import OpticsRange
from focuslab_training.specimens import SpecimenPool

__all__ = ["MARGIN", "PlaneBatch", "Simulator", "Situation", "draw_level", "draw_optics", "expose", "log_uniform"]

MARGIN = 144  # px around a crop that the front end may look at
_POOL = 300
_FIRST = 60  # situations drawn before any is used again


@dataclass(frozen=True, slots=True)
class Situation:
    """One microscope at fixed levels.

    Attributes
    ----------
    front_end
        Filters of the microscope.
    levels
        True blur levels of the planes, px: one, or two for a pair.
    given
        The levels that the model is told.
    target
        Blur level of a second picture to ask for, px, on the given scale; the first is the sharpest.
    rungs
        Ladder of the codes.
    camera
        Photons at light 1 and read noise relative to it.
    transfer
        OTFs (n, Y, X/2+1) of the planes, of the sharpest image and of the target, on the simulation grid.
    """

    front_end: PhysicsFrontEnd
    levels: tuple[float, ...]
    given: tuple[float, ...]
    target: float
    rungs: tuple[float, ...]
    camera: tuple[float, float]
    transfer: Tensor

    @property
    def sampling(self) -> float:
        """Sampling number c."""
        return self.front_end.optics.sampling


@dataclass(frozen=True, slots=True)
class PlaneBatch:
    """Noisy planes of one situation and noise-free pictures, all (B, 1, Y, X), normalised by the first plane.

    `planes` carry the margin, `sharp` and `target` do not.
    """

    situation: Situation
    planes: tuple[Tensor, ...]
    sharp: Tensor
    target: Tensor


def draw_optics(ranges: OpticsRange, rng: np.random.Generator) -> Optics:
    """Draw a microscope whose Airy radius on the camera is within the range."""
    while True:
        index = float(rng.choice(ranges.index))
        optics = Optics(
            na=index * log_uniform(rng, *ranges.na_over_index),
            index=index,
            wavelength_um=float(rng.uniform(*ranges.wavelength_um)),
            pixel_size_um=log_uniform(rng, *ranges.pixel_size_um),
        )
        if optics.airy_radius_px <= ranges.largest_airy_px:
            return optics


def draw_level(ranges: OpticsRange, rng: np.random.Generator) -> float:
    """Draw a blur level, px: some planes in focus, some hardly blurred, the others evenly on a logarithmic scale."""
    draw = rng.random()
    if draw < 0.1:
        return 0.0
    if draw < 0.2:
        return float(rng.uniform(0, 2))
    return log_uniform(rng, 1.5, ranges.largest_level_px)


def expose(image: Tensor, photons: float, read: float, generator: torch.Generator) -> Tensor:
    """Image with the noise of `photons` at light 1 and read noise relative to it, as one Gaussian."""
    sigma = torch.sqrt(image.clamp(min=0) / photons + read**2)
    return image + sigma * torch.randn(image.shape, generator=generator)


class Simulator:
    """Endless source of batches.

    Parameters
    ----------
    specimens
        What is imaged.
    ranges
        Microscopes and cameras.
    crop_px, batch
        Size and number of the crops.
    pairs
        Share of batches with two planes of each field.
    renew
        New situations per batch.
    seed
        The same seed gives the same batches.
    """

    def __init__(
        self,
        specimens: SpecimenPool,
        ranges: OpticsRange,
        *,
        crop_px: int = 160,
        batch: int = 4,
        pairs: float = 0.0,
        renew: float = 0.03,
        seed: int = 0,
    ) -> None:
        self.specimens, self.ranges = specimens, ranges
        self.crop, self.batch, self.pairs, self.renew = crop_px, batch, pairs, renew
        self.rng = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)
        self.pool: list[Situation] = []

    def next(self) -> PlaneBatch:
        """Draw a batch."""
        return self.image(self._situation())

    def image(self, situation: Situation) -> PlaneBatch:
        """Take planes of random specimens in a situation."""
        grid = self.crop + 2 * MARGIN
        light = torch.stack([self._specimen(grid) for _ in range(self.batch)])[:, None]
        spectrum = torch.fft.rfft2(light)
        clean = [torch.fft.irfft2(spectrum * h, s=(grid, grid)) for h in situation.transfer]
        count = len(situation.levels)
        planes = [expose(image, *situation.camera, self.noise) for image in clean[:count]]
        sharp, target = clean[count:]
        if count == 1 and 0 < situation.target < situation.given[0]:
            # Part of the way to focus, that part of the noise is gone.
            target = target + situation.target / situation.given[0] * (planes[0] - clean[0])
        inner = slice(MARGIN, MARGIN + self.crop)
        seen = planes[0][..., inner, inner].flatten(1)[:, ::3]
        dark, bright = torch.quantile(seen, torch.tensor([0.005, 0.999]), dim=1).view(2, -1, 1, 1, 1)
        scale = (bright - dark).clamp(min=1e-4) * torch.exp(0.4 * torch.randn(dark.shape, generator=self.noise))
        return PlaneBatch(
            situation,
            tuple(self._edge((p - dark) / scale) for p in planes),
            ((sharp - dark) / scale)[..., inner, inner],
            ((target - dark) / scale)[..., inner, inner],
        )

    def _specimen(self, grid: int) -> Tensor:
        light = self.specimens.draw(grid, self.rng)
        if self.rng.random() < 0.02:
            light = torch.zeros_like(light)  # an empty field is part of every experiment
        haze = self.rng.random() < 0.4
        return light * log_uniform(self.rng, 0.4, 1.2) + (log_uniform(self.rng, 0.01, 0.5) if haze else 0.0)

    def _edge(self, plane: Tensor) -> Tensor:
        """Half of the crops are at the border of their image: what lies outside is mirrored."""
        if self.rng.random() < 0.5:
            return plane
        return mirror_pad(plane[..., MARGIN : MARGIN + self.crop, MARGIN : MARGIN + self.crop], MARGIN)

    def _situation(self) -> Situation:
        if len(self.pool) < _FIRST or self.rng.random() < self.renew:
            new = self._draw_situation()
            if len(self.pool) >= _POOL:
                self.pool[int(self.rng.integers(_POOL))] = new
            else:
                self.pool.append(new)
            return new
        return self.pool[int(self.rng.integers(len(self.pool)))]

    def _draw_situation(self) -> Situation:
        rng, ranges = self.rng, self.ranges
        optics = draw_optics(ranges, rng)
        level = draw_level(self.ranges, self.rng)
        if rng.random() < self.pairs:
            second = float(np.clip(level * log_uniform(rng, 0.4, 2.5) + rng.uniform(-1, 1), 0, ranges.largest_level_px))
            t = rng.uniform(-0.5, 2.5)
            target = float(np.clip(level + t * (second - level), 0, ranges.largest_level_px))
            levels = given = (level, second)
            true_target = target
        else:
            levels, given, target, true_target = self._single(level)
        # The slider interpolates between fixed rungs, a known shift has its own.
        needed = [0.0, *given, target]
        rungs = bracket(needed) if rng.random() < 0.5 else exact_rungs(needed)
        camera = (log_uniform(rng, *ranges.photons), log_uniform(rng, *ranges.read_noise))
        transfer = self._transfer(optics, [*levels, 0.0, true_target])
        return Situation(PhysicsFrontEnd(optics), levels, given, target, rungs, camera, transfer)

    def _single(self, level: float) -> tuple[tuple[float], tuple[float], float, float]:
        rng, largest = self.rng, self.ranges.largest_level_px
        given = level
        wrong = rng.random() < self.ranges.wrong_levels
        if wrong:
            given = level * math.exp(rng.normal(0, self.ranges.level_error)) + rng.normal(0, 0.3)
            given = float(np.clip(given, 0.05, largest))
        if wrong or (given > 0.5 and rng.random() < 0.3):  # on the way to focus
            target = rng.uniform(0, given)
            return (level,), (given,), target, target * level / given
        target = given + (largest - given) * rng.beta(1, 2.5)
        return (level,), (given,), target, target

    def _transfer(self, optics: Optics, levels: list[float]) -> Tensor:
        """OTFs of the levels; level 0 of a target is the front end's sharpest image."""
        grid = self.crop + 2 * MARGIN
        blur = [otf(psf(optics, optics.defocus_um(level), size=grid)[0], (grid, grid)) for level in levels]
        sharp = sharpest(optics, grid)
        for i in (-2, -1):
            if levels[i] == 0:
                blur[i] = sharp
        return torch.stack(blur)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))
