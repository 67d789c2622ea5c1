"""Microscopes and blur levels drawn at random."""

import math

import numpy as np

from focuslab.optics import Optics
from focuslab_training.sections import OpticsRange

__all__ = ["draw_level", "draw_optics", "draw_real", "log_uniform"]

_COARSE = 1.5  # sampling number
_APERTURE = 0.6  # relative error of an aperture for each unit of doubt
_WAVES = 0.3  # standard deviation of astigmatism, coma and trefoil; twice as much of spherical aberration


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def draw_optics(ranges: OpticsRange, rng: np.random.Generator) -> Optics:
    """Draw a microscope whose Airy radius on the camera is within the range, and how thick what it sees is."""
    while True:
        index = float(rng.choice(ranges.index))
        optics = Optics(
            na=index * log_uniform(rng, *ranges.na_over_index),
            index=index,
            wavelength_um=float(rng.uniform(*ranges.wavelength_um)),
            pixel_size_um=log_uniform(rng, *ranges.pixel_size_um),
        )
        if optics.airy_radius_px > ranges.largest_airy_px:
            continue
        if ranges.thick and rng.random() < ranges.thick:
            between_faces = log_uniform(rng, *ranges.thickness_px)
            return optics.replace(thickness_um=between_faces / optics.radius_px(1.0))
        return optics


def draw_level(ranges: OpticsRange, rng: np.random.Generator) -> float:
    """Draw a blur level, px: some planes in focus, some hardly blurred, the others evenly on a logarithmic scale."""
    draw = rng.random()
    if draw < 0.1:
        return 0.0
    if draw < 0.2:
        return float(rng.uniform(0, 2))
    return log_uniform(rng, 1.5, ranges.largest_level_px)


def draw_real(optics: Optics, doubt: float, rng: np.random.Generator) -> Optics:
    """Draw the objective that is really there: another aperture, spherical aberration, astigmatism, coma.

    A camera that undersamples by far sees little of aberrations, and so does one that sees a thick specimen; their PSF
    would take seconds: none there.
    """
    na = optics.na * float(np.exp(rng.normal(0, _APERTURE * doubt)))
    if optics.sampling > _COARSE or optics.thickness_um:
        return optics.replace(na=min(na, 0.97 * optics.index))
    spread = _WAVES * doubt
    waves = {noll: float(rng.normal(0, 2 * spread if noll == 11 else spread)) for noll in (5, 6, 7, 8, 11)}
    return optics.replace(na=min(na, 0.97 * optics.index), zernike_waves=waves)
