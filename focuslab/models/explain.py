"""What explains a plane at its blur level: how dark its dark is, and how much of it nothing explains.

That light is not negative says much of a specimen, once it is known what no light looks like. Where structures are
sparse some pixel of the blurred plane still shows it. Where they fill the field, as membranes of a tissue do, blur lays
light on every pixel, and the darkest of them is brighter than the dark: by an unknown *floor*. A floor that is too
small shows: no specimen above it, blurred, comes close to the plane. So the least floor that explains the plane about
as well as any larger one is taken, a discrepancy principle [1]_. Where even that leaves much more than the noise, it is
not the dark that is wrong, and there is no floor: one that is not there draws rings.

What is left unexplained is more than noise where the level is too high or the microscope is not as said. To a
deconvolution all of it is noise, so the front end is told more noise than there is. The misfit is averaged over a few
pixels before it is squared: noise is not, and with more room below it a specimen follows noise more closely.

References
----------
.. [1] V. A. Morozov, Methods for Solving Incorrectly Posed Problems, Springer, 1984,
       doi 10.1007/978-1-4612-5280-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.models.evidence import structured
from focuslab.models.restoration import blur_by, nonnegative_wiener
from focuslab.models.wiener import LEAST_NOISE
from focuslab.optics import Optics, camera_otf, crop, equivalent_radius, mirror_pad

__all__ = ["Explanation", "explain", "explain_each"]

_TRIALS = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.45)  # normalised intensity
_SLACK = 0.1  # for each px of blur, of the best explanation's misfit that a smaller floor may have more
_ALLOWANCE = 0.25  # of the variance of the noise that it may have more besides
_FAINT = 0.05  # light below which noise no longer falls
_LEAST_LEVEL = 1.0  # px of blur below which nothing is filled up
_WIDE_FLOOR = (20.0, 40.0)  # px of blur over which the floor fades: pixels would depend on others too far away
_WIDE_SURPLUS = (8.0, 16.0)  # and the surplus: few iterations explain no wide blur to the noise of many pixels
_TOLERATED = 1.4  # misfit, variances of the noise, that is none
_LARGEST_SURPLUS = 10.0
_BINNED_RADIUS = 5.0  # binned px of blur up to which the plane is not binned further
_SIDE = 128  # binned px
_POOL = 4  # binned px that the misfit is averaged over before it is squared
_MARGIN = 24  # binned px
_ITERATIONS = 12
_REGULARISATION = 300.0  # over the variance of the noise


@dataclass(frozen=True, slots=True)
class Explanation:
    """How well light that is not negative explains a plane.

    Attributes
    ----------
    floor
        How far the dark lies below the 0 of the plane, in its normalised intensity.
    surplus
        Times the noise that what is left unexplained stands for, 1 or more.
    """

    floor: float = 0.0
    surplus: float = 1.0


def explain(plane: Tensor, optics: Optics, level_px: float, noise: float) -> Explanation:
    """Explain a plane (Y, X).

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
    return explain_each(plane[None], optics, level_px, [noise])[0]


@torch.no_grad()
def explain_each(planes: Tensor, optics: Optics, level_px: float, noises: Sequence[float]) -> list[Explanation]:
    """Explain planes (B, Y, X) of one blur level, each with its own noise, see `explain`."""
    radius, (height, width) = equivalent_radius(optics, level_px), planes.shape[-2:]
    if level_px < _LEAST_LEVEL or radius >= _WIDE_FLOOR[1] or min(height, width) < 16:
        return [Explanation()] * len(planes)
    bins = 1
    while radius / bins > _BINNED_RADIUS and min(height, width) >= 32 * bins:
        bins *= 2
    parts = torch.stack([structured(plane, _SIDE * bins) for plane in planes])
    noise = torch.tensor([max(noise, LEAST_NOISE) for noise in noises], device=planes.device).view(-1, 1, 1, 1)
    data = mirror_pad(F.avg_pool2d(parts[:, None], bins), _MARGIN)  # (B, 1, Y, X)
    transfer = camera_otf(optics, (level_px,), (data.shape[-2], data.shape[-1]), bins, planes.device)
    trials = torch.tensor(_TRIALS, device=planes.device)
    raised = data + trials.view(-1, 1, 1)
    light = nonnegative_wiener(raised, transfer, _REGULARISATION * noise**2, _ITERATIONS)
    squares = F.avg_pool2d(crop(blur_by(light, transfer) - raised, _MARGIN), _POOL).square()
    squares = squares * (bins * _POOL / noise) ** 2
    weight = 1 / (F.avg_pool2d(crop(data, _MARGIN), _POOL).clamp(min=0) + _FAINT)  # noise grows with light
    misfits = (weight * squares).mean((-2, -1)) / weight.mean((-2, -1))
    left = squares.mean((-2, -1)).amin(1)
    floors = [_least(trials, m, (1 + _SLACK * radius) * m.min() + _ALLOWANCE) for m in misfits]
    surpluses = [min(max(s / _TOLERATED, 1.0), _LARGEST_SURPLUS) for s in left.tolist()]
    wide_floor, wide_surplus = _share(radius, _WIDE_FLOOR), _share(radius, _WIDE_SURPLUS)
    return [
        Explanation(wide_floor * f * max(2 - s**wide_surplus, 0.0), s**wide_surplus)
        for f, s in zip(floors, surpluses, strict=True)
    ]


def _share(radius: float, wide: tuple[float, float]) -> float:
    """From 1 below the first radius to 0 at the second."""
    return min(max((wide[1] - radius) / (wide[1] - wide[0]), 0.0), 1.0)


def _least(trials: Tensor, misfit: Tensor, bound: Tensor) -> float:
    """Least trial whose misfit is within the bound, linear between trials."""
    within = (misfit <= bound).tolist()
    first = within.index(True) if True in within else 0
    if first == 0:
        return 0.0
    share = (misfit[first - 1] - bound) / (misfit[first - 1] - misfit[first])
    return float(torch.lerp(trials[first - 1], trials[first], share))
