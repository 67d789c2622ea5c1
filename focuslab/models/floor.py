"""How dark the dark is under a blurred plane.

That light is not negative says much of a specimen, once it is known what no light looks like. Where structures are
sparse some pixel of the blurred plane still shows it. Where they fill the field, as membranes of a tissue do, blur lays
light on every pixel, and the darkest of them is brighter than the dark: by an unknown *floor*.

A floor that is too small shows: no specimen above it, blurred, comes close to the plane. So the least floor that
explains the plane about as well as any larger one is taken, a discrepancy principle [1]_. The misfit is averaged over
a few pixels before it is squared, because with more room below it a specimen follows the noise more closely.

References
----------
.. [1] V. A. Morozov, Methods for Solving Incorrectly Posed Problems, Springer, 1984,
       doi 10.1007/978-1-4612-5280-1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.models.evidence import structured
from focuslab.models.restoration import blur_by, nonnegative_wiener
from focuslab.models.wiener import LEAST_NOISE
from focuslab.optics import Optics, camera_otf, crop, equivalent_radius, mirror_pad

__all__ = ["light_floor"]

_TRIALS = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.45)  # normalised intensity
_SLACK = 0.3  # of the best explanation's misfit that a smaller floor may have more
_ALLOWANCE = 0.25  # of the variance of the noise that it may have more besides
_FAINT = 0.05  # light below which noise no longer falls
_LEAST_LEVEL = 1.0  # px of blur below which nothing is filled up
_WIDE = (20.0, 40.0)  # px of blur over which the floor fades: above it pixels would depend on others too far away
_BINNED_RADIUS = 5.0  # binned px of blur up to which the plane is not binned further
_SIDE = 128  # binned px
_POOL = 4  # binned px that the misfit is averaged over before it is squared
_MARGIN = 24  # binned px
_ITERATIONS = 12
_REGULARISATION = 300.0  # over the variance of the noise


@torch.no_grad()
def light_floor(plane: Tensor, optics: Optics, level_px: float, noise: float) -> float:
    """How far the dark lies below the darkest of a plane (Y, X), which is its 0, in its normalised intensity.

    Parameters
    ----------
    plane
        Normalised to 0 where it is darkest and 1 where it is brightest.
    optics
        The microscope.
    level_px
        Blur level of the plane.
    noise
        Standard deviation of its noise.
    """
    radius = equivalent_radius(optics, level_px)
    share = min((_WIDE[1] - radius) / (_WIDE[1] - _WIDE[0]), 1.0)
    if level_px < _LEAST_LEVEL or share <= 0 or min(plane.shape) < 16:
        return 0.0
    bins = 1
    while radius / bins > _BINNED_RADIUS and min(plane.shape) >= 32 * bins:
        bins *= 2
    part = F.avg_pool2d(structured(plane, _SIDE * bins)[None], bins)[0]
    data = mirror_pad(part, _MARGIN)
    transfer = camera_otf(optics, (level_px,), (data.shape[-2], data.shape[-1]), bins).to(plane.device)
    trials = torch.tensor(_TRIALS, device=plane.device)
    raised = data + trials[:, None, None]
    light = nonnegative_wiener(raised, transfer, _REGULARISATION * max(noise, LEAST_NOISE) ** 2, _ITERATIONS)
    error = F.avg_pool2d(crop(blur_by(light, transfer) - raised, _MARGIN), _POOL)
    weight = 1 / (F.avg_pool2d(crop(data, _MARGIN)[None], _POOL)[0].clamp(min=0) + _FAINT)  # noise grows with light
    misfit = (weight * error.square()).mean((-2, -1)) / weight.mean()
    expected = max(noise, LEAST_NOISE) / (bins * _POOL)
    return share * _least(trials, misfit, (1 + _SLACK) * misfit.min() + _ALLOWANCE * expected**2)


def _least(trials: Tensor, misfit: Tensor, bound: Tensor) -> float:
    """Least trial whose misfit is within the bound, linear between trials."""
    first = int((misfit <= bound).int().argmax())
    if first == 0:
        return 0.0
    share = (misfit[first - 1] - bound) / (misfit[first - 1] - misfit[first])
    return float(torch.lerp(trials[first - 1], trials[first], share))
