"""Triplets of planes of one field: two ends and a plane on the line through them.

The line never crosses focus: defocus is even, and on the two sides of focus codes lie on a V. All random choices are
drawn first, as `TripletDraw`, and applied afterwards, so that a batch can be told, repeated and shared out: batch
number `step` is a function of the seed and the step alone, whatever process makes it and however often a run was
interrupted.

References
----------
.. [1] I. Mazilu et al., CAIP 2023, doi 10.1007/978-3-031-44240-7_20: triplets by bisection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focuslab.models.frontend import PhysicsFrontEnd, bracket, exact_rungs
from focuslab.models.light import EVERYTHING, Window
from focuslab.optics import Optics
from focuslab_training.data.batches import PlaneBatch, Situation
from focuslab_training.data.field import BLOCK, Field

__all__ = ["CropDraw", "TripletBatch", "TripletSource", "bisection", "random_triplet"]

Triplet = tuple[int, int, int]

_PLACES = 6  # random places that each crop is chosen from
_NOISE = 0.03  # most photon noise that is added, at intensity 1
_FAINT = 0.02  # intensity below which noise no longer falls
_TO_FOCUS = 0.3  # share of random triplets that ask for the plane in focus: what users ask for most


@dataclass(frozen=True, slots=True)
class CropDraw:
    """What is random about one crop: field, place, turn (0..3), flip, brightness factor, photon noise, its seed.

    `noise` is the standard deviation of the photon noise at intensity 1, as normalised.
    """

    field: int
    y: int
    x: int
    turn: int
    flip: bool
    brightness: float
    noise: float
    seed: int


@dataclass(frozen=True, slots=True)
class TripletDraw:
    """Planes (a, b, target) of one field and a crop of them."""

    planes: Triplet
    crop: CropDraw


@dataclass(frozen=True, slots=True)
class TripletBatch:
    """Planes `a`, `b`, a third on their line and the one in focus, (B, 1, Y, X) each, normalised per stack.

    `levels` (B, 3) are the blur levels of the first three, px, `focus_px` is that of the fourth. `a` and `b` carry the
    margin; `recorded` are the rows and columns of each crop of them that lie in its image, the others are mirrored.
    """

    a: Tensor
    b: Tensor
    target: Tensor
    sharp: Tensor
    levels: Tensor
    focus_px: float
    optics: Optics
    recorded: tuple[Window, ...]


def bisection(planes: Sequence[int]) -> list[Triplet]:
    """Triplets (first, last, middle), then those of both halves, until nothing lies between [1]_."""
    if len(planes) < 3:
        return []
    half = (len(planes) - 1) // 2
    here = (planes[0], planes[-1], planes[half])
    return [here, *bisection(planes[: half + 1]), *bisection(planes[half:])]


def random_triplet(planes: Sequence[int], rng: np.random.Generator) -> Triplet:
    """Two different planes and a third, if there is one, of one side of focus: interpolation and extrapolation."""
    a, b, *others = (planes[int(i)] for i in rng.permutation(len(planes)))
    return a, b, others[0] if others else b


def triplet_to(focus: int, planes: Sequence[int], rng: np.random.Generator) -> Triplet:
    """Two different planes out of focus, in any order, and the plane in focus."""
    blurred = [plane for plane in planes if plane != focus]
    a, b = (int(v) for v in rng.choice(len(blurred), 2, replace=len(blurred) < 2))
    return blurred[a], blurred[b], focus


class TripletSource:
    """Endless batches of triplets.

    Parameters
    ----------
    fields
        Of one data set: equal numbers of planes.
    scheme
        ``bisection`` or ``random``.
    crop_px, batch, margin
        Size, number and border of the crops.
    shared
        One triplet of planes for a whole batch, from fields of the same levels: a level-aware front end needs it.
    augment
        Brightness and noise are varied; turns and flips always are.
    seed
        The same seed gives the same batches.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        scheme: str,
        *,
        crop_px: int,
        batch: int,
        margin: int = 0,
        shared: bool = False,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        self.fields, self.scheme, self.crop, self.size = tuple(fields), scheme, crop_px, batch
        self.margin, self.shared, self.augment, self.seed = margin, shared, augment, seed
        self.alike: dict[tuple[object, ...], list[int]] = {}
        for i, field in enumerate(self.fields):
            self.alike.setdefault(self._kind(field), []).append(i)

    def draws(self, step: int) -> list[TripletDraw]:
        """All that is random about a batch."""
        rng = np.random.default_rng([self.seed, step])
        first = int(rng.integers(len(self.fields)))
        alike, planes = self.alike[self._kind(self.fields[first])], self._planes(first, rng)
        if self.shared:
            return [TripletDraw(planes, self._crop(int(rng.choice(alike)), rng)) for _ in range(self.size)]
        fields = rng.integers(len(self.fields), size=self.size)
        return [TripletDraw(self._planes(int(f), rng), self._crop(int(f), rng)) for f in fields]

    def batch(self, step: int, rank: int = 0, world: int = 1) -> TripletBatch:
        """Batch of a step, or the share of one of `world` processes."""
        drawn = self.draws(step)[rank::world]
        crops, recorded = zip(*(self._cut(draw) for draw in drawn), strict=True)
        a, b, target, sharp = (torch.stack(images)[:, None] for images in zip(*crops, strict=True))
        levels = [[self.fields[d.crop.field].levels_px[p] for p in d.planes] for d in drawn]
        one = self.fields[drawn[0].crop.field]
        focus_px = one.levels_px[one.focus]
        return TripletBatch(a, b, target, sharp, torch.tensor(levels), focus_px, one.optics, recorded)

    def _planes(self, field: int, rng: np.random.Generator) -> Triplet:
        sides = self.fields[field].sides
        side = sides[int(rng.integers(len(sides)))]
        if self.scheme == "bisection" and (found := bisection(side)):
            return found[int(rng.integers(len(found)))]
        if len(side) > 2 and rng.random() < _TO_FOCUS:
            return triplet_to(self.fields[field].focus, side, rng)
        return random_triplet(side, rng)

    @staticmethod
    def _kind(field: Field) -> tuple[object, ...]:
        return field.levels_px, field.focus, field.optics.model_dump_json()

    def _crop(self, field: int, rng: np.random.Generator) -> CropDraw:
        y, x = self._place(self.fields[field], rng)
        return CropDraw(
            field,
            y,
            x,
            turn=int(rng.integers(4)),
            flip=bool(rng.random() < 0.5),
            brightness=float(np.exp(0.5 * rng.standard_normal())) if self.augment else 1.0,
            noise=float(rng.uniform(0, _NOISE)) if self.augment and rng.random() < 0.3 else 0.0,
            seed=int(rng.integers(1 << 31)),
        )

    def _place(self, field: Field, rng: np.random.Generator) -> tuple[int, int]:
        """One of a few random places, rather where there is structure: empty ground teaches little."""
        height, width = field.stack.plane_shape
        ys, xs = (rng.integers(max(n - self.crop, 0) + 1, size=_PLACES) for n in (height, width))
        weights = np.ones(_PLACES)
        if (structure := field.structure) is not None:
            blocks = max(self.crop // BLOCK, 1)
            parts = [
                structure[y // BLOCK : y // BLOCK + blocks, x // BLOCK : x // BLOCK + blocks]
                for y, x in zip(ys, xs, strict=True)
            ]
            weights = np.array([float(part.mean()) if part.size else 0.0 for part in parts]) + 1e-6
        chosen = int(rng.choice(_PLACES, p=weights / weights.sum()))
        return int(ys[chosen]), int(xs[chosen])

    def _cut(self, draw: TripletDraw) -> tuple[list[Tensor], Window]:
        """Pictures of a draw, and what of the first two lies in the image."""
        crop, field = draw.crop, self.fields[draw.crop.field]
        noise = torch.Generator().manual_seed(crop.seed)
        images, recorded = [], EVERYTHING
        for i, plane in enumerate((*draw.planes, field.focus)):
            counts, inside = field.window(plane, crop.y, crop.x, self.crop, self.margin if i < 2 else 0)
            recorded = turned(inside, counts.shape[0], crop.turn, crop.flip) if i == 0 else recorded
            window = torch.rot90(torch.from_numpy(counts) * crop.brightness, crop.turn)
            window = window.flip(0) if crop.flip else window
            if i < 2 and crop.noise:
                sigma = crop.noise * window.clamp(min=_FAINT).sqrt()
                window = window + sigma * torch.randn(window.shape, generator=noise)
            images.append(window.contiguous())
        return images, recorded


def turned(window: Window, side: int, turn: int, flip: bool) -> Window:
    """Rows and columns of a square of `side` px after it was turned by `turn` right angles, and flipped upside down."""
    rows, columns = window
    for _ in range(turn):
        rows, columns = slice(side - columns.stop, side - columns.start), rows
    return (slice(side - rows.stop, side - rows.start), columns) if flip else (rows, columns)


class PlanePairSource:
    """Triplets as the batches that a level-aware model learns from: one or two planes, pictures elsewhere.

    Parameters
    ----------
    triplets
        Shares its planes within a batch.
    pairs
        Share of steps with two planes.
    """

    def __init__(self, triplets: TripletSource, pairs: float) -> None:
        self.triplets, self.pairs = triplets, pairs

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[PlaneBatch]:
        """Batch of a step, or the share of one of `world` processes."""
        made = self.triplets.batch(step, rank, world)
        rng = np.random.default_rng([self.triplets.seed, step, 1])
        a, b, target, focus = (round(float(level), 3) for level in (*made.levels.mean(0), made.focus_px))
        pair = rng.random() < self.pairs
        needed = [0.0, a, target, focus, *([b] if pair else [])]
        situation = Situation(
            front_end=PhysicsFrontEnd(made.optics),
            given=(a, b) if pair else (a,),
            target=target,
            rungs=bracket(needed) if rng.random() < 0.5 else exact_rungs(needed),
            focus=focus,
        )
        planes = (made.a, made.b) if pair else (made.a,)
        return (PlaneBatch(situation, planes, made.sharp, made.target, made.recorded),)
