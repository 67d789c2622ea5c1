"""Wiener kernels of a microscope: from one blur level to others.

    W_t(kappa) = M_t conj(OTF_b) / (|OTF_b|^2 + kappa sigma^2 (f^2 + 0.04^2)),        f in cycles/px,

is the Wiener filter from blur level b to t for white noise of standard deviation sigma (one number per plane) and a
specimen whose power falls like 1/f^2: on nuclei, filaments and puncta of all noise levels the best kappa is near 7000
in units of normalised intensity, and a constant instead of f^2 loses 1 to 3 dB. M_t = OTF_t; for t > b the filter is
the relative blur, for t < b the relative deblur. The sharpest image, t = 0, is the in-focus image where the camera
resolves diffraction, and the specimen on the camera's grid (M_0 = 1) where it does not (c >= 0.5, Airy radius below
1.2 px).

Kernels are cut to min(8 r_px, 96) px, so that a tile with that halo agrees with the whole image. What is kept of them
is no inference tensor: others may use it under gradients.

References
----------
.. [1] N. Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series, MIT Press, 1949.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.memory import cached_tensors
from focuslab.models.restoration import regulariser
from focuslab.optics.optics import Optics
from focuslab.optics.pupil import optics_device, otf, psf

__all__ = [
    "LEAST_NOISE",
    "binned_psf",
    "camera_limited",
    "kernel_radius",
    "sharpest",
    "wiener_transfers",
]

LEAST_NOISE = 4e-4  # standard deviation below which a plane is taken as this noisy
_LARGEST_RADIUS = 96
_CAMERA_LIMITED = 0.5  # sampling number from which the camera, not diffraction, limits the sharp image
_KEPT = 2**28  # bytes of kernels that are kept: those of the scenes of a training


def wiener_transfers(
    optics: Optics,
    level_px: float | None,
    noise: float,
    targets: tuple[tuple[float, float], ...],
    shape: tuple[int, int],
    device: torch.device,
) -> tuple[Tensor, ...]:
    """Transfer functions, on the rfft2 grid of `shape`, from a blur level to each of `targets`.

    Parameters
    ----------
    optics
        The microscope.
    level_px
        Blur level of the plane, px; None is the sharpest image.
    noise
        Standard deviation of its noise, normalised intensity; rounded to half an octave, so that the planes of a
        stack share their kernels.
    targets
        Blur level, px, and regularisation kappa of every filter.
    shape, device
        Of the images to be filtered; the last two answers are kept for the other tiles of the image.
    """
    octave = round(2 * math.log2(max(noise, LEAST_NOISE))) / 2
    level_px = None if level_px is None else round(level_px, 3)
    return _transfers(optics.model_dump_json(), level_px, octave, targets, shape, device)


def kernel_radius(level_px: float, optics: Optics) -> int:
    """Radius in px to which the kernels of a level are cut."""
    smallest = max(32, round(8 * optics.airy_radius_px))
    return int(min(max(8 * optics.widest_px(level_px), smallest), _LARGEST_RADIUS))


def camera_limited(optics: Optics) -> bool:
    """Whether the camera, not diffraction, limits the sharpest image, which is then the specimen on its grid."""
    return optics.sampling >= _CAMERA_LIMITED


def sharpest(optics: Optics, size: int, device: torch.device | None = None) -> Tensor:
    """Transfer function M_0 of the sharpest image, on the rfft2 grid of a square of `size` px.

    Of a thick specimen it is the image that a thin one would give.
    """
    if camera_limited(optics):
        return torch.ones((size, size // 2 + 1), dtype=torch.complex64, device=device)
    return otf(_centred_psf(optics.thin.model_dump_json(), 0.0, size, device), (size, size))


def binned_psf(optics: Optics, level_px: float, bins: int, device: torch.device | None = None) -> Tensor:
    """PSF (S, S) of a blur level on pixels binned by `bins`."""
    return _binned_psf(optics.model_dump_json(), round(level_px, 3), bins, optics_device(device)).to(device)


@lru_cache(maxsize=2)  # the copies and the ladder of an image
@torch.inference_mode(False)
def _transfers(
    key: str,
    level_px: float | None,
    octave: float,
    targets: tuple[tuple[float, float], ...],
    shape: tuple[int, int],
    device: torch.device,
) -> tuple[Tensor, ...]:
    kernels = _kernels(key, level_px, octave, targets, optics_device(device)).to(device)
    return tuple(otf(kernel, shape) for kernel in kernels)


@cached_tensors(_KEPT)
@torch.inference_mode(False)
def _kernels(
    key: str, level_px: float | None, octave: float, targets: tuple[tuple[float, float], ...], device: torch.device
) -> Tensor:
    optics = Optics.model_validate_json(key)
    largest = kernel_radius(max(level_px or 0.0, *(level for level, _ in targets)), optics)
    cut = []
    for level, kappa in targets:
        radius = kernel_radius(max(level_px or 0.0, level), optics)
        size = 2 * radius + 2 * _LARGEST_RADIUS // 3  # room for what is cut away; the same whatever else is asked for
        own, target = (
            sharpest(optics, size, device) if is_sharpest else otf(_centred_psf(key, at, size, device), (size, size))
            for at, is_sharpest in ((level_px, level_px is None), (level, level == 0))
        )
        weight = kappa * 4.0**octave * regulariser((size, size), device)
        transfer = target * own.conj() / (own.abs().square() + weight)
        kernel = torch.fft.fftshift(torch.fft.irfft2(transfer, s=(size, size)))
        cut.append(F.pad(_window(kernel, radius), [largest - radius] * 4))
    return torch.stack(cut)


@lru_cache(maxsize=32)  # of the few levels of a scene
@torch.inference_mode(False)
def _centred_psf(key: str, level_px: float, size: int, device: torch.device | None) -> Tensor:
    optics = Optics.model_validate_json(key)
    return psf(optics, optics.defocus_um(level_px), size=size, device=device)[0]


@cached_tensors(_KEPT // 8)
@torch.inference_mode(False)
def _binned_psf(key: str, level_px: float, bins: int, device: torch.device | None) -> Tensor:
    optics = Optics.model_validate_json(key)
    coarse = optics.replace(pixel_size_um=optics.pixel_size_um * bins)
    size = 2 * kernel_radius(level_px, optics) // bins
    return psf(coarse, optics.defocus_um(level_px), size=size, device=device)[0]


def _window(kernel: Tensor, radius: int) -> Tensor:
    """Cut a centred kernel to (2 radius + 1)^2, fading over the outer half of `radius`.

    What is lost of the kernel's sum is spread over the window, so that flat light keeps its intensity.
    """
    total = kernel.sum()
    centre = kernel.shape[-1] // 2
    kernel = kernel[centre - radius : centre + radius + 1, centre - radius : centre + radius + 1]
    axis = torch.arange(-radius, radius + 1, dtype=torch.float32, device=kernel.device)
    distance = torch.hypot(axis[:, None], axis[None, :])
    weight = 0.5 + 0.5 * torch.cos(torch.pi * (2 * distance / radius - 1).clamp(0, 1))
    cut = kernel * weight
    return cut + weight * ((total - cut.sum()) / weight.sum())
