"""Noise of a plane, told from what is fine in its specimen by how far the plane is out of focus.

`noise_sigma` looks through a mask that is blind to structure and takes all that it sees for noise [1]_. Of a plane near
focus that is too much: texture of a pixel or two is seen as well, and would be smoothed away as if it were noise. But
blur that is known multiplies the power of all that comes from the specimen by the square of its transfer function T,
and leaves noise as it is. So `noise_at` fits

    P(f) = |T(f)|^2 sum_k a_k f^-k + N,        a_k >= 0, N >= 0, k = 0 ... 8,

to the power over rings of frequencies f and takes, of the power behind the mask, the share that N has in it. Of a small
plane in focus that does not tell N from a_0; the least power of any rings, which noise cannot exceed, is likely then.

References
----------
.. [1] J. Immerkaer, "Fast noise variance estimation", Comput. Vis. Image Underst. 64, 300 (1996),
       doi 10.1006/cviu.1996.0060.
.. [2] C. L. Lawson and R. J. Hanson, Solving Least Squares Problems, SIAM, 1995, doi 10.1137/1.9781611971217.
.. [3] P. D. Welch, "The use of fast Fourier transform for the estimation of power spectra", IEEE Trans. Audio
       Electroacoust. 15, 70 (1967), doi 10.1109/TAU.1967.1161901.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from focuslab.models.whiteness import blind_to_structure
from focuslab.optics import Optics, camera_otf

__all__ = ["noise_at", "noise_sigma"]

_TAPS = 36.0  # variance of white noise behind the mask
_POWERS = 9  # of the frequency that a specimen's spectrum is a sum of, 0 to -8
_COARSEST, _RING = 0.1, 1 / 64  # cycles/px: where rings begin, and how wide they are
_PER_SAMPLE = 4  # pixels of a spectrum that say one thing: it is symmetric, and the window makes neighbours alike
_TRUE_TO = 0.03  # relative error of that sum of powers
_ROUNDS = 3  # of fits, each weighted by the power that the one before has found
_LIKELY = 0.3  # relative error of the least power of any five rings as that of noise, where nothing else tells
_LEAST_SIDE = 32  # px of a plane whose spectrum says enough
_BLOCK = 256  # px of the blocks that larger ones are looked at in


def noise_sigma(plane: Tensor) -> Tensor:
    """Standard deviation of the noise of planes (B, 1, Y, X), one number each, (B,).

    Mean absolute response of a mask that is blind to structure up to second order [1]_; a blurred plane has little of
    any other.
    """
    response = blind_to_structure(plane.float())
    return response.abs().flatten(1).mean(1) * math.sqrt(math.pi / 2 / _TAPS)


def noise_at(plane: Tensor, optics: Optics, level_px: float) -> Tensor:
    """Root mean square of the noise of planes (B, 1, Y, X) at a blur level, px: one number each, (B,).

    From 2 px of blur on it is right within 10 %, whatever the specimen; nearer to focus texture and noise are alike.
    """
    plane = plane.float()
    variance = blind_to_structure(plane).square().flatten(1).mean(1) / _TAPS
    if min(plane.shape[-2:]) < _LEAST_SIDE:
        return variance.sqrt()
    return (variance * _noises_share(plane[:, 0], optics, level_px)).sqrt()


def _noises_share(planes: Tensor, optics: Optics, level_px: float) -> Tensor:
    """Share of noise in the power that planes (B, Y, X) have behind the mask, (B,)."""
    power = _power(planes)
    height, width = power.shape[-2], min(planes.shape[-1], _BLOCK)
    fy, fx = (axis.to(planes.device) for axis in (torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)))
    twice = 2 - ((fx == 0) | (fx == 0.5)).float().expand(height, -1)  # columns that stand for two
    frequency = torch.hypot(fy, fx).clamp(min=1e-9)
    ring = ((frequency - _COARSEST) / _RING).floor().long()
    fine, rings = ring >= 0, int(ring.max()) + 1

    def over_rings(maps: Sequence[Tensor]) -> NDArray[np.float64]:
        total = torch.zeros(len(maps), rings, device=planes.device)
        total.index_add_(1, ring[fine], torch.stack([(twice * one)[fine] for one in maps]))
        return total.double().cpu().numpy()

    blur = camera_otf(optics, (level_px,), (height, width), 1, planes.device)[0].square()
    count = over_rings([torch.ones_like(frequency)])[0]
    known = count > 0
    count = count[known]
    parts = over_rings([*(blur / frequency**k for k in range(_POWERS)), torch.ones_like(blur)])[:, known] / count
    blocks = math.prod(n // m for n, m in zip(planes.shape[-2:], (height, width), strict=True))
    error = np.sqrt(_PER_SAMPLE / (blocks * count) + _TRUE_TO**2)
    seen = over_rings(list(power))[:, known] / count
    noise = torch.tensor([_white(parts.T, one, error) for one in seen], device=planes.device)
    mask = twice * ((2 - 2 * torch.cos(2 * math.pi * fy)) * (2 - 2 * torch.cos(2 * math.pi * fx))).square()
    return (noise * mask.sum() / (mask * power).sum((-2, -1)).clamp(min=1e-30)).clamp(max=1).float()


def _power(planes: Tensor) -> Tensor:
    """Power per pixel of planes (B, Y, X), on the rfft2 grid of blocks of them, their mean [3]_."""
    height, width = (min(n, _BLOCK) for n in planes.shape[-2:])
    blocks = planes.unfold(1, height, height).unfold(2, width, width).flatten(1, 2)
    window = torch.outer(*(torch.hann_window(n, device=planes.device) for n in (height, width)))
    mean = (blocks * window).sum((-2, -1), keepdim=True) / window.sum()
    spectrum = torch.fft.rfft2((blocks - mean) * window)
    return spectrum.abs().square().mean(1) / window.square().sum()


def _white(parts: NDArray[np.float64], power: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """White part of the power (R,) in rings: that of the last of `parts` (R, K), none of which is negative [2]_."""
    least = max(np.convolve(power, np.full(5, 0.2), "valid").min(), 1e-12 * power.max(), 1e-30)
    likely = np.eye(parts.shape[1])[-1] / (_LIKELY * least)
    model = power
    for _ in range(_ROUNDS):
        weight = 1 / (error * np.maximum(model, least))
        rows = np.vstack([parts * weight[:, None], likely])
        size = np.linalg.norm(rows, axis=0)  # powers of a frequency differ by many orders of magnitude
        amounts = nnls(rows / size, np.append(power * weight, 1 / _LIKELY), maxiter=100 * rows.shape[1])[0] / size
        model = parts @ amounts
    return float(amounts[-1])
