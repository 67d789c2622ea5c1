"""Pictures drawn tile by tile into wherever they go, counted as they are written, and what is said of them all.

All that draws fills its result by `fill`: a tile that does not fit into memory is cut, and the smaller size is kept.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import focuslab
from focuslab.errors import DeviceError, out_of_memory
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.intensity import finite, stored
from focuslab.refocusing.masks import unmasked
from focuslab.refocusing.plan import StackPlan
from focuslab.refocusing.tiling import GRID, Tile, tiles
from focuslab.stack import FocalStack

__all__ = ["DEFAULT_TILE", "Drawn", "Render", "Tally", "fill", "provenance_of"]

DEFAULT_TILE = 1024
_SMALLEST_TILE = 128
_CONTEXT = 512  # px around a tile of one value that are looked at

Drawn = tuple[tuple[int, ...], NDArray[np.float64]]  # index of a plane of the result, picture of a tile and beyond
Render = Callable[[Tile], Iterable[Drawn]]


@dataclass(slots=True)
class Tally:
    """What is counted while pixels are written, and the height of the tiles that fit into memory.

    `saturated` are brighter than the dtype can say, `darkened` below its least value.
    """

    tile: int = DEFAULT_TILE
    saturated: int = 0
    darkened: int = 0
    light_in: float = 0.0
    light_out: float = 0.0

    def write(
        self, out: Any, index: Any, before: NDArray[Any], picture: NDArray[np.float64], known: NDArray[np.bool_]
    ) -> None:
        """Round and clip a picture into `out[index]` and count what happens to its light.

        Pixels that are not `known` stay what they were `before`.
        """
        dtype = np.dtype(out.dtype)
        limits, half = (np.iinfo(dtype), 0.5) if dtype.kind in "ui" else (np.finfo(dtype), 0.0)
        self.saturated += int(((picture > limits.max + half) & known).sum())
        self.darkened += int(((picture < limits.min - half) & known).sum())
        made = stored(picture, dtype)
        out[index] = made if known.all() else np.where(known, made, before)
        self.light_in += float(before[known].sum(dtype=np.float64))
        self.light_out += float(made[known].sum(dtype=np.float64))

    def add(self, other: "Tally") -> None:
        """Count what another one has counted as well."""
        self.saturated += other.saturated
        self.darkened += other.darkened
        self.light_in += other.light_in
        self.light_out += other.light_out

    @property
    def drift(self) -> float:
        """Relative change of the mean intensity."""
        return (self.light_out - self.light_in) / abs(self.light_in) if self.light_in else 0.0


def fill(
    out: Any,
    stack: FocalStack,
    index: tuple[int, ...],
    render: Render,
    tally: Tally,
    plan: StackPlan,
    *,
    keep_nan: bool = False,
    beside: Sequence[FocalStack] = (),
) -> Iterator[int]:
    """Draw what is made of one plane of a stack; yields the pixels that were written, also to be stopped there.

    Pixels that are not finite are refused or kept, those that hold no light (see `masks`) are kept; also where they are
    those of stacks `beside`, of which something is drawn as well.
    """
    seen = unmasked(stack)
    waiting = list(tiles(stack.plane_shape, max(tally.tile // GRID, 1) * GRID))[::-1]
    while waiting:
        part = waiting.pop()
        counted, written, failure = Tally(), 0, None
        try:
            before, light = (np.asarray(each.array[(*index, *part.slices)]) for each in (stack, seen))
            finite(before, keep_nan)
            known = np.isfinite(light)
            if before.min() == before.max():
                known = _in_context(seen, index, part)
            for other in beside:
                pixels, theirs = (np.asarray(each.array[(*index, *part.slices)]) for each in (other, unmasked(other)))
                finite(pixels, keep_nan)
                known &= np.isfinite(theirs)
            if not (known | ~np.isfinite(before)).all():
                plan.note("Areas of one value with straight edges, as of a mask or a scale bar, stay as they are.")
            for place, picture in render(part):
                height, width = before.shape
                counted.write(out, (*place, *part.slices), before, picture[:height, :width], known)
                written += part.pixels
                yield part.pixels
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            failure = str(error)
        if failure is None:
            tally.add(counted)
            continue
        tally.tile = _half(part, failure)
        gc.collect()  # the failure and what it held are gone
        waiting = [piece for one in [*waiting, part] for piece in _cut(one, tally.tile)[::-1]]
        plan.note("Memory ran out: tiles were made smaller.")
        yield -written  # it is drawn again


def _in_context(seen: FocalStack, index: tuple[int, ...], part: Tile) -> NDArray[np.bool_]:
    """Which pixels of a tile of one value hold light: it may lie in a black frame and show no edge of it."""
    y, x = max(part.y0 - _CONTEXT, 0), max(part.x0 - _CONTEXT, 0)
    around = np.asarray(seen.array[(*index, slice(y, part.y1 + _CONTEXT), slice(x, part.x1 + _CONTEXT))])
    return np.isfinite(around[part.y0 - y : part.y1 - y, part.x0 - x : part.x1 - x])


def _half(part: Tile, failure: str) -> int:
    side = max(part.y1 - part.y0, part.x1 - part.x0)
    half = side // 2 // GRID * GRID
    if half < _SMALLEST_TILE:
        raise DeviceError(
            f"Not enough memory for a tile of {side} px ({failure}). Close other programs, or use --device cpu."
        )
    return half


def _cut(part: Tile, side: int) -> list[Tile]:
    return [
        replace(part, y0=y, y1=min(y + side, part.y1), x0=x, x1=min(x + side, part.x1))
        for y in range(part.y0, part.y1, side)
        for x in range(part.x0, part.x1, side)
    ]


def provenance_of(
    operation: str, stack: FocalStack, engine: Engine, plan: StackPlan, tally: Tally, **more: Any
) -> dict[str, Any]:
    """What is recorded of every result: the operation, what it was asked, by which model, and what came of it."""
    return {
        "focuslab": focuslab.__version__,
        "operation": operation,
        "model": engine.model.identity,
        "device": str(engine.device),
        "precision": str(engine.dtype).removeprefix("torch."),
        "tile": tally.tile,
        **more,
        "notes": plan.notes,
        "saturated_pixels": tally.saturated,
        "darkened_pixels": tally.darkened,
        "mean_intensity_drift": round(tally.drift, 6),
        **stack.history,
    }
