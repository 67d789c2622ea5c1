"""What classical methods make of a plane, beside a model."""

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.optics import psf
from focuslab.quality.classical import (
    blurred_from_focus,
    convolved,
    fitted_gaussian,
    richardson_lucy,
    unsharp_mask,
    wiener,
)
from focuslab_training.data.field import Field

__all__ = ["DEBLURRING", "FITTED", "SYNTHESIS", "THIN", "baselines"]

Image = NDArray[np.float32]
DEBLURRING, SYNTHESIS = "deblurring", "synthesis"
FITTED = (0.5, 0.7, 0.85, 1.0, 1.2)  # times the level, that a fitted PSF or level is chosen from
THIN = ", thin"  # setting of a field with a thick specimen, whose PSF is that of a thin one: another may be thin itself


def baselines(
    field: Field, level_px: float, focus_px: float, k: int, plane: Image, focus: Image, put: Any, fitted: bool
) -> None:
    """Classical methods at one plane; of settings, each is told by a name of its own.

    Parameters
    ----------
    field
        Where both planes are from.
    level_px, focus_px
        Blur levels of the plane and of the one in focus.
    k
        Number of the plane, for `put`.
    plane, focus
        Pictures (Y, X).
    put
        Called with task, method, number of the plane, picture, truth.
    fitted
        Whether deconvolution may choose among PSFs.
    """
    optics, sharp, level = field.optics, psf(field.optics, 0.0)[0], _beyond(level_px, focus_px)
    put(DEBLURRING, "do nothing", k, plane, focus)
    put(DEBLURRING, "unsharp mask", k, unsharp_mask(plane, max(level / 2, 1.0)), focus)
    seen_as = [(optics, ""), (optics.thin, THIN)] if fitted and optics.thickness_um else [(optics, "")]
    for factor, (seen, thin) in product(FITTED if fitted else (1.0,), seen_as):
        kernel, shape = psf(seen, optics.defocus_um(level * factor))[0], f"{factor:g}{thin}"
        found = {f"Richardson-Lucy [{n}, {shape}": made for n, made in richardson_lucy(plane, kernel).items()}
        found |= {f"Wiener [{weight:g}, {shape}": made for weight, made in wiener(plane, kernel).items()}
        for name, made in found.items():  # the specimen, and how the plane in focus shows it
            put(DEBLURRING, f"{name}]", k, made, focus)
            put(DEBLURRING, f"{name}, in focus]", k, convolved(made, sharp), focus)
    kernel = psf(optics, optics.defocus_um(level))[0]
    put(SYNTHESIS, "convolution with the PSF [whole]", k, convolved(focus, kernel), plane)
    put(SYNTHESIS, "convolution with the PSF [relative]", k, blurred_from_focus(focus, optics, level), plane)
    put(SYNTHESIS, "do nothing", k, focus, plane)
    put(SYNTHESIS, "fitted Gaussian", k, fitted_gaussian(focus, plane), plane)


def _beyond(level: float, focus: float) -> float:
    """Blur, px, that takes the plane in focus to a level: the rest of the squares, as radii of PSFs add up."""
    return math.sqrt(max(level**2 - focus**2, 0.0))
