"""Sharpness of a plane, and the plane of a stack that is in focus.

Sharpness is the variance of the Laplacian of the plane smoothed to 1.5 px: the power of detail just above the pixel,
where defocus bites first and noise is already averaged. It compares planes of one field, not one field with another.

References
----------
.. [1] J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR 2000,
       doi 10.1109/ICPR.2000.903548: variance of the Laplacian.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from focuslab.errors import ImageError

__all__ = ["find_focus", "sharpness"]

_SMOOTH = 1.5  # px
_CLEAR = 1.1  # times the median of a stack that the sharpness at focus must exceed


def sharpness(plane: NDArray[Any]) -> float:
    """Variance of the Laplacian of a smoothed plane (Y, X) [1]_, in squared counts."""
    return float(ndimage.gaussian_laplace(plane.astype(np.float64), _SMOOTH).var())


def find_focus(values: Sequence[float]) -> int:
    """Index of the plane in focus, from the sharpness of all planes of a stack.

    Raises
    ------
    ImageError
        If no plane stands out.
    """
    best = int(np.argmax(values))
    if len(values) < 2 or not values[best] > _CLEAR * float(np.median(values)):
        raise ImageError(
            "The stack has no focus: none of its planes is clearly sharper than the others. Name the plane in focus."
        )
    return best
