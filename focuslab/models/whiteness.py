"""When an iteration is to be stopped: as soon as what it leaves unexplained looks like noise.

How many iterations of Richardson-Lucy suit a specimen cannot be known beforehand, but it shows: a picture that is
stopped too early leaves structure behind, and neighbouring pixels of its residual are alike; one that is stopped too
late has taken up noise, and neighbours differ more than they would by chance. Their correlation needs to know neither
the noise nor the light [1]_. It is taken in a window around every place, because one plane may hold a few bright spots
here and a dense tissue there.

The noise of an image that was resampled, or interpolated from the mosaic of a colour camera, is not white itself. How
alike its neighbours are, its *grain*, is measured through a mask that is blind to structure [2]_ and allowed for.

References
----------
.. [1] M. S. C. Almeida and M. A. T. Figueiredo, "Parameter estimation for blind and non-blind deblurring using residual
       whiteness measures", IEEE Trans. Image Process. 22, 2751 (2013), doi 10.1109/TIP.2013.2257810.
.. [2] J. Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996), doi 10.1006/cviu.1996.0060.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["GRID", "blind_to_structure", "correlation", "grain", "picture_at", "stop_at"]

GRID = 8  # px of the camera, of the grid on which it is judged
_WHITE = -0.04  # correlation where to stop: some of the noise is always taken up
_LEAST_GRAIN = 0.1  # as much as may be found in white noise


def correlation(residual: Tensor, pixel: int, window: float) -> Tensor:
    """Correlation of neighbouring pixels around every place [1]_: (B, 1, Y / GRID, X / GRID).

    Parameters
    ----------
    residual
        (B, 1, Y / pixel, X / pixel), Y and X multiples of GRID.
    pixel
        Size of its pixels, px of the camera, a divisor of GRID.
    window
        Standard deviation of the Gaussian window, px of the camera.
    """
    right, below = (torch.roll(residual, -1, axis) for axis in (-1, -2))
    mean, square, alike = (
        _around(F.avg_pool2d(x, GRID // pixel), window / GRID)
        for x in (residual, residual.square(), residual * (right + below) / 2)
    )
    offset = mean.square()  # of a floor that is not quite right: no structure
    return (alike - offset) / (square - offset).clamp(min=1e-12)


def grain(residual: Tensor, pixel: int, window: float) -> Tensor:
    """Correlation of neighbours that the noise has by itself, see `correlation`; 0 where it may well be white.

    Behind the mask, neighbours of white noise have the correlation -2/3, of noise with a Gaussian spectrum and the
    correlation g more by x, where g is about 2.9 x - 4 x^2 (within 0.02 up to g = 0.5).
    """
    masked = blind_to_structure(F.pad(residual, [1] * 4, mode="replicate"))
    more = correlation(masked, pixel, window) + 2 / 3
    return (2.9 * more - 4 * more.square() - _LEAST_GRAIN).clamp(min=0)


def blind_to_structure(image: Tensor) -> Tensor:
    """Image (..., Y, X) behind a mask that is blind to structure up to second order [2]_: (..., Y - 2, X - 2).

    Its taps are (1 -2 1) along both axes, the second difference of second differences.
    """
    return image.diff(n=2, dim=-2).diff(n=2, dim=-1)


def stop_at(correlations: Sequence[Tensor]) -> Tensor:
    """Where on the scale of stops 0, 1, ... of an iteration its residual is white, from its correlation at each.

    What the noise has by itself, see `grain`, is to be taken off before.
    """
    falling = torch.stack(list(correlations)).cummin(0).values
    ways = [(now - _WHITE) / (now - then).clamp(min=1e-6) for now, then in pairwise(falling)]
    return torch.stack(ways).clamp(0, 1).sum(0)


def picture_at(stops: Sequence[Tensor], position: Tensor, pixel: int) -> Tensor:
    """Picture between stops (B, 1, Y / pixel, X / pixel) at a position (B, 1, Y / GRID, X / GRID) on their scale."""
    scale, picture = GRID // pixel, stops[0]
    position = F.interpolate(position, scale_factor=scale, mode="bilinear", align_corners=False)
    more = [n - m for n, m in zip(picture.shape[-2:], position.shape[-2:], strict=True)]
    position = F.pad(position, (0, more[1], 0, more[0]), mode="replicate")
    for i, (now, then) in enumerate(pairwise(stops)):
        picture = torch.addcmul(picture, (position - i).clamp(0, 1), then - now)
    return picture


def _around(x: Tensor, spread: float) -> Tensor:
    """Mean under a Gaussian that is cut at two standard deviations."""
    reach = math.ceil(2 * spread)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device) / spread).square())
    taps = taps / taps.sum()
    x = F.pad(x, [reach] * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))
