"""Blur that is not defocus, to compare with: the Gaussian and the disc that other libraries offer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from focuslab.augment.transform import RandomTransform
from focuslab.errors import RequestError

__all__ = ["BlurParameters", "RandomDisc", "RandomGaussian"]


@dataclass(frozen=True, slots=True)
class BlurParameters:
    """Blur radius, px; a Gaussian has half of it as its standard deviation."""

    radius_px: float


class _RandomRadius(RandomTransform[BlurParameters]):
    """Blur by a radius.

    Parameters
    ----------
    radius_px
        Range of the radius, drawn evenly.
    p, seed, channels_last
        As in `RandomTransform`.
    """

    def __init__(
        self,
        radius_px: tuple[float, float] = (0.5, 8.0),
        *,
        p: float = 1.0,
        seed: int | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__(p=p, seed=seed, channels_last=channels_last)
        if not 0 <= radius_px[0] <= radius_px[1] < float("inf"):
            raise RequestError(f"A range of radii has two ascending numbers from 0 on, got {radius_px}.")
        self.radius_px = radius_px

    def draw(self, random: np.random.Generator) -> BlurParameters:
        """Draw a radius."""
        return BlurParameters(float(random.uniform(*self.radius_px)))


class RandomGaussian(_RandomRadius):
    """Gaussian blur of standard deviation radius / 2."""

    def render(self, image: NDArray[Any], parameters: BlurParameters) -> NDArray[Any]:
        """Blur every channel."""
        sigma = parameters.radius_px / 2
        return np.stack([ndimage.gaussian_filter(plane.astype(np.float64), sigma) for plane in image])


class RandomDisc(_RandomRadius):
    """Blur by an even disc, its edge softened over one pixel."""

    def render(self, image: NDArray[Any], parameters: BlurParameters) -> NDArray[Any]:
        """Blur every channel."""
        radius = parameters.radius_px
        half = int(np.ceil(radius)) + 1
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        disc = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
        disc /= disc.sum()
        padded = np.pad(image.astype(np.float64), ((0, 0), (half, half), (half, half)), mode="symmetric")
        return np.stack([signal.fftconvolve(plane, disc, mode="valid") for plane in padded])
