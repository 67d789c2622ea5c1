"""Augmentation in the frequency domain, companions to defocus.

References
----------
.. [1] G. Chen et al., "Amplitude-phase recombination: rethinking robustness of convolutional neural networks in
       frequency domain", ICCV 2021, arXiv 2108.08487.
.. [2] P. Vaish et al., "Fourier-basis functions to bridge augmentation gap: rethinking frequency augmentation in image
       classification", CVPR 2024, arXiv 2403.01944. There the wave has unit norm over an 8-bit image; here its
       amplitude is a share of the image's own range, and its frequency goes up to what the pixels resolve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from focuslab.augment.transform import RandomTransform
from focuslab.errors import ImageError, RequestError
from focuslab.pixels import PERCENTILES

__all__ = ["AmplitudePhaseRecombination", "FourierBasisNoise", "RecombinationParameters", "WaveParameters"]

_GAMMA = (0.5, 2.0)  # of a view of the same image


@dataclass(frozen=True, slots=True)
class RecombinationParameters:
    """Where the amplitude comes from: an image of the pool by index, or a view of the image itself.

    Attributes
    ----------
    other
        Index into the pool; None for a view of the image.
    turns, flipped, gamma
        The view: quarter turns, mirror, exponent of the intensity.
    """

    other: int | None
    turns: int = 0
    flipped: bool = False
    gamma: float = 1.0


class AmplitudePhaseRecombination(RandomTransform[RecombinationParameters]):
    """Phase of an image, which holds its shapes, with the amplitude spectrum of another [1]_.

    Parameters
    ----------
    pool
        Images (Y, X) or (C, Y, X) that lend their amplitude (APR-P, a data set in place of a batch); without, a view of
        the same image, turned, mirrored and of another gamma, does (APR-S).
    p, seed, channels_last
        As in `RandomTransform`.
    """

    def __init__(
        self,
        pool: Sequence[NDArray[Any]] = (),
        *,
        p: float = 0.6,
        seed: int | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__(p=p, seed=seed, channels_last=channels_last)
        self.pool = pool

    def draw(self, random: np.random.Generator) -> RecombinationParameters:
        """Draw another image, or a view."""
        if len(self.pool):
            return RecombinationParameters(int(random.integers(len(self.pool))))
        gamma = float(np.exp(random.uniform(*np.log(_GAMMA))))
        return RecombinationParameters(None, int(random.integers(4)), bool(random.integers(2)), gamma)

    def render(self, image: NDArray[Any], parameters: RecombinationParameters) -> NDArray[Any]:
        """Recombine every channel; the image keeps its own mean and spread of intensities."""
        own = image.astype(np.float64)
        other = self._other(own, parameters)
        spectrum, lent = fft.rfft2(own), fft.rfft2(other)
        made = fft.irfft2(np.abs(lent) * np.exp(1j * np.angle(spectrum)), s=own.shape[-2:])
        axes = (-2, -1)
        made = made - made.mean(axes, keepdims=True)
        spread = own.std(axes, keepdims=True) / np.maximum(made.std(axes, keepdims=True), 1e-12)
        return np.asarray(own.mean(axes, keepdims=True) + made * spread)

    def _other(self, own: NDArray[np.float64], parameters: RecombinationParameters) -> NDArray[np.float64]:
        """What lends the amplitude, of the shape of the image."""
        shape = own.shape
        if parameters.other is None:
            low = own.min((-2, -1), keepdims=True)
            top = np.maximum(np.ptp(own, axis=(-2, -1), keepdims=True), 1e-12)
            view = np.rot90(((own - low) / top) ** parameters.gamma, parameters.turns, (-2, -1))
            view = view[..., ::-1] if parameters.flipped else view
        else:
            view = np.asarray(self.pool[parameters.other], np.float64)
            known = np.isfinite(view)
            view = np.where(known, view, view[known].mean() if known.any() else 0.0)
            view = view[None] if view.ndim == 2 else np.moveaxis(view, -1, 0) if self.channels_last else view
            if view.shape[0] not in (1, shape[0]):
                raise ImageError(f"An image of the pool has {view.shape[0]} channels, the image {shape[0]}.")
        sides = tuple((0, max(n - m, 0)) for n, m in zip(shape[-2:], view.shape[-2:], strict=True))
        view = np.pad(view, ((0, 0), *sides), mode="symmetric")[..., : shape[-2], : shape[-1]]
        return np.asarray(np.broadcast_to(view, shape))


@dataclass(frozen=True, slots=True)
class WaveParameters:
    """Plane waves, one per channel; the last one goes on for channels beyond.

    Attributes
    ----------
    frequency
        From 0, one period over the shorter side of the image, to 1, two pixels.
    angle
        Direction, radians.
    strength
        Amplitude as a share of the image's range of intensities.
    """

    frequency: tuple[float, ...]
    angle: tuple[float, ...]
    strength: tuple[float, ...]


class FourierBasisNoise(RandomTransform[WaveParameters]):
    """A plane wave of random frequency, direction and exponentially distributed strength added to each channel [2]_.

    Parameters
    ----------
    strength
        Mean amplitude, as a share of the range of intensities (0.5th to 99.9th percentile).
    channels
        Number of channels that get waves of their own.
    p, seed, channels_last
        As in `RandomTransform`.

    Raises
    ------
    RequestError
        If the strength is not positive.
    """

    def __init__(
        self,
        strength: float = 0.1,
        *,
        channels: int = 1,
        p: float = 0.5,
        seed: int | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__(p=p, seed=seed, channels_last=channels_last)
        if not strength > 0:
            raise RequestError(f"The strength of a wave is a positive share of the intensities, got {strength}.")
        self.strength, self.channels = strength, channels

    def draw(self, random: np.random.Generator) -> WaveParameters:
        """Draw waves."""
        n = self.channels
        frequency, angle = random.uniform(0, 1, n), random.uniform(0, np.pi, n)
        return WaveParameters(tuple(frequency), tuple(angle), tuple(random.exponential(self.strength, n)))

    def render(self, image: NDArray[Any], parameters: WaveParameters) -> NDArray[Any]:
        """Add the waves."""
        height, width = image.shape[-2:]
        y, x = np.mgrid[:height, :width].astype(np.float64)
        made = image.astype(np.float64)
        for channel, plane in enumerate(made):
            k = min(channel, len(parameters.frequency) - 1)
            cycles = 1 / min(height, width) + parameters.frequency[k] * (0.5 - 1 / min(height, width))  # per px
            angle = parameters.angle[k]
            low, high = np.percentile(image[channel], PERCENTILES)
            wave = np.cos(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)) - np.pi / 4)
            plane += parameters.strength[k] * (high - low) * wave
        return made
