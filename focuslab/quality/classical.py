"""What classical methods make of a plane: the baselines that every report shows.

All take a PSF and a plane (Y, X) in linear light, 0 in the dark, and mirror its border by 100 px: without that,
Richardson-Lucy loses 5 to 12 dB to ringing.

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

from focuslab.models.restoration import blur_by
from focuslab.optics import Optics, convolve, crop, mirror_pad, otf, psf

__all__ = [
    "blurred_from_focus",
    "convolved",
    "fitted_gaussian",
    "relative_transfer",
    "richardson_lucy",
    "unsharp_mask",
    "wiener",
]

BORDER = 100  # px
_DARK = 1e-6
_LEAST = 1e-2  # transfer of the image in focus below which nothing is known

Image = NDArray[np.float32]


def richardson_lucy(plane: Image, psf: Tensor, iterations: Sequence[int] = (10, 30, 100, 300)) -> dict[int, Image]:
    """Plain Richardson-Lucy [1]_, started from the plane: the estimate after each of `iterations`."""
    data = mirror_pad(torch.from_numpy(plane), BORDER).clamp(min=_DARK)
    transfer = otf(psf, (data.shape[0], data.shape[1]))
    back, estimate, found = transfer.conj(), data.clone(), {}
    for i in range(1, max(iterations) + 1):
        estimate = estimate * blur_by(data / blur_by(estimate, transfer).clamp(min=_DARK), back)
        if i in iterations:
            found[i] = np.asarray(crop(estimate, BORDER))
    return found


def wiener(
    plane: Image, psf: Tensor, weights: Sequence[float] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
) -> dict[float, Image]:
    """Wiener filter [2]_ conj(H) / (|H|^2 + weight), for each constant weight."""
    data = mirror_pad(torch.from_numpy(plane), BORDER)
    transfer = otf(psf, (data.shape[0], data.shape[1]))
    return {
        w: np.asarray(crop(blur_by(data, transfer.conj() / (transfer.abs().square() + w)), BORDER)) for w in weights
    }


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
    light = mirror_pad(torch.from_numpy(plane), BORDER)
    return np.asarray(
        crop(blur_by(light, relative_transfer(optics, level_px, (light.shape[0], light.shape[1]))), BORDER)
    )


def fitted_gaussian(plane: Image, truth: Image) -> Image:
    """Synthesis by the Gaussian blur that brings the sharp plane closest to the truth."""

    def error(sigma: float) -> float:
        return float(np.mean((ndimage.gaussian_filter(plane, sigma, mode="mirror") - truth) ** 2))

    best = optimize.minimize_scalar(error, bounds=(0.3, 30), method="bounded")
    return np.asarray(ndimage.gaussian_filter(plane, float(best.x), mode="mirror"))
