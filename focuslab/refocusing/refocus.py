"""`focuslab.refocus` and `focuslab.between`: whole images in memory, in one call."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from focuslab.errors import ImageError
from focuslab.models.bundle import Model
from focuslab.models.zoo import load_model
from focuslab.optics import Optics
from focuslab.refocusing.between import between_steps
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.filling import DEFAULT_TILE
from focuslab.refocusing.progress import finish
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.steps import refocus_steps
from focuslab.stack import FocalStack, as_stack

__all__ = ["between", "refocus"]

Image = TypeVar("Image", FocalStack, NDArray[Any])


def refocus(
    image: Image,
    *,
    shift_um: float | None = None,
    shift_px: float | None = None,
    sharpest: bool = False,
    level_um: float | None = None,
    level_px: float | None = None,
    focus_plane: int | None = None,
    doubt: float | None = None,
    per_frame: bool = False,
    optics: Optics | None = None,
    model: str | Path | Model = "default",
    device: str = "auto",
    keep_nan: bool = False,
    tile: int = DEFAULT_TILE,
) -> Image:
    """Deblur or blur the planes of an image.

    Parameters
    ----------
    image
        Stack, or array whose last two axes are Y and X (up to three more, taken as T, C, Z from the right).
    shift_um, shift_px
        Move by a distance from focus (um) or a change of blur radius (px), negative towards sharp.
    sharpest
        Undo each plane's own blur.
    level_um, level_px, focus_plane
        What is known of the planes' own blur; estimated when nothing is given.
    doubt, per_frame
        Relative error to be expected of it, and whether every time point has its own, see `RefocusRequest`.
    optics
        The microscope, needed for um unless the stack knows it.
    model
        Name of a bundled model, path of a bundle, or a loaded model.
    device
        ``auto``, ``cpu``, ``cuda``, ``mps``.
    keep_nan
        Whether pixels that are NaN or infinite are refused, or kept as they are.
    tile
        Height of a tile, px.

    Returns
    -------
    FocalStack or ndarray
        Of the same kind, shape and dtype; a stack carries its provenance.

    Raises
    ------
    FocusLabError
        If the image or the request cannot be served; see `focuslab.errors`.

    Examples
    --------
    >>> sharp = focuslab.refocus(image, sharpest=True)                                  # doctest: +SKIP
    """
    request = RefocusRequest(
        shift_um=shift_um,
        shift_px=shift_px,
        sharpest=sharpest,
        level_um=level_um,
        level_px=level_px,
        focus_plane=focus_plane,
        doubt=doubt,
        per_frame=per_frame,
    )
    stack = as_stack(image)
    engine = Engine(load_model(model), device)
    out = np.empty(stack.shape, stack.dtype)
    provenance = finish(refocus_steps(stack, request, engine, out, optics=optics, keep_nan=keep_nan, tile=tile))
    if isinstance(image, FocalStack):
        return image.with_array(out, **provenance)
    return out


def between(
    a: Image,
    b: Image,
    t: float,
    *,
    levels_px: tuple[float, float] | None = None,
    levels_um: tuple[float, float] | None = None,
    doubt: float | None = None,
    optics: Optics | None = None,
    model: str | Path | Model = "default",
    device: str = "auto",
    keep_nan: bool = False,
) -> Image:
    """Picture on the latent line through two planes of one field.

    Parameters
    ----------
    a, b
        Planes (Y, X) of one dtype, on the same side of focus: arrays, or stacks of one plane, see `FocalStack.take`.
    t
        0 gives `a`, 1 gives `b`; between is interpolation, outside extrapolation.
    levels_px, levels_um
        Blur levels of the two planes, estimated when not given.
    doubt, model, device, keep_nan
        As in `refocus`.
    optics
        The microscope, needed for um unless `a` knows it.

    Returns
    -------
    FocalStack or ndarray (Y, X)
        Of the same kind and dtype; a stack carries its provenance.

    Examples
    --------
    >>> halfway = focuslab.between(stack.take(Z=0), stack.take(Z=1), 0.5)               # doctest: +SKIP
    """
    first, second = as_stack(a), as_stack(b)
    if first.axes != "YX" or first.shape != second.shape or second.axes != "YX" or first.dtype != second.dtype:
        raise ImageError(
            f"Two planes (Y, X) of one field are needed, got {first.axes} {first.shape} {first.dtype} and "
            f"{second.axes} {second.shape} {second.dtype}: take them from a stack by take(Z=...)."
        )
    both = replace(first, array=np.stack([first.plane(), second.plane()]), axes="ZYX")
    engine = Engine(load_model(model), device)
    out = np.empty(first.shape, first.dtype)
    known: dict[str, Any] = {"levels_px": levels_px, "levels_um": levels_um, "doubt": doubt, "optics": optics}
    provenance = finish(between_steps(both, 0, 1, t, engine, out, keep_nan=keep_nan, **known))
    return a.with_array(out, **provenance) if isinstance(a, FocalStack) else out
