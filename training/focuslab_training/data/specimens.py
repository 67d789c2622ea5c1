"""Specimens: what a simulated microscope looks at.

Sharp fluorescence images and phantoms, all as linear light with 0 in the dark and 1 at the brightest
structures, cut to square windows with their true surroundings where there are any and mirrored where not.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from focuslab.errors import RequestError
from focuslab.io import read
from focuslab.optics import PHANTOMS, mirror_pad, phantom
from focuslab_training.recipe import ImageSource, PhantomSource, Recipe

__all__ = ["Specimen", "SpecimenPool", "load_specimens"]

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Specimen:
    """Linear light (Y, X) and where it is from; parts and binnings of one file share their name."""

    name: str
    light: Image


@dataclass(frozen=True, slots=True)
class SpecimenPool:
    """Specimens in groups, each with its relative frequency."""

    groups: tuple[tuple[float, tuple[Specimen, ...]], ...]

    @property
    def names(self) -> list[str]:
        """Names of all specimens, each once."""
        return sorted({specimen.name for _, group in self.groups for specimen in group})

    def part(self, names: Collection[str]) -> "SpecimenPool":
        """Only the specimens of some names."""
        kept = [(weight, tuple(s for s in group if s.name in names)) for weight, group in self.groups]
        return replace(self, groups=tuple((weight, group) for weight, group in kept if group))

    def draw(self, size: int, rng: np.random.Generator) -> Tensor:
        """One random window (size, size) of a random specimen, turned and flipped."""
        weights = np.array([weight for weight, _ in self.groups])
        group = self.groups[rng.choice(len(self.groups), p=weights / weights.sum())][1]
        image = group[rng.integers(len(group))].light
        y, x = (int(rng.integers(max(n - size, 0) + 1)) for n in image.shape)
        window = torch.from_numpy(image[y : y + size, x : x + size])
        window = torch.rot90(window, int(rng.integers(4)))
        window = window.flip(0) if rng.random() < 0.5 else window
        short = size - min(window.shape)
        if short > 0:
            window = mirror_pad(window, short)
            y, x = (int(rng.integers(n - size + 1)) for n in window.shape)
            window = window[y : y + size, x : x + size]
        return window


def load_specimens(recipe: Recipe, data: Path | None) -> SpecimenPool:
    """All specimens of a recipe, in memory.

    Raises
    ------
    RequestError
        If the recipe needs images and there is no data folder, or nothing in it matches.
    """
    groups = []
    for source in recipe.images:
        if data is None:
            raise RequestError(f"The recipe {recipe.name!r} needs images: name their folder with --data.")
        groups.append((source.weight, tuple(_load(source, data))))
    if recipe.phantoms.count:
        groups.append((recipe.phantoms.weight, tuple(_draw(recipe.phantoms))))
    return SpecimenPool(tuple(groups))


def _load(source: ImageSource, data: Path) -> list[Specimen]:
    found: list[Specimen] = []
    for path in sorted(data.glob(source.files)):
        if any(fnmatch(path.name, pattern) for pattern in source.leave_out):
            continue
        planes = np.asarray(read(path, rgb="per-channel").array, np.float32)
        planes = planes.reshape(-1, *planes.shape[-2:])
        for plane in planes[np.linspace(0, len(planes) - 1, min(len(planes), 8)).astype(int)]:
            part = plane[:, : int(source.left_part * plane.shape[1])]
            found += [
                Specimen(f"{source.name}/{path.name}", light(_bin(part, bins)))
                for bins in source.bins
                if min(part.shape) >= 64 * bins
            ]
    if not found:
        raise RequestError(f"No image for {source.name!r}: nothing matches {source.files} in {data.name}.")
    return found


def light(image: Image) -> Image:
    """Linear light from counts: the 1st percentile dark, the 99.9th bright."""
    low, high = np.percentile(image, (1, 99.9))
    return np.clip((image - low) / max(high - low, 1e-6), 0, 2.5).astype(np.float32)


def _bin(image: Image, bins: int) -> Image:
    y, x = (n // bins * bins for n in image.shape)
    return image[:y, :x].reshape(y // bins, bins, x // bins, bins).mean((1, 3))


def _draw(source: PhantomSource) -> list[Specimen]:
    shape, kinds = (source.size_px, source.size_px), len(PHANTOMS)
    seeds = range(source.first_seed, source.first_seed + source.count)
    return [
        Specimen(f"phantoms/{PHANTOMS[i % kinds]}_{seed}", phantom(PHANTOMS[i % kinds], shape, seed=seed))
        for i, seed in enumerate(seeds)
    ]
