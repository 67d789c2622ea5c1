"""Specimens: what a simulated microscope looks at.

Sharp fluorescence images and phantoms, all as linear light with 0 in the dark and 1 at the brightest
structures, cut to square windows with their true surroundings where there are any and mirrored where not. They are
read, or made, when they are first looked at, and as many are kept as memory allows.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from focuslab.errors import FocusLabError, ImageError, RequestError
from focuslab.io import images_of, read
from focuslab.optics import PHANTOMS, mirror_pad, phantom
from focuslab_training.recipe import Recipe
from focuslab_training.sections import ImageSource, PhantomSource

__all__ = ["Specimen", "SpecimenPool", "load_specimens"]

Image = NDArray[np.float32]

_KEPT = 2 << 30  # bytes of specimens that are kept
_PLANES = 8  # of one file that are used
_SMALLEST = 64  # px


@dataclass(frozen=True, slots=True, eq=False)
class Specimen:
    """Linear light: where it is from, its shape (Y, X), how it is had. Parts and binnings of a file share a name."""

    name: str
    shape: tuple[int, int]
    make: Callable[[], Image]

    @property
    def light(self) -> Image:
        """Linear light (Y, X)."""
        return _kept.of(self)


class _Kept:
    """Specimens that were looked at last, up to so many bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self._images = limit, OrderedDict[Specimen, Image]()

    def of(self, specimen: Specimen) -> Image:
        if specimen not in self._images:
            self._images[specimen] = specimen.make()
            while sum(image.nbytes for image in self._images.values()) > self.limit and len(self._images) > 1:
                self._images.popitem(last=False)
        self._images.move_to_end(specimen)
        return self._images[specimen]


_kept = _Kept(_KEPT)


@dataclass(frozen=True, slots=True)
class SpecimenPool:
    """Specimens in groups, each with its relative frequency, and one sentence for each file that cannot be used."""

    groups: tuple[tuple[float, tuple[Specimen, ...]], ...]
    skipped: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of all specimens, each once."""
        return sorted({specimen.name for _, group in self.groups for specimen in group})

    def part(self, names: Collection[str]) -> "SpecimenPool":
        """Only the specimens of some names."""
        kept = [(weight, tuple(s for s in group if s.name in names)) for weight, group in self.groups]
        return replace(self, groups=tuple((weight, group) for weight, group in kept if group))

    def share(self, which: int, of: int) -> "SpecimenPool":
        """One of `of` shares of every group, of a group too small for that all of it."""
        shared = [(weight, group[which::of] if len(group) >= 2 * of else group) for weight, group in self.groups]
        return replace(self, groups=tuple(shared))

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
    """All specimens of a recipe; files that cannot be read are left out.

    Raises
    ------
    RequestError
        If the recipe needs images and there is no data folder, or nothing in it matches or can be read.
    """
    groups: list[tuple[float, tuple[Specimen, ...]]] = []
    skipped: list[str] = []
    for source in recipe.images:
        if data is None:
            raise RequestError(f"The recipe {recipe.name!r} needs images: name their folder with --data.")
        groups.append((source.weight, tuple(_found(source, data, skipped))))
    if recipe.phantoms.count:
        groups.append((recipe.phantoms.weight, tuple(_draw(recipe.phantoms))))
    return SpecimenPool(tuple(groups), tuple(skipped))


def _found(source: ImageSource, data: Path, skipped: list[str]) -> list[Specimen]:
    found: list[Specimen] = []
    before = len(skipped)
    for path in images_of(data, source.files):
        if any(fnmatch(path.name, pattern) for pattern in source.leave_out):
            continue
        try:
            stack = read(path, rgb="per-channel")
            every = list(stack.planes())
            stack.array[(*every[0], slice(0, 1), slice(0, 1))]  # can be read
            used = [every[i] for i in np.linspace(0, len(every) - 1, min(len(every), _PLANES)).astype(int)]
            if stack.dtype.kind == "f" and not all(np.isfinite(stack.plane(index)).all() for index in used):
                raise ImageError("It holds pixels that are NaN or infinite: fill them first.")
        except (FocusLabError, OSError) as error:
            skipped.append(f"{path.name}: {error}")
            continue
        first, last = (int(share * stack.plane_shape[1]) for share in source.columns)
        height, width = stack.plane_shape[0], last - first
        fitting = [bins for bins in source.bins if min(height, width) >= _SMALLEST * bins]
        if not fitting:
            skipped.append(f"{path.name}: specimens have {_SMALLEST} x {_SMALLEST} px or more, got {height} x {width}.")
        for index, bins in product(used, fitting):
            make = partial(_read_light, path, index, slice(first, last), bins)
            found.append(
                Specimen(f"{source.name}/{path.relative_to(data).as_posix()}", (height // bins, width // bins), make)
            )
    if not found:
        mine = skipped[before:]
        reason = f"the first of {len(mine)}: {mine[0]}" if mine else f"nothing matches {source.files}"
        raise RequestError(f"No image for {source.name!r} in {data.name}: {reason.rstrip('.')}.")
    return found


def _read_light(path: Path, index: tuple[int, ...], columns: slice, bins: int) -> Image:
    plane = read(path, rgb="per-channel").plane(index)[:, columns]
    return light(_bin(np.asarray(plane, np.float32), bins))


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
        Specimen(f"phantoms/{kind}_{seed}", shape, partial(phantom, kind, shape, seed=seed))
        for kind, seed in ((PHANTOMS[i % kinds], seed) for i, seed in enumerate(seeds))
    ]
