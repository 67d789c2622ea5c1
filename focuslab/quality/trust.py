"""How far a refocused plane may be trusted: what its blurred plane still says.

A detail of period p survives defocus if the power that it leaves in the blurred plane exceeds the power of the noise
there. What is finer is the model's guess.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from focuslab.models.frontend import noise_sigma
from focuslab.optics import Optics

__all__ = ["finest_period_px"]

_RINGS = 96


def finest_period_px(plane: NDArray[Any], optics: Optics) -> float:
    """Period, px, of the finest detail that the data of a plane support; inf if there is none.

    The spectrum of the plane, in rings, is followed from coarse to fine until the power of its structure falls below
    that of its noise (OTF times signal-to-noise below 1), or the optics end.

    Parameters
    ----------
    plane
        (Y, X), linear, in any unit, at least 32 x 32 px.
    optics
        The microscope: nothing beyond 2 NA / wavelength comes from the specimen.
    """
    image = torch.from_numpy(np.ascontiguousarray(plane, dtype=np.float32))
    window = torch.outer(*(torch.hann_window(n) for n in image.shape))
    flat = (image - image.mean()) * window
    power = torch.fft.rfft2(flat).abs().square() / window.square().sum()
    noise = float(noise_sigma(image[None, None])) ** 2
    fy, fx = torch.fft.fftfreq(image.shape[0]), torch.fft.rfftfreq(image.shape[1])
    ring = (torch.hypot(fy[:, None], fx[None, :]) * 2 * _RINGS).long().flatten()
    total = torch.zeros(int(ring.max()) + 1).index_add_(0, ring, power.flatten())
    count = torch.zeros(int(ring.max()) + 1).index_add_(0, ring, torch.ones(ring.shape))
    mean = (total / count.clamp(min=1))[1:_RINGS]  # the mean of the plane is no detail
    lost = torch.nonzero(mean < 2 * noise)
    last = int(lost[0]) if len(lost) else _RINGS - 1
    finest = min((last + 0.5) / (2 * _RINGS), 2 * optics.na * optics.pixel_size_um / optics.wavelength_um)
    return 1 / finest if last > 0 else math.inf
