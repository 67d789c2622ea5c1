"""Hot and dead pixels of a camera, which no specimen has.

Light that comes from a point falls on several pixels. A pixel that stands out of its eight neighbours by more than the
image of a point in its middle would, or far below them, is no light: deblurred, it would become a ring or a small cell.
"""

from functools import lru_cache, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.optics import Optics, psf

__all__ = ["without_spots"]

_NOISES = 8.0  # standard deviations of the noise that a pixel may differ by in any case
_MORE, _LEAST = 1.3, 0.25  # what it may stand out by, times what a point does, and as a share of its neighbours


def without_spots(plane: Tensor, optics: Optics, level_px: float, noise: float) -> Tensor:
    """Normalised planes (B, 1, Y, X) of a blur level, hot and dead pixels replaced by the mean of their neighbours."""
    height, width = plane.shape[-2:]
    padded = F.pad(plane, (1, 1, 1, 1), mode="replicate")
    eight = [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    high, low = reduce(torch.maximum, eight), reduce(torch.minimum, eight)
    share = _MORE * _standing_out(optics.model_dump_json(), round(level_px, 2)) + _LEAST
    allowed = _NOISES * noise + share * high.clamp(min=0)
    spots = (plane > high + allowed) | (plane < low - allowed)
    return torch.where(spots, sum(eight) / 8, plane) if bool(spots.any()) else plane


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _standing_out(key: str, level_px: float) -> float:
    """What the image of a point in the middle of a pixel has there more than beside it, as a share of that."""
    optics = Optics.model_validate_json(key)
    image = psf(optics, optics.defocus_um(level_px))[0]
    middle = image.shape[-1] // 2
    return max(float(image[middle, middle] / image[middle, middle + 1]) - 1, 0.0)
