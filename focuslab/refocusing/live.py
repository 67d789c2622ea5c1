"""Live views: what a slider draws, encoded once per region and decoded at every move.

A view is asked for a rectangle of its plane and a position on the line. Of the rectangle only what no earlier answer
covers is encoded; then two pictures follow, each of the whole rectangle: a fast one, from the ladder of fixed levels
and without the network, and the exact one, on a ladder made for this very level: what applying it to the file gives.
A rectangle that is too large to be drawn at a slider's pace is drawn from pixels binned by `bins_for`: the optics
bin with them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from focuslab.errors import RequestError
from focuslab.models.autoencoder import ladder_at
from focuslab.models.frontend import LADDER, exact_rungs
from focuslab.models.latent import Encoded, LatentCode, along_line, between_codes, window
from focuslab.pixels import LazyPixels, Region
from focuslab.refocusing.engine import Engine, PlaneFacts
from focuslab.refocusing.masks import unmasked
from focuslab.refocusing.tiling import GRID, Tile, read_region
from focuslab.stack import FocalStack

__all__ = ["LiveView", "Picture", "binned", "bins_for"]

_LARGEST = 1280 * 1280  # px that are drawn at once
_KEPT = 2 << 20  # px whose codes are held


@dataclass(frozen=True, slots=True)
class Picture:
    """Counts (Y, X), float32, of the rectangle asked for; `exact` or fast."""

    counts: NDArray[np.float32]
    exact: bool


def bins_for(height: int, width: int) -> int:
    """Pixels per side of a bin with which a region of (height, width) px can be drawn live: a power of two."""
    bins = 1
    while height * width > _LARGEST * bins**2:
        bins *= 2
    return bins


def binned(stack: FocalStack, bins: int) -> FocalStack:
    """Stack whose pixels are means of `bins` x `bins` ones, lazy; rows and columns left over at the end are dropped."""
    if bins == 1:
        return stack
    pixel = stack.calibration.pixel_size_um
    said = stack.calibration.replace(pixel_size_um=None if pixel is None else pixel * bins)
    return replace(stack, array=_Binned(stack, bins), calibration=said)


class _Binned(LazyPixels):
    """Means of bins of pixels."""

    def __init__(self, stack: FocalStack, bins: int) -> None:
        self._array, self._bins = stack.array, bins
        height, width = stack.plane_shape
        self.shape = (*stack.shape[:-2], height // bins, width // bins)
        self.dtype = np.dtype(np.float32)

    def _read(self, region: Region) -> NDArray[np.float32]:
        *lead, rows, columns = region
        wide = [slice(part.start * self._bins, part.stop * self._bins) for part in (rows, columns)]
        pixels = np.asarray(self._array[(*lead, *wide)], np.float32)
        y, x = (n // self._bins for n in pixels.shape[-2:])
        means = pixels.reshape(*pixels.shape[:-2], y, self._bins, x, self._bins).mean((-3, -1))
        return np.asarray(means[..., :: rows.step, :: columns.step])


class LiveView:
    """One plane, moved by a shift in px of blur, or two planes of a field, on whose line t is drawn.

    Parameters
    ----------
    stack
        What the planes are read from.
    planes
        Index and facts of one plane, or of two.
    engine
        Model and device.
    largest_px
        Blur level, px, up to which it will be moved: less for binned pixels, whose kernels are costly.
    """

    def __init__(
        self,
        stack: FocalStack,
        planes: Sequence[tuple[tuple[int, ...], PlaneFacts]],
        engine: Engine,
        largest_px: float = LADDER[-1],
    ) -> None:
        self.stack, self.planes, self.engine = stack, tuple(planes), engine
        self._seen = unmasked(stack)
        needed = sum(rung < largest_px for rung in LADDER) + 1
        # The planes' own levels are rungs, so that remainders are exact.
        self._rungs = tuple(sorted({*LADDER[:needed], *exact_rungs([facts.level_px for _, facts in planes])}))
        self._known: list[_Region] = []

    def missing(self, tile: Tile) -> list[Tile]:
        """Parts of a rectangle that are not encoded yet."""
        rest = [_on_grid(tile)]
        for known in self._known:
            rest = [piece for part in rest for piece in _without(part, known.tile)]
        return rest

    def encode(self, tile: Tile) -> Iterator[Tile]:
        """Encode what is missing of a rectangle, part by part.

        What is too much to be held goes first: regions outside the rectangle, the oldest before others, and if that is
        not enough, all of them; then the rectangle is encoded as a whole.
        """
        self._make_room(tile)
        for part in self.missing(tile):
            codes = [self._encode(part, *plane) for plane in self.planes]
            self._known.append(_Region(part, codes, self._kept(part)))
            yield part

    def _make_room(self, tile: Tile) -> None:
        new = sum(part.pixels for part in self.missing(tile))
        for region in [known for known in self._known if _common(known.tile, tile) is None]:
            if new + sum(known.tile.pixels for known in self._known) > _KEPT:
                self._known.remove(region)
        if new + sum(known.tile.pixels for known in self._known) > _KEPT:
            self._known.clear()

    def pictures(self, tile: Tile, position: float) -> Iterator[Picture]:
        """The rectangle at a position of the line, fast and then exact.

        Raises
        ------
        RequestError
            If not all of it is encoded.
        """
        if lacking := self.missing(tile):
            raise RequestError(f"A rectangle is drawn once it is encoded; {len(lacking)} parts are missing: encode it.")
        regions = list(self._known)  # another thread may turn the view to another rectangle meanwhile
        for exact in (False, True):
            counts = np.empty((tile.y1 - tile.y0, tile.x1 - tile.x0), np.float32)
            for known in regions:
                if (part := _common(tile, known.tile)) is not None:
                    inside = (slice(part.y0 - tile.y0, part.y1 - tile.y0), slice(part.x0 - tile.x0, part.x1 - tile.x0))
                    counts[inside] = self._draw(known, part, position, exact)
                    if known.kept is not None:
                        y, x = part.y0 - known.tile.y0, part.x0 - known.tile.x0
                        kept = known.kept[y : y + part.y1 - part.y0, x : x + part.x1 - part.x0]
                        counts[inside] = np.where(np.isnan(kept), counts[inside], kept)
            if self.stack.dtype.kind in "ui":  # as far as the pixels go, like what is applied
                limits = np.iinfo(self.stack.dtype)
                counts = counts.clip(limits.min, limits.max)
            yield Picture(counts, exact)

    def _kept(self, part: Tile) -> NDArray[np.float32] | None:
        """Pixels that hold no light and stay as they are, NaN elsewhere; None if there are none."""
        where = (*self.planes[0][0], *part.slices)
        pixels, light = (np.asarray(stack.array[where], np.float32) for stack in (self.stack, self._seen))
        lost = np.isnan(light) & np.isfinite(pixels)
        return np.where(lost, pixels, np.nan) if lost.any() else None

    def _encode(self, part: Tile, index: tuple[int, ...], facts: PlaneFacts) -> "_Coded":
        halo = self.engine.halo(facts, self._rungs)
        coded = self.engine.encode(read_region(self._seen, index, part, halo, keep_nan=True), facts, self._rungs)
        near = self.engine.ladder_halo(facts, self._rungs)
        return _Coded(coded.code, coded.direction, coded.source.clone(), near)

    def _draw(self, known: "_Region", part: Tile, position: float, exact: bool) -> NDArray[np.float32]:
        """Counts of a part of an encoded region, whose codes have a halo of the decoder's reach."""
        halo, wanted = self.engine.model.autoencoder.decoder_halo, _on_grid(part)
        y, x = wanted.y0 - known.tile.y0, wanted.x0 - known.tile.x0
        rows = slice(y, y + wanted.y1 - wanted.y0 + 2 * halo)
        columns = slice(x, x + wanted.x1 - wanted.x0 + 2 * halo)
        near = [(window(c.code, rows, columns), window(c.direction, rows, columns)) for c in known.codes]
        if exact:
            near = [
                self._on_exact_rung(
                    *one, c.source[..., y : rows.stop + 2 * c.halo, x : columns.stop + 2 * c.halo], f, position
                )
                for one, c, (_, f) in zip(near, known.codes, self.planes, strict=True)
            ]
        moved = along_line(*near[0], position) if len(near) == 1 else between_codes(near[0], near[1], position)
        intensity = self.planes[0][1].intensity
        made = self.engine.decode(moved, intensity) if exact else intensity.counts(_fast(moved, halo))
        y, x = part.y0 - wanted.y0, part.x0 - wanted.x0
        return made[y : y + part.y1 - part.y0, x : x + part.x1 - part.x0].astype(np.float32)

    def _on_exact_rung(
        self, code: LatentCode, along: LatentCode, source: Tensor, facts: PlaneFacts, position: float
    ) -> Encoded:
        """Code of a rectangle, and its direction, on a ladder made for the position."""
        first, last = self.planes[0][1].level_px, self.planes[-1][1].level_px
        rungs = exact_rungs([first + (position * (last - first) if len(self.planes) == 2 else position)])
        if set(rungs) <= set(code.rungs):  # no move at all: the code's own ladder gives the plane itself
            return code, along
        exact = self.engine.on_rungs(code, source, facts, rungs)
        return exact, replace(along, rungs=exact.rungs)


@dataclass(frozen=True, slots=True)
class _Coded:
    """Code of a region, its direction and its source, with `halo` pixels more than the code on every side."""

    code: LatentCode
    direction: LatentCode
    source: Tensor
    halo: int


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """A rectangle and what is known of it, for each plane of the view; `kept` is of what is no light in the first."""

    tile: Tile
    codes: list[_Coded]
    kept: NDArray[np.float32] | None


def _fast(code: LatentCode, halo: int) -> NDArray[np.float32]:
    """The physics copy at the level of a code, and its remainder, without the network."""
    picture = ladder_at(code)
    picture = picture if code.remainder is None else picture + code.remainder
    return np.asarray(picture[0, 0, halo:-halo, halo:-halo].cpu(), np.float32)


def _on_grid(tile: Tile) -> Tile:
    return Tile(tile.y0 // GRID * GRID, -(-tile.y1 // GRID) * GRID, tile.x0 // GRID * GRID, -(-tile.x1 // GRID) * GRID)


def _common(a: Tile, b: Tile) -> Tile | None:
    """What two rectangles have in common."""
    both = Tile(max(a.y0, b.y0), min(a.y1, b.y1), max(a.x0, b.x0), min(a.x1, b.x1))
    return both if both.y0 < both.y1 and both.x0 < both.x1 else None


def _without(tile: Tile, other: Tile) -> list[Tile]:
    """A rectangle without another one: up to four."""
    hole = _common(tile, other)
    if hole is None:
        return [tile]
    parts = [
        Tile(tile.y0, hole.y0, tile.x0, tile.x1),
        Tile(hole.y1, tile.y1, tile.x0, tile.x1),
        Tile(hole.y0, hole.y1, tile.x0, hole.x0),
        Tile(hole.y0, hole.y1, hole.x1, tile.x1),
    ]
    return [part for part in parts if part.y0 < part.y1 and part.x0 < part.x1]
