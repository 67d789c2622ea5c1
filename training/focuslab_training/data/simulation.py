"""Planes that a simulated microscope would take, drawn at random, with what they should look like elsewhere.

Drawing a microscope and its PSFs costs more than blurring a crop, so *scenes* (one microscope, one true and one given
blur level, a few target levels and all their filters) are used again, from a window of scenes that moves on slowly.

A level that is read from a plane is more or less wrong, and objectives are not what is engraved on them. So some scenes
are as said, and the others come with a doubt, the relative error of the level: the model is told a level that is off by
about as much, and nothing of an aperture and aberrations that are off as well. The planes are then restored as if all
were right, and the picture asked for is the truth at the same fraction of the way to focus. The model is told the
doubt: one that did not know it would hedge where nothing is to be doubted.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focuslab.models.frontend import PhysicsFrontEnd, bracket, exact_rungs
from focuslab.models.wiener import sharpest
from focuslab.optics import Optics, camera_otf, otf, psf
from focuslab.pixels import PERCENTILES
from focuslab_training.data.batches import MARGIN, PlaneBatch, Situation
from focuslab_training.data.draws import draw_level, draw_optics, draw_real, log_uniform
from focuslab_training.data.specimens import SpecimenPool
from focuslab_training.sections import OpticsRange

__all__ = ["Scene", "Simulator", "expose"]

_POOL = 300
_FIRST = 60  # scenes in play at the start
_OFFSET = 3.0  # px of error of a level for each unit of doubt, besides its relative error
_BORDERS = 0.15  # chance of each side of a crop to be the border of its image


@dataclass(frozen=True, slots=True)
class Scene:
    """A situation, and the truth behind it.

    Attributes
    ----------
    situation
        What the model is told.
    camera
        Photons at light 1 and read noise relative to it.
    transfer
        OTFs (n, Y, X/2+1) of the planes, of the sharpest image and of the target, on the simulation grid.
    """

    situation: Situation
    camera: tuple[float, float]
    transfer: Tensor


def expose(image: Tensor, photons: float, read: float, generator: torch.Generator) -> Tensor:
    """Image with the noise of `photons` at light 1 and read noise relative to it, as one Gaussian."""
    sigma = torch.sqrt(image.clamp(min=0) / photons + read**2)
    return image + sigma * torch.randn(image.shape, generator=generator, device=image.device)


class Simulator:
    """Endless batches of simulated planes; those of a step are a function of the seed and the step alone.

    Parameters
    ----------
    specimens
        What is imaged.
    ranges
        Microscopes and cameras.
    crop_px, batch
        Size of the crops, and their number in a step.
    scenes
        Microscopes of a step, among which its crops are shared out, a batch for each. Every one of them draws its
        scenes and specimens from a share of its own, so that processes need not make all of them.
    pairs
        Share of batches with two planes of each field.
    renew
        New scenes of each microscope per step.
    seed
        The same seed gives the same batches.
    device
        Where planes are made; another one draws other noise.
    """

    def __init__(
        self,
        specimens: SpecimenPool,
        ranges: OpticsRange,
        *,
        crop_px: int = 160,
        batch: int = 4,
        scenes: int = 1,
        pairs: float = 0.0,
        renew: float = 0.03,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.ranges, self.device = ranges, device
        self.crop, self.size, self.seed = crop_px, batch, seed
        self.scenes, self.pairs, self.renew = scenes, pairs, renew
        self._specimens = [specimens.share(i, scenes) for i in range(scenes)]
        self._scenes: OrderedDict[int, Scene] = OrderedDict()

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[PlaneBatch, ...]:
        """Batches of a step, one for each of its microscopes, or the share of one of `world` processes."""
        crops = [(i, which) for i in range(self.size // self.scenes) for which in range(self.scenes)][rank::world]
        return tuple(
            self._batch(step, which, [i for i, other in crops if other == which])
            for which in sorted({which for _, which in crops})
        )

    def _batch(self, step: int, which: int, samples: list[int]) -> PlaneBatch:
        moment = step * self.scenes + which
        rng = np.random.default_rng([self.seed, moment])
        scene, recorded = self.scene(self._round(step, rng) * self.scenes + which), self._recorded(rng)
        randoms = [np.random.default_rng([self.seed, moment, 1 + i]) for i in samples]
        return self.image(scene, randoms, recorded, self._specimens[which])

    def _round(self, step: int, rng: np.random.Generator) -> int:
        """Which round of scenes, one for each microscope, is used; a new one at once, by all of them together."""
        first, pool = -(-_FIRST // self.scenes), -(-_POOL // self.scenes)
        newest = first + int(self.renew * step)
        drawn = int(rng.integers(max(newest - pool, 0), newest))
        return newest - 1 if step and int(self.renew * (step - 1)) < int(self.renew * step) else drawn

    def scene(self, number: int) -> Scene:
        """Scene by its number; the last few hundred are kept."""
        if number not in self._scenes:
            self._scenes[number] = self._draw_scene(np.random.default_rng([self.seed, number, 0, 1]))
            if len(self._scenes) > _POOL:
                self._scenes.popitem(last=False)
        return self._scenes[number]

    def image(
        self,
        scene: Scene,
        randoms: list[np.random.Generator],
        recorded: tuple[slice, slice],
        specimens: SpecimenPool,
    ) -> PlaneBatch:
        """Take planes of random specimens in a scene, one per generator, of which rows and columns are recorded."""
        grid, situation = self.crop + 2 * MARGIN, scene.situation
        light = torch.stack([self._specimen(specimens, grid, rng) for rng in randoms])[:, None].to(self.device)
        noises = [torch.Generator(light.device).manual_seed(int(rng.integers(1 << 31))) for rng in randoms]
        spectrum = torch.fft.rfft2(light)
        clean = [torch.fft.irfft2(spectrum * h, s=(grid, grid)) for h in scene.transfer]
        count = len(situation.given)
        planes = [
            torch.stack([expose(one, *scene.camera, noise) for one, noise in zip(image, noises, strict=True)])
            for image in clean[:count]
        ]
        sharp, target = clean[count:]
        if count == 1 and 0 < situation.target < situation.given[0]:
            # Part of the way to focus, that part of the noise is gone.
            target = target + situation.target / situation.given[0] * (planes[0] - clean[0])
        inner = slice(MARGIN, MARGIN + self.crop)
        seen = planes[0][..., inner, inner].flatten(1)[:, ::3]
        dark, bright = torch.quantile(seen, torch.tensor(PERCENTILES, device=seen.device) / 100, dim=1).view(
            2, -1, 1, 1, 1
        )
        brightness = torch.tensor([math.exp(0.4 * rng.standard_normal()) for rng in randoms], dtype=torch.float32)
        scale = (bright - dark).clamp(min=1e-4) * brightness.to(seen.device).view(-1, 1, 1, 1)
        return PlaneBatch(
            situation,
            tuple((plane - dark) / scale for plane in planes),
            ((sharp - dark) / scale)[..., inner, inner],
            ((target - dark) / scale)[..., inner, inner],
            (recorded,) * len(randoms),
        )

    def _recorded(self, rng: np.random.Generator) -> tuple[slice, slice]:
        """Rows and columns that are recorded: all of them, or none beyond some sides of the crop."""
        grid = self.crop + 2 * MARGIN
        ends = rng.random((2, 2)) < _BORDERS
        rows, columns = (slice(MARGIN if low else 0, grid - MARGIN if high else grid) for low, high in ends)
        return rows, columns

    def _specimen(self, specimens: SpecimenPool, grid: int, rng: np.random.Generator) -> Tensor:
        """Specimen, some in a haze that lies on all of it."""
        light = specimens.draw(grid, rng)
        if rng.random() < 0.02:
            light = torch.zeros_like(light)  # an empty field is part of every experiment
        hazy = rng.random() < 0.4
        light = light * log_uniform(rng, 0.4, 1.2)
        return light + log_uniform(rng, 0.01, 0.5) if hazy else light

    def _draw_scene(self, rng: np.random.Generator) -> Scene:
        ranges = self.ranges
        optics = draw_optics(ranges, rng)
        level = draw_level(ranges, rng)
        doubt = 0.0 if rng.random() < ranges.sure else log_uniform(rng, *ranges.doubt)
        if rng.random() < self.pairs:
            second = float(np.clip(level * log_uniform(rng, 0.4, 2.5) + rng.uniform(-1, 1), 0, ranges.largest_level_px))
            t = rng.uniform(-0.5, 2.5)
            target = float(np.clip(level + t * (second - level), 0, ranges.largest_level_px))
            levels: tuple[float, ...] = (level, second)
            given: tuple[float, ...] = levels
            true_target = target
        else:
            levels, given, target, true_target = self._single(level, doubt, rng)
        # The slider interpolates between fixed rungs, a known shift has its own.
        needed = [0.0, *given, target]
        rungs = bracket(needed) if rng.random() < 0.5 else exact_rungs(needed)
        camera = (log_uniform(rng, *ranges.photons), log_uniform(rng, *ranges.read_noise))
        seen = draw_real(optics, doubt, rng) if doubt else optics
        transfer = self._transfer(optics, seen, [*levels, 0.0, true_target])
        return Scene(Situation(PhysicsFrontEnd(optics), given, target, rungs, doubt=doubt), camera, transfer)

    def _single(
        self, level: float, doubt: float, rng: np.random.Generator
    ) -> tuple[tuple[float], tuple[float], float, float]:
        largest = self.ranges.largest_level_px
        given = level
        if doubt:
            given = level * math.exp(rng.normal(0, doubt)) + rng.normal(0, _OFFSET * doubt)
            given = float(np.clip(given, 0.05, largest))
        if doubt or (given > 0.5 and rng.random() < 0.3):  # on the way to focus
            target = rng.uniform(0, given)
            return (level,), (given,), target, target * level / given
        target = given + (largest - given) * rng.beta(1, 2.5)
        return (level,), (given,), target, target

    def _transfer(self, optics: Optics, seen: Optics, levels: list[float]) -> Tensor:
        """OTFs of the levels as they are seen; level 0 of a target is the front end's sharpest image."""
        grid = self.crop + 2 * MARGIN
        distances = [optics.defocus_um(level) for level in levels]
        if seen.zernike_waves:
            planes = (psf(seen, distance, size=grid, device=self.device)[0] for distance in distances)
            blur = [otf(plane, (grid, grid)) for plane in planes]
        else:
            levels_px = [seen.radius_px(distance) for distance in distances]
            blur = list(camera_otf(seen, levels_px, (grid, grid), device=self.device))
        sharp = sharpest(optics, grid, self.device)
        for i in (-2, -1):
            if levels[i] == 0:
                blur[i] = sharp
        return torch.stack(blur)
