"""Channels of one layer, each shown with its own contrast and colour as the slider comes to it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.utils import Colormap

__all__ = ["show_channels"]


def show_channels(
    viewer: Any, layer: Any, axis: int, limits: Sequence[tuple[float, float]], colours: Sequence[str]
) -> None:
    """Give the channels of a layer looks of their own, for as long as it is there.

    What the user changes is the look of the channel on screen, and stays with it.

    Parameters
    ----------
    viewer, layer
        Where.
    axis
        Of the channels, among those of the layer.
    limits
        Contrast of every channel.
    colours
        Theirs, RRGGBB; grey if there are none.
    """
    maps = [_ramp(colour) for colour in colours] if len(colours) == len(limits) else ["gray"] * len(limits)
    looks: list[tuple[Any, Any]] = list(zip(limits, maps, strict=True))
    from_end, shown = layer.ndim - axis, -1

    def stepped(event: Any = None) -> None:
        nonlocal shown
        dims = viewer.dims
        at = int(np.clip(dims.current_step[dims.ndim - from_end], 0, len(looks) - 1))
        if at != shown:
            if shown >= 0:
                looks[shown] = layer.contrast_limits, layer.colormap
            shown = at
            layer.contrast_limits, layer.colormap = looks[at]

    def removed(event: Any) -> None:
        if event.value is layer:
            viewer.dims.events.current_step.disconnect(stepped)
            viewer.layers.events.removed.disconnect(removed)

    viewer.dims.events.current_step.connect(stepped)
    viewer.layers.events.removed.connect(removed)
    stepped()


def _ramp(colour: str) -> Colormap:
    return Colormap([[0, 0, 0], [value / 255 for value in bytes.fromhex(colour)]], name=f"black to {colour}")
