"""Agreement of two images. Say always what is compared with what, and for which data range."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from focuslab.errors import ImageError

__all__ = ["ffl", "mse", "psnr", "scaled_to", "ssim"]


def psnr(image: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
    """Peak signal-to-noise ratio in decibels: 10 log10(data_range^2 / mean squared error); inf if equal."""
    _same_shape(image, truth)
    error = mse(image, truth)
    return float("inf") if error == 0 else 10 * np.log10(data_range**2 / error)


def mse(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """Mean squared error."""
    _same_shape(image, truth)
    return float(np.mean((image.astype(np.float64) - truth.astype(np.float64)) ** 2))


def ffl(image: NDArray[Any], truth: NDArray[Any], *, alpha: float = 1.0) -> float:
    """Focal frequency loss [1]_: mean of w |F_image - F_truth|^2, w = |F_image - F_truth|^alpha over its largest value.

    F is the orthonormal Fourier transform of the whole image.

    References
    ----------
    .. [1] L. Jiang et al., "Focal Frequency Loss for Image Reconstruction and Synthesis", ICCV 2021,
           doi 10.1109/ICCV48922.2021.01366.
    """
    _same_shape(image, truth)
    gap = np.abs(np.fft.fft2(image.astype(np.float64) - truth.astype(np.float64), norm="ortho"))
    weight = gap**alpha
    largest = float(weight.max())
    return float(np.mean(weight / largest * gap**2)) if largest > 0 else 0.0


def ssim(image: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
    """Structural similarity with Gaussian weights of 1.5 px.

    References
    ----------
    .. [1] Z. Wang et al., IEEE Trans. Image Process. 13, 600 (2004), doi 10.1109/TIP.2003.819861.
    """
    _same_shape(image, truth)
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            image.astype(np.float64),
            truth.astype(np.float64),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def scaled_to(image: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Image under the affine map that brings it closest to the truth (least squares).

    For stacks whose brightness changes with focus, as in optical sections.
    """
    _same_shape(image, truth)
    x, y = image.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    spread = x.var()
    gain = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread > 0 else 0.0
    return (image.astype(np.float64) - x.mean()) * gain + y.mean()


def _same_shape(image: NDArray[Any], truth: NDArray[Any]) -> None:
    if image.shape != truth.shape:
        raise ImageError(f"Images of one shape can be compared, got {image.shape} and {truth.shape}.")
