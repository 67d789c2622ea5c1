"""What the focus panel finds, as layers, and in a sentence."""

from typing import TYPE_CHECKING, Any

import numpy as np

from focuslab_napari.layers import LayerImage
from focuslab_napari.results import corner_place, put_result

if TYPE_CHECKING:
    from focuslab.refocusing import AllInFocus, BlurMap

__all__ = ["put_all_in_focus", "put_blur_map"]

_CLOSED = "The image was closed meanwhile: the result is dropped."
_EVEN = 0.1  # relative change over the field that is not worth a word
_MAP = {"colormap": "viridis", "gamma": 1.0}


def put_blur_map(viewer: Any, layer: Any, index: tuple[int, ...], found: "BlurMap") -> str:
    """Lay a blur map over its plane; returns what it says."""
    if layer not in viewer.layers:
        return _CLOSED
    levels, unit = (found.levels_px, "px") if found.levels_um is None else (found.levels_um, "um")
    kept = (layer.ndim - 2, layer.ndim - 1)
    apart = np.array([np.diff(c)[0] if len(c) > 1 else found.window for c in (found.rows, found.columns)])
    corner = np.array([found.rows[0], found.columns[0]])
    known = levels[np.isfinite(levels)]
    put_result(
        viewer,
        layer,
        "blur map",
        levels,
        {"operation": "blur map", "plane": list(index), "unit": unit, "window_px": found.window},
        kept=kept,
        contrast_limits=(0.0, max(float(known.max(initial=0.0)), 1.0)),
        opacity=0.6,
        interpolation2d="linear",
        **corner_place(layer, corner, apart),
        **_MAP,
    )
    if not known.size:
        return "No window has structure whose blur could be read."
    said = f"Blur level over the field: {known.min():.1f} to {known.max():.1f} {unit}."
    if (tilt := found.tilt()) is None:
        return said
    if max(abs(change) for change in tilt) < _EVEN * max(float(np.median(known)), 1.0):
        return f"{said} It is even."
    return f"{said} From left to right it changes by {tilt[1]:+.1f} {unit}, downwards by {tilt[0]:+.1f} {unit}."


def put_all_in_focus(viewer: Any, layer: Any, image: LayerImage, index: tuple[int, ...], made: "AllInFocus") -> str:
    """Add the picture that is all in focus, and its relief; returns what was done."""
    if layer not in viewer.layers:
        return _CLOSED
    kept = (layer.ndim - 2, layer.ndim - 1)
    step = image.stack.calibration.z_step_um
    relief = made.plane * (step or 1.0)
    about = {**made.picture.provenance, "unit": "um" if step else "plane"}
    limits = (0.0, max(float(relief.max()), 1e-6))
    put_result(viewer, layer, "relief", relief, about, kept=kept, visible=False, contrast_limits=limits, **_MAP)
    picture, known = np.asarray(made.picture), made.picture.calibration.model_dump()
    put_result(viewer, layer, "all in focus", picture, made.picture.provenance, calibration=known, kept=kept)
    left = made.picture.provenance["planes"][0].get("level_px")
    undone = f"a blur of {left:.1f} px was left and is undone" if left else "no blur was left"
    return f"Fused {len(made.picture.provenance['fused'])} planes; {undone}."
