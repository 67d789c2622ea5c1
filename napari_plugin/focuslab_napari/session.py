"""What stays loaded between the moves of a slider, without Qt: the model, the levels of planes, their live views.

Everything here runs in worker threads, one step of one request at a time.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from focuslab.errors import RequestError
from focuslab.optics.optics import Optics
from focuslab_napari.layers import LayerImage

if TYPE_CHECKING:
    from focuslab.refocusing import Engine, PlaneFacts
    from focuslab.refocusing.levels import LevelEstimate
    from focuslab.refocusing.live import LiveView, Picture
    from focuslab.refocusing.tiling import Tile

__all__ = ["Encoding", "LevelFound", "Move", "Session", "ViewRequest"]

_VIEWS = 2  # live views kept


@dataclass(frozen=True, slots=True)
class Move:
    """Where to: a shift in ``um`` or ``px`` of blur, or t on the ``line`` of two planes."""

    value: float
    unit: str

    def position(self, facts: "PlaneFacts", bins: int = 1) -> float:
        """Position as a live view of binned pixels takes it."""
        if self.unit == "um":
            return facts.optics.shift_px(self.value)
        return self.value / bins if self.unit == "px" else self.value


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """A picture to be drawn: of which pixels, by which model, where to.

    Attributes
    ----------
    content
        Names the pixels: layer and version of its data.
    rectangle
        Rows and columns y0, y1, x0, x1 of the plane, px.
    planes
        Index of one plane of the stack, or of two.
    levels_px
        Their levels where the user typed them, else None.
    doubt
        Relative error of the levels to allow for; None: what their estimates say.
    """

    content: tuple[Any, ...]
    image: LayerImage
    rectangle: tuple[int, int, int, int]
    planes: tuple[tuple[int, ...], ...]
    levels_px: tuple[float | None, ...]
    move: Move
    model: str
    device: str
    doubt: float | None = None

    @property
    def view(self) -> tuple[Any, ...]:
        """What is on screen: requests of one view differ in where to only."""
        return self.content, self.planes, self.rectangle, self.model, self.device, self.image.stack.calibration

    def bins(self, counts: NDArray[Any]) -> int:
        """Camera pixels per side of one pixel of a picture of the rectangle."""
        return max(round((self.rectangle[3] - self.rectangle[2]) / counts.shape[-1]), 1)

    def corner(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Centre of the first pixel of such a picture, px of the plane."""
        bins = self.bins(counts)  # a picture begins with a whole bin
        return np.array([self.rectangle[0], self.rectangle[2]]) // bins * bins + (bins - 1) / 2


@dataclass(frozen=True, slots=True)
class LevelFound:
    """Level of a plane, px, as typed or as read from it, and its optics (None: nominal)."""

    index: tuple[int, ...]
    level_px: float
    estimate: "LevelEstimate | None"
    optics: Optics | None

    @property
    def doubt(self) -> float:
        """Relative error to be expected: what is typed is taken at its word."""
        return 0.0 if self.estimate is None else self.estimate.doubt


@dataclass(frozen=True, slots=True)
class Encoding:
    """A part of the view is being encoded; `bins` camera pixels make one of the picture."""

    pixels: int
    bins: int


@dataclass(slots=True)
class Session:
    """Engine, levels and views, kept while they are of use."""

    _engines: dict[tuple[str, str], "Engine"] = field(default_factory=dict)
    _maps: dict[Any, Any] = field(default_factory=dict)
    _levels: dict[Any, Any] = field(default_factory=dict)
    _views: dict[Any, "LiveView"] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.RLock)
    _stale: bool = False

    def engine(self, model: str, device: str) -> "Engine":
        """Engine of a model, by name or path, on a device; the last one is kept, unless it has been trained further."""
        from focuslab.models.zoo import load_model
        from focuslab.refocusing import Engine

        with self._lock:
            kept = self._engines.get((model, device))
            if kept is None or _trained_since(model, kept.model.card.sha256):
                self._engines = {(model, device): Engine(load_model(model), device)}
                self._levels.clear()
                self._views.clear()
            return self._engines[model, device]

    def look_again(self) -> None:
        """Read the pixels anew at the next request: they may have been changed in place, which nobody tells."""
        self._stale = True

    def device_of(self, model: str, device: str) -> str | None:
        """Where a model computes, if it does: never waits for what is computed."""
        kept = self._engines.get((model, device))
        return None if kept is None else str(kept.device)

    def pictures(self, request: ViewRequest) -> "Iterator[LevelFound | Encoding | Picture]":
        """Levels as they become known, then the pictures; may be left at any yield."""
        steps = self._steps(request)
        while True:
            with self._lock:  # a contact sheet and the preview draw from the same views
                try:
                    made = next(steps)
                except StopIteration:
                    return
            yield made

    def _steps(self, request: ViewRequest) -> "Iterator[LevelFound | Encoding | Picture]":
        from focuslab.refocusing.checks import check_size

        stack = request.image.stack
        check_size(stack)
        self._drop_others(request.content)
        engine = self.engine(request.model, request.device)
        known = []
        for index, level in zip(request.planes, request.levels_px, strict=True):
            found = self.level(request, engine, index, level)
            yield found
            known.append(found)
        view, tile, bins = self._view(request, engine, known)
        while view.missing(tile):
            yield Encoding(tile.pixels, bins)
            for _ in view.encode(tile):
                yield Encoding(tile.pixels, bins)
        position = request.move.position(view.planes[0][1], bins)
        yield from view.pictures(tile, position)

    def _drop_others(self, content: tuple[Any, ...]) -> None:
        """Forget what is known of other pixels: views are large."""
        stale, self._stale = self._stale, False
        for kept in (self._maps, self._levels, self._views):
            for key in [key for key in kept if stale or key[0] != content]:
                del kept[key]

    def level(self, request: ViewRequest, engine: "Engine", index: tuple[int, ...], typed: float | None) -> LevelFound:
        """Level of a plane: typed, or read once."""
        from focuslab.refocusing.levels import estimate_level
        from focuslab.refocusing.masks import unmasked
        from focuslab.refocusing.sampling import structured_windows

        stack = request.image.stack
        optics = stack.optics(stack.position(index, "C"))
        if typed is not None:
            return LevelFound(index, typed, None, optics)
        key = (request.content, index, repr(optics), request.model)
        if key not in self._levels:
            windows = structured_windows(unmasked(stack), index)
            self._levels[key] = estimate_level(windows, engine.model, optics or Optics.nominal())
        estimate = self._levels[key]
        return LevelFound(index, estimate.within(stack.plane_shape, engine.model), estimate, optics)

    def _view(self, request: ViewRequest, engine: "Engine", known: list[LevelFound]) -> "tuple[LiveView, Tile, int]":
        """Live view of the planes, and the rectangle in its pixels."""
        from focuslab.refocusing.live import LiveView, binned, bins_for
        from focuslab.refocusing.masks import unmasked
        from focuslab.refocusing.plan import plane_facts
        from focuslab.refocusing.sampling import structured_windows
        from focuslab.refocusing.tiling import Tile

        stack, (y0, y1, x0, x1) = request.image.stack, request.rectangle
        bins = bins_for(y1 - y0, x1 - x0)
        doubts = [found.doubt if request.doubt is None else request.doubt for found in known]
        levels = tuple(zip((found.level_px for found in known), doubts, strict=True))
        key = (request.content, request.planes, levels, tuple(repr(f.optics) for f in known), bins, request.model)
        if key not in self._views:
            small = binned(stack if bins == 1 else unmasked(stack), bins)
            planes = []
            for found, doubt in zip(known, doubts, strict=True):
                optics = found.optics or Optics.nominal()
                optics = optics.replace(pixel_size_um=optics.pixel_size_um * bins)
                intensity = self._map(request, found.index)
                level = found.level_px / bins
                facts = plane_facts(structured_windows(unmasked(small), found.index), level, optics, intensity, doubt)
                planes.append((found.index, facts))
            while len(self._views) >= _VIEWS:
                del self._views[next(iter(self._views))]
            self._views[key] = LiveView(small, planes, engine, engine.model.card.levels_px[1] / bins)
        return self._views[key], Tile(*(n // bins for n in request.rectangle)), bins

    def _map(self, request: ViewRequest, index: tuple[int, ...]) -> Any:
        """Intensity map of a plane's channel."""
        from focuslab.refocusing.intensity import measure_map
        from focuslab.refocusing.masks import unmasked

        stack = request.image.stack
        channel = stack.position(index, "C")
        key = (request.content, channel)
        if key not in self._maps:
            planes = [i for i in stack.planes() if stack.position(i, "C") == channel]
            self._maps[key] = measure_map(unmasked(stack), planes)
        if self._maps[key].blank:
            raise RequestError("This image is blank: there is nothing to refocus.")
        return self._maps[key]


def _trained_since(model: str, sha256: str) -> bool:
    """Whether the bundle in a folder has other weights by now."""
    from focuslab.models.bundle import read_card
    from focuslab.models.zoo import bundled_cards

    return model not in bundled_cards() and read_card(model).sha256 != sha256
