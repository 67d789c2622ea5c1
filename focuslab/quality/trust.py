"""How far a refocused plane may be trusted: what its blurred plane still says.

A detail of period p survives defocus if the power that it leaves in the blurred plane exceeds the power of the noise
there. What is finer is the model's guess. And a refocused plane, blurred back by the level that was undone, must be the
plane that it came from, up to noise: where it is not, it says something that the data do not.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from focuslab.errors import ImageError
from focuslab.models.latent import fade
from focuslab.models.noise import noise_sigma
from focuslab.models.restoration import blur_by
from focuslab.models.whiteness import blind_to_structure
from focuslab.models.wiener import camera_limited
from focuslab.optics import Optics, crop, mirror_pad, otf, psf
from focuslab.quality.classical import relative_transfer

__all__ = ["Consistency", "consistency", "finest_period_px"]

_RINGS = 96
_WITHIN, _NEAR = 1.25, 3.0  # times the noise
_RIM = 1.5  # blur radii from the border within which light from beyond it matters
_BORDER = 100  # px


@dataclass(frozen=True, slots=True)
class Consistency:
    """What blurring back a refocused plane leaves unexplained.

    Attributes
    ----------
    difference
        (Y, X), blurred back minus the plane, in the plane's unit.
    misfit
        Its standard deviation over that of the plane's noise, away from the border, whose light partly comes from
        beyond it; about 1 is as good as data can be.
    """

    difference: NDArray[np.float32]
    misfit: float

    @property
    def sentence(self) -> str:
        """The misfit in plain words."""
        if self.misfit < _WITHIN:
            return f"Blurred back, the result is the plane you took, to within its noise ({self.misfit:.1f} of it)."
        if self.misfit < _NEAR:
            return (
                f"Blurred back, the result is {self.misfit:.1f} times the noise away from the plane: look at the map."
            )
        return (
            f"Blurred back, the result differs from the plane by {self.misfit:.0f} times its noise: level, optics or "
            "specimen are not what is assumed; do not measure on it."
        )


def consistency(plane: NDArray[Any], sharpest: NDArray[Any], optics: Optics, level_px: float) -> Consistency:
    """Blur the sharpest image back by the level that was undone, and compare it with the plane.

    Parameters
    ----------
    plane, sharpest
        (Y, X), in one linear unit, 0 in the dark or not.
    optics
        The microscope.
    level_px
        Blur level of the plane, px.
    """
    _check_finite(plane, sharpest)
    data, light = (mirror_pad(torch.from_numpy(np.array(a, np.float32)), _BORDER) for a in (plane, sharpest))
    shape = (data.shape[-2], data.shape[-1])
    if camera_limited(optics):  # the sharpest image is the specimen
        own = otf(psf(optics, optics.defocus_um(level_px))[0], shape)
    else:
        own = relative_transfer(optics, level_px, shape)
    kept = float(fade(-level_px, torch.tensor(level_px)))  # near focus the plane itself is a part of the result
    difference = crop(blur_by(light, kept + (1 - kept) * own) - data, _BORDER)
    noise = max(_noise(data), 1e-12)
    rim = min(math.ceil(_RIM * level_px), min(plane.shape) // 4)
    return Consistency(np.asarray(difference), float(crop(difference, rim).std()) / noise)


def _noise(image: Tensor) -> float:
    """Standard deviation of the noise, of which bright pixels have more."""
    return float(blind_to_structure(image[None, None]).square().mean().sqrt()) / 6


def _check_finite(*images: NDArray[Any]) -> None:
    if not all(np.isfinite(image).all() for image in images):
        raise ImageError("Trust is measured in pixels that are all numbers: fill or cut away those that are NaN.")


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
    _check_finite(plane)
    image = torch.from_numpy(np.ascontiguousarray(plane, dtype=np.float32))
    window = torch.outer(*(torch.hann_window(n) for n in image.shape))
    flat = (image - image.mean()) * window
    power = torch.fft.rfft2(flat).abs().square() / window.square().sum()
    noise = float(noise_sigma(image[None, None])) ** 2
    fy, fx = torch.fft.fftfreq(image.shape[0]), torch.fft.rfftfreq(image.shape[1])
    ring = (torch.hypot(fy[:, None], fx[None, :]) * 2 * _RINGS).long().flatten()
    total = torch.zeros(int(ring.max()) + 1).index_add_(0, ring, power.flatten())
    count = torch.zeros(int(ring.max()) + 1).index_add_(0, ring, torch.ones(ring.shape))
    mean, known = (total / count.clamp(min=1))[1:_RINGS], count[1:_RINGS] > 0  # the mean of the plane is no detail
    lost = torch.nonzero(known & (mean <= 2 * noise))
    last = int(lost[0]) if len(lost) else _RINGS - 1
    finest = min((last + 0.5) / (2 * _RINGS), 2 * optics.na * optics.pixel_size_um / optics.wavelength_um)
    return 1 / finest if last > int(torch.nonzero(known)[0]) else math.inf
