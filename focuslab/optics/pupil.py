"""Point spread functions from the scalar pupil.

    P(k)   = [|k| <= NA/lambda] * exp(2 pi i (dz * sqrt((n/lambda)^2 - |k|^2) + W(k)))
    PSF(r) = |FFT(P)|^2, integrated over camera pixels, each plane normalised to sum 1,

with k in cycles/um, dz in um and W the aberrations in waves; of a thick specimen, the mean over its slices.
Defocus conserves energy: every plane carries the same energy before it is normalised (Parseval). The field is
sampled at a multiple of the camera pitch, at least four samples per wavelength/NA, because 0.645 um pixels undersample
NA 0.45. The pupil edge is softened over one frequency step, which removes the ripple of a staircase circle.

References
----------
.. [1] J. W. Goodman, Introduction to Fourier Optics, 3rd ed., chapter 6, 2005.
.. [2] R. J. Noll, "Zernike polynomials and atmospheric turbulence", JOSA 66, 207 (1976),
       doi 10.1364/JOSA.66.000207.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from focuslab.optics.optics import Optics

__all__ = ["optics_device", "otf", "psf", "psf_size", "zernike"]


def psf(
    optics: Optics,
    defocus_um: float | Sequence[float] | Tensor,
    *,
    size: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Point spread function on the camera grid.

    Parameters
    ----------
    optics
        The microscope.
    defocus_um
        Distance of each plane from focus, um. A tensor is followed by gradients.
    size
        Side of the square result, pixels; the centre is at ``size // 2``. By default large enough for
        the most defocused plane.
    device
        Where to compute; by default where `defocus_um` is.

    Returns
    -------
    Tensor (Z, size, size), float32
        Each plane sums to 1.
    """
    dz = torch.as_tensor(defocus_um, dtype=torch.float32, device=device).reshape(-1)
    radius = optics.widest_px(optics.radius_px(float(dz.detach().abs().max())))
    grid = max(size or 0, psf_size(optics, radius))
    size = size or grid
    factor = oversampling(optics)
    amplitude, axial, waves = _pupil(optics.model_dump_json(), grid, factor, dz.device)
    planes = []
    for z in dz:  # one plane at a time: the fine grid may be large
        intensity = torch.zeros_like(amplitude)
        for slice_um in optics.slices_um:
            field = torch.fft.ifft2(torch.polar(amplitude, 2 * math.pi * ((z + slice_um) * axial + waves)))
            intensity = intensity + field.real**2 + field.imag**2
        planes.append(_on_camera(intensity[None], factor))
    stack = torch.fft.fftshift(torch.cat(planes), dim=(-2, -1))
    start = grid // 2 - size // 2
    stack = stack[:, start : start + size, start : start + size]
    return stack / stack.sum((-2, -1), keepdim=True)


def _on_camera(intensity: Tensor, factor: int) -> Tensor:
    """Light (Z, N, N) around index 0 as pixels of `factor` samples see it, (Z, N / factor, N / factor).

    A pixel integrates, which multiplies the spectrum by sinc(f), and there is one every `factor` samples: what lies
    beyond the camera's frequencies folds back.
    """
    grid = intensity.shape[-1] // factor
    pixel = torch.sinc(torch.fft.fftfreq(intensity.shape[-1], 1 / factor, device=intensity.device))
    spectrum = torch.fft.fft2(intensity) * pixel[:, None] * pixel
    return torch.fft.ifft2(spectrum.view(-1, factor, grid, factor, grid).sum((1, 3))).real.clamp(min=0)


def optics_device(device: torch.device | None) -> torch.device:
    """Where the optics for images on a device are computed: a CUDA GPU itself, for others the CPU.

    Not every device knows complex numbers.
    """
    return device if device is not None and device.type == "cuda" else torch.device("cpu")


def otf(kernel: Tensor, shape: tuple[int, int]) -> Tensor:
    """Optical transfer function of centred kernels.

    Parameters
    ----------
    kernel
        (..., K, K), centre at ``K // 2``, K at most the smaller of `shape`.
    shape
        (Y, X) of the image to be filtered.

    Returns
    -------
    Tensor (..., Y, X // 2 + 1), complex
        For use with `torch.fft.rfft2` of that shape.

    Raises
    ------
    ValueError
        If the kernel is larger than the image.
    """
    k = kernel.shape[-1]
    if k > min(shape):
        raise ValueError(f"An image of {shape} px cannot hold a kernel of {k} px: its far side would be cut off.")
    padded = torch.nn.functional.pad(kernel, (0, shape[1] - k, 0, shape[0] - k))
    return torch.fft.rfft2(torch.roll(padded, (-(k // 2), -(k // 2)), (-2, -1)))


def psf_size(optics: Optics, radius_px: float) -> int:
    """Side in pixels of a grid that holds the PSF of blur radius `radius_px` with its tails."""
    return 2 * math.ceil(1.25 * radius_px + 6 * optics.airy_radius_px + 24)


def oversampling(optics: Optics) -> int:
    """Number of fine samples per camera pixel that resolves the intensity (four per wavelength/NA)."""
    return math.ceil(4 * optics.sampling)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _pupil(key: str, grid: int, factor: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Amplitude, axial frequency (cycles/um) and aberration (waves) of the pupil, in FFT order."""
    optics = Optics.model_validate_json(key)
    n = grid * factor
    step = optics.pixel_size_um / factor
    f = torch.fft.fftfreq(n, d=step, device=device)
    ky, kx = f[:, None], f[None, :]
    k = torch.sqrt(ky**2 + kx**2)
    edge = optics.na / optics.wavelength_um
    amplitude = (0.5 + (edge - k) * n * step).clamp(0, 1)
    axial = torch.sqrt(((optics.index / optics.wavelength_um) ** 2 - k**2).clamp(min=0))
    waves = torch.zeros_like(k)
    for noll, rms in optics.zernike_waves.items():
        waves = waves + rms * zernike(noll, (k / edge).clamp(max=1), torch.atan2(ky, kx))
    return amplitude, axial, waves


def zernike(noll: int, rho: Tensor, theta: Tensor) -> Tensor:
    """Zernike polynomial by Noll index, of unit RMS over the unit disc [2]_.

    Parameters
    ----------
    noll
        Index from 1 (piston); 4 is defocus, 11 primary spherical.
    rho, theta
        Polar pupil coordinates, `rho` in 0..1.
    """
    n = math.ceil((-3 + math.sqrt(1 + 8 * noll)) / 2)
    rest = noll - n * (n + 1) // 2 - 1
    m = 2 * ((rest + 1) // 2) if n % 2 == 0 else 2 * (rest // 2) + 1
    radial = torch.zeros_like(rho)
    for s in range((n - m) // 2 + 1):
        weight = (-1) ** s * math.factorial(n - s)
        weight /= math.factorial(s) * math.factorial((n + m) // 2 - s) * math.factorial((n - m) // 2 - s)
        radial = radial + weight * rho ** (n - 2 * s)
    if m == 0:
        return math.sqrt(n + 1) * radial
    angular = torch.cos(m * theta) if noll % 2 == 0 else torch.sin(m * theta)
    return math.sqrt(2 * (n + 1)) * radial * angular
