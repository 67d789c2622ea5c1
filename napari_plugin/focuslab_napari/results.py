"""Results as layers: like the layer they came from, and one layer per kind of result, renewed when made again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from focuslab.files import place_of

__all__ = ["corner_place", "places_of", "put_above", "put_result", "same_place", "stacked_place"]


def same_place(layer: Any, kept: Sequence[int] | None = None) -> dict[str, Any]:
    """Keywords that put a layer where another is: scale, translate, rotate, shear, affine, units, axis labels.

    Parameters
    ----------
    layer
        The other.
    kept
        Indices of the axes of the other that the new layer has; all if not given.
    """
    if kept is None:
        return {
            "scale": layer.scale,
            "translate": layer.translate,
            "rotate": layer.rotate,
            "shear": layer.shear,
            "affine": layer.affine,
            "units": layer.units,
            "axis_labels": layer.axis_labels,
        }
    corner, axes = [*kept, layer.ndim], list(kept)
    return {
        "scale": layer.scale[axes],
        "translate": layer.translate[axes],
        "rotate": np.asarray(layer.rotate)[np.ix_(kept, kept)],
        "affine": np.asarray(layer.affine.affine_matrix)[np.ix_(corner, corner)],
        "units": tuple(layer.units[i] for i in kept),
        "axis_labels": tuple(layer.axis_labels[i] for i in kept),
    }


def stacked_place(place: dict[str, Any], unit: str, step: float, start: float) -> dict[str, Any]:
    """Place of planes (Z, Y, X) that lie one behind the other where `same_place` has a plane (Y, X)."""
    turn, whole = np.eye(3), np.eye(4)
    turn[1:, 1:], whole[1:, 1:] = place["rotate"], place["affine"]
    return {
        "scale": (step, *place["scale"]),
        "translate": (start, *place["translate"]),
        "rotate": turn,
        "shear": np.zeros(3),
        "affine": whole,
        "units": (unit, *place["units"]),
    }


def corner_place(layer: Any, corner: Any, scale: Any = 1.0) -> dict[str, Any]:
    """Keywords that put a picture over the planes of a layer: its first pixel at `corner`, (Y, X) px of the layer.

    Parameters
    ----------
    layer
        The layer, which may be rotated and moved.
    corner
        Place of the centre of the first pixel.
    scale
        Pixels of the layer per pixel of the picture, one number or (Y, X).
    """
    place = same_place(layer, (layer.ndim - 2, layer.ndim - 1))
    offset = place["rotate"] @ (place["scale"] * np.asarray(corner))
    return {**place, "scale": place["scale"] * scale, "translate": place["translate"] + offset}


def put_result(
    viewer: Any,
    source: Any,
    kind: str,
    data: Any,
    provenance: dict[str, Any],
    *,
    calibration: dict[str, Any] | None = None,
    kept: Sequence[int] | None = None,
    **look: Any,
) -> Any:
    """Add a result as a layer, or renew the one that is there already.

    Parameters
    ----------
    viewer
        Where to.
    source
        Layer that it was made from.
    kind
        What it is, one word or two: part of its name, and what tells results of one layer apart.
    data
        Pixels.
    provenance
        How they came to be.
    calibration
        What is known of the microscope, for saving.
    kept
        Axes of the source that the result has.
    look
        Keywords of the layer that differ from the source's.

    Returns
    -------
    Image layer
    """
    about = {"result_of": source.unique_id, "kind": kind, "provenance": provenance, "calibration": calibration or {}}
    for layer in viewer.layers:
        said = layer.metadata.get("focuslab", {})
        if said.get("result_of") == source.unique_id and said.get("kind") == kind and layer.data.shape == data.shape:
            layer.metadata["focuslab"] = about  # whoever hears of new pixels reads it
            layer.data = data
            # The user's contrast and colours stay, unless the result has its own.
            for name, value in {**same_place(source, kept), **look}.items():
                if name not in ("rgb", "visible"):
                    setattr(layer, name, value)
            return layer
    like = {name: getattr(source, name) for name in ("contrast_limits", "colormap", "gamma", "blending", "opacity")}
    result = viewer.add_image(
        data,
        name=f"{source.name} {kind}",
        metadata={"focuslab": about},
        **{**same_place(source, kept), **like, **look},
    )
    put_above(viewer, result, source)
    return result


def put_above(viewer: Any, layer: Any, source: Any) -> None:
    """Move a layer right above the one that it was made from, below labels, points and other channels."""
    if source in viewer.layers:
        viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(source) + 1)


def places_of(layer: Any) -> list[str]:
    """Files that a layer is drawn from, as `place_of` them."""
    said = (layer.source.path, layer.metadata.get("focuslab", {}).get("path"))
    return [place_of(Path(path)) for path in said if path]
