"""What a plane would show beyond the border of its image.

A blurred plane holds light from outside its field and lacks some of its own. A deconvolution that is given a mirror
image there draws mirrored ghosts: a rim as wide as the blur is worth little. So the specimen, inside and outside, that
explains the recorded pixels alone is looked for (Richardson-Lucy with a border [1]_), and its blurred image takes the
place of the mirrored pixels. After that a border is like any other place, for the copies and for the network. Blur
leaves no fine detail, so all of it is done on binned pixels.

References
----------
.. [1] M. Bertero and P. Boccacci, Astron. Astrophys. 437, 369 (2005), doi 10.1051/0004-6361:20052717.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.models.restoration import blur_by, fast_length, richardson_lucy
from focuslab.models.wiener import binned_psf
from focuslab.optics import Optics, equivalent_radius, otf

__all__ = ["beyond_border"]

_LEAST_LEVEL = 1.0  # px of blur below which hardly any light crosses the border
_BINNED_FROM = 2.5  # px of blur from which the plane is binned
_BINNED_RADIUS = 4.0  # binned px of blur up to which the plane is not binned further
_MOST_BINS = 8  # regions of an image start at multiples of it
_COARSE_FROM = 32.0  # px of blur from which there are so many: before, they would cost 1 to 2 dB
_ITERATIONS = 6.0  # for each px of blur
_LIFT = 0.03  # light with which Richardson-Lucy starts in the dark
_UNKNOWN = 0.3  # and beyond the border


@torch.no_grad()
def beyond_border(
    plane: Tensor, recorded: tuple[slice, slice], optics: Optics, level_px: float, floor: Tensor | float = 0.0
) -> Tensor:
    """Continue planes over what was not recorded.

    Parameters
    ----------
    plane
        (B, 1, Y, X), normalised to 0 where it is darkest, sides multiples of 8; mirrored outside the image.
    recorded
        Rows and columns of the image in it.
    optics, level_px
        The microscope, and the blur level of the planes.
    floor
        How far below 0 the dark lies, a number or (B, 1, 1, 1), see `explain`.

    Returns
    -------
    Tensor (B, 1, Y, X)
        The recorded pixels as they are, the others as their blurred specimen shows them.
    """
    rows, columns = recorded
    inside = torch.zeros(plane.shape[-2:], device=plane.device)
    inside[rows, columns] = 1
    if level_px < _LEAST_LEVEL or bool(inside.all()):
        return plane
    radius, bins = equivalent_radius(optics, level_px), 1
    most = _MOST_BINS if radius > _COARSE_FROM else _MOST_BINS // 2
    while radius / bins > (_BINNED_RADIUS if bins > 1 else _BINNED_FROM) and bins < most:
        bins *= 2
    height, width = (n // bins for n in inside.shape)
    more = (0, fast_length(width) - width, 0, fast_length(height) - height)
    share = F.pad(F.avg_pool2d(inside[None], bins)[0], more)
    light = F.pad(F.avg_pool2d((plane.float() + floor) * inside, bins), more) / share.clamp(min=1e-6)
    start = torch.where(share > 0, light.clamp(min=_LIFT), _UNKNOWN)
    # of a PSF of finite size: one without an end would tie the rim to the far side of the grid, and tiles would differ
    blur = otf(binned_psf(optics, level_px, bins, plane.device), (share.shape[0], share.shape[1]))
    steps = max(round(_ITERATIONS * radius), 1)
    (specimen,) = richardson_lucy(light, start, blur, (steps,), recorded=share)
    seen = blur_by(specimen, blur)[..., :height, :width] - floor
    if bins > 1:
        seen = F.interpolate(seen, scale_factor=bins, mode="bicubic", align_corners=False)
    return torch.where(inside > 0, plane, seen.to(plane.dtype))
