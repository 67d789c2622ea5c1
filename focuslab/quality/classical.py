"""What classical methods make of a plane: the baselines that every report shows.

All take a PSF and a plane (Y, X) in linear light, 0 in the dark, and mirror its border by 100 px or some more: without
that, Richardson-Lucy loses 5 to 12 dB to ringing.

References
----------
.. [1] W. H. Richardson, JOSA 62, 55 (1972), doi 10.1364/JOSA.62.000055; L. B. Lucy, Astron. J. 79, 745 (1974),
       doi 10.1086/111605.
.. [2] N. Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series, MIT Press, 1949.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, optimize
from torch import Tensor

from focuslab.models.restoration import blur_by, fast_length, regulariser
from focuslab.optics import Optics, convolve, mirror_pad, otf, psf

__all__ = [
    "ITERATIONS",
    "WEIGHTS",
    "blurred_from_focus",
    "convolved",
    "fitted_gaussian",
    "relative_transfer",
    "richardson_lucy",
    "unsharp_mask",
    "wiener",
]

BORDER = 100  # px
ITERATIONS = (10, 30, 100, 300, 1000)  # of Richardson-Lucy: the wider the blur, the more are best
WEIGHTS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)  # of Wiener filters: some thousand variances of the noise
_DARK = 1e-6
_LEAST = 1e-2  # transfer of the image in focus below which nothing is known

Image = NDArray[np.float32]


def richardson_lucy(plane: Image, psf: Tensor, iterations: Sequence[int] = ITERATIONS) -> dict[int, Image]:
    """Plain Richardson-Lucy [1]_, started from the plane: the estimate after each of `iterations`."""
    data = _mirrored(plane).clamp(min=_DARK)
    transfer = otf(psf, (data.shape[0], data.shape[1]))
    back, estimate, found = transfer.conj(), data.clone(), {}
    for i in range(1, max(iterations) + 1):
        estimate = estimate * blur_by(data / blur_by(estimate, transfer).clamp(min=_DARK), back)
        if i in iterations:
            found[i] = _within(estimate, plane)
    return found


def wiener(plane: Image, psf: Tensor, weights: Sequence[float] = WEIGHTS) -> dict[float, Image]:
    """Wiener filter [2]_ conj(H) / (|H|^2 + weight |g|^2), for each weight.

    |g|^2 = f^2 + 0.04^2, f in cycles/px, stands for a specimen whose power falls like 1/f^2: one that is even over all
    frequencies, a constant weight, is 1 dB worse on nuclei.
    """
    data = _mirrored(plane)
    shape = (data.shape[0], data.shape[1])
    transfer, rough = otf(psf, shape), regulariser(shape)
    power = transfer.abs().square()
    return {w: _within(blur_by(data, transfer.conj() / (power + w * rough)), plane) for w in weights}


def unsharp_mask(plane: Image, radius_px: float, amount: float = 1.5) -> Image:
    """Plane plus `amount` of what a Gaussian of standard deviation `radius_px` takes away."""
    return np.asarray(plane + amount * (plane - ndimage.gaussian_filter(plane, radius_px, mode="mirror")))


def convolved(plane: Image, psf: Tensor) -> Image:
    """Synthesis by the PSF itself: the sharp plane convolved with it."""
    return np.asarray(convolve(torch.from_numpy(plane), psf))


def relative_transfer(optics: Optics, level_px: float, shape: tuple[int, int]) -> Tensor:
    """Transfer function, on the rfft2 grid, from the image in focus to a blur level: the ratio of their OTFs."""
    own = otf(psf(optics, optics.defocus_um(level_px))[0], shape)
    own = own / otf(psf(optics, 0.0)[0], shape).abs().clamp(min=_LEAST)
    return own / own.abs().clamp(min=1)


def blurred_from_focus(plane: Image, optics: Optics, level_px: float) -> Image:
    """Synthesis by the optics: a plane in focus, which has the blur of focus already, at a blur level."""
    light = _mirrored(plane)
    return _within(blur_by(light, relative_transfer(optics, level_px, (light.shape[0], light.shape[1]))), plane)


def fitted_gaussian(plane: Image, truth: Image) -> Image:
    """Synthesis by the Gaussian blur that brings the sharp plane closest to the truth."""

    def error(sigma: float) -> float:
        return float(np.mean((ndimage.gaussian_filter(plane, sigma, mode="mirror") - truth) ** 2))

    best = optimize.minimize_scalar(error, bounds=(0.3, 30), method="bounded")
    return np.asarray(ndimage.gaussian_filter(plane, float(best.x), mode="mirror"))


def _mirrored(plane: Image) -> Tensor:
    """Plane with a mirrored border, further at its lower and right edge to a size with a fast Fourier transform."""
    height, width = (fast_length(n + 2 * BORDER) for n in plane.shape)
    more = max(height - plane.shape[0], width - plane.shape[1]) - BORDER
    return mirror_pad(torch.from_numpy(plane), more)[more - BORDER :, more - BORDER :][:height, :width]


def _within(image: Tensor, plane: Image) -> Image:
    """Image without the border of a mirrored plane."""
    return np.asarray(image[BORDER : BORDER + plane.shape[0], BORDER : BORDER + plane.shape[1]])
