"""Defocus of a specimen: incoherent image formation, image = specimen (x) PSF.

A 2D specimen lies in one plane; a 3D specimen is the sum of its planes, each blurred by its own distance
from the focal plane. Borders are mirrored, so that light neither enters nor leaves at the edge.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from focuslab.errors import ImageError
from focuslab.optics.optics import Optics
from focuslab.optics.pupil import otf, psf

__all__ = ["convolve", "crop", "defocus", "defocus_volume", "mirror_pad"]


def mirror_pad(image: Tensor, margin: int) -> Tensor:
    """Extend (..., Y, X) by `margin` pixels on every side by reflection, for any margin and size.

    `torch` reflects at most once; a small image with a wide margin is reflected again and again.
    """
    for dim in (-2, -1):
        n = image.shape[dim]
        period = max(2 * (n - 1), 1)
        index = torch.arange(-margin, n + margin, device=image.device) % period
        index = torch.minimum(index, period - index) if n > 1 else torch.zeros_like(index)
        image = image.index_select(dim, index)
    return image


def crop(image: Tensor, margin: int) -> Tensor:
    """Return (..., Y, X) without `margin` pixels on every side: what `mirror_pad` added."""
    return image[..., margin : image.shape[-2] - margin, margin : image.shape[-1] - margin]


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolve (..., Y, X) with centred odd or even kernels (..., K, K), borders mirrored.

    The leading axes of `image` and `kernel` broadcast; the result has the size of `image`.
    """
    margin = (kernel.shape[-1] + 1) // 2
    padded = mirror_pad(image, margin)
    spectrum = torch.fft.rfft2(padded) * otf(kernel, (padded.shape[-2], padded.shape[-1]))
    full = torch.fft.irfft2(spectrum, s=padded.shape[-2:])
    return full[..., margin : margin + image.shape[-2], margin : margin + image.shape[-1]]


def defocus(
    specimen: Tensor | NDArray[np.float32], optics: Optics, defocus_um: float | Sequence[float] | Tensor
) -> Tensor:
    """Focal planes of a flat specimen.

    Parameters
    ----------
    specimen
        (..., Y, X), linear intensity.
    optics
        The microscope.
    defocus_um
        Distance of each focal plane from the specimen, um.

    Returns
    -------
    Tensor (..., Z, Y, X)
    """
    light = torch.as_tensor(specimen)
    return convolve(light[..., None, :, :], psf(optics, defocus_um).to(light.device))


def defocus_volume(specimen: Tensor, optics: Optics, *, z_step_um: float, focus_um: float | Sequence[float]) -> Tensor:
    """Focal planes of a thick specimen: every slice blurred by its distance from focus, then summed.

    Parameters
    ----------
    specimen
        (Z, Y, X), slices `z_step_um` apart, the first at 0 um.
    focus_um
        Axial positions of the focal planes to image, um.

    Returns
    -------
    Tensor (len(focus_um), Y, X)
    """
    if specimen.ndim != 3:
        raise ImageError(f"A thick specimen has axes (Z, Y, X), got shape {tuple(specimen.shape)}.")
    slices = torch.arange(specimen.shape[0], dtype=torch.float32) * z_step_um
    focus = torch.as_tensor(focus_um, dtype=torch.float32).reshape(-1)
    planes = [convolve(specimen, psf(optics, slices - z).to(specimen.device)).sum(0) for z in focus]
    return torch.stack(planes)
