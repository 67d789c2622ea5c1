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

__all__ = ["disorder", "find_focus", "sharpness"]

_SMOOTH = 1.5  # px
_CLEAR = 1.1  # times the median of a stack that the sharpness at focus must exceed
_SHARPER = 1.5  # ratio of sharpness from which two planes of a stack differ by more than noise and thickness explain


def sharpness(plane: NDArray[Any]) -> float:
    """Variance of the Laplacian of a smoothed plane (Y, X) [1]_, in squared counts."""
    above = plane.astype(np.float64) - float(plane.flat[0])  # of a constant plane exactly 0
    return float(ndimage.gaussian_laplace(above, _SMOOTH).var())


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


def disorder(values: Sequence[float], focus: int) -> float:
    """Share of the pairs of planes on one side of focus, clearly unlike in sharpness, whose farther plane is sharper.

    About 0 where planes follow one another in z, a half where they are in no order, and 0 where no two planes differ
    clearly. Sides are not compared with each other: blur before and behind focus may differ, and specimens bleach.
    """
    wrong = clear = 0
    for side in (values[:focus][::-1], values[focus + 1 :]):  # from focus outwards
        nearer, farther = np.triu_indices(len(side), 1)
        sharp = np.asarray(side, np.float64)
        inverted = sharp[farther] > _SHARPER * sharp[nearer]
        wrong += int(inverted.sum())
        clear += int((inverted | (sharp[nearer] > _SHARPER * sharp[farther])).sum())
    return wrong / clear if clear else 0.0
