"""How straight the path of codes through a focal stack is.

Codes are flattened vectors, one per plane, in the order of the planes. The published scores are defined on
differences of codes; the authors' program squares these differences first, which makes them look more alike than
they are, so both are given: as defined, and as published.

References
----------
.. [1] I. Mazilu et al., CAIP 2023, doi 10.1007/978-3-031-44240-7_20: LDS and APD.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.errors import RequestError

__all__ = ["apd", "lds"]

Codes = NDArray[np.floating[Any]]


def lds(codes: Codes, *, as_published: bool = False) -> float:
    """Linear direction score [1]_: mean cosine similarity of successive differences; 1 on a straight line.

    Parameters
    ----------
    codes
        (planes, length).
    as_published
        Of the squared differences, element by element: never negative, so inflated.
    """
    steps = np.diff(_checked(codes, 3), axis=0)
    steps = steps**2 if as_published else steps
    norms = np.linalg.norm(steps, axis=1)
    products, scale = (steps[:-1] * steps[1:]).sum(1), norms[:-1] * norms[1:]
    return float(np.divide(products, scale, out=np.zeros_like(scale), where=scale > 0).mean())


def apd(codes: Codes, at: Sequence[float] | None = None, *, as_published: bool = False) -> float:
    """Average path deviation [1]_: mean |d(z_i, z_i+1) - d(y_i, y_i+1)| / d(z_0, z_n), y on the straight line.

    Parameters
    ----------
    codes
        (planes, length).
    at
        Where on the line each plane belongs, 0 to 1, as its blur level says; even steps if not given.
    as_published
        With squared distances.
    """
    path = _checked(codes, 2)
    t = (np.linspace(0, 1, len(path)) if at is None else np.asarray(at, np.float64))[:, None]
    line = (1 - t) * path[0] + t * path[-1]
    power = 2 if as_published else 1
    steps, even = (np.linalg.norm(np.diff(p, axis=0), axis=1) ** power for p in (path, line))
    whole = float(np.linalg.norm(path[-1] - path[0])) ** power
    deviation = float(np.abs(steps - even).mean())
    if whole > 0:
        return deviation / whole
    return 0.0 if deviation == 0 else float("inf")


def _checked(codes: Codes, least: int) -> NDArray[np.float64]:
    if codes.ndim != 2 or len(codes) < least:
        raise RequestError(f"Linearity needs {least} codes or more, (planes, length), got shape {codes.shape}.")
    return np.asarray(codes, np.float64)
