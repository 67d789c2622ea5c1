"""What a focal stack itself says of its blur: the levels of its planes, and how thick its specimen is.

Real objectives are stopped down, real specimens thick: levels from z and the nominal aperture overstate the blur. The
plane in focus, blurred by the optics to many levels, is compared with every other plane after the best affine map of
its brightness, which may change with z. Of a large field the window with most contrast is looked at.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from focuslab.optics import Optics, camera_otf
from focuslab.quality.metrics import scaled_to
from focuslab.refocusing.sampling import read_window, spread_windows
from focuslab.stack import FocalStack

__all__ = ["fit_levels", "fit_thickness"]

_SIDE, _AMONG = 512, 4 << 20  # px, side of the window that is looked at; pixels it is chosen among
_MARGIN = 48  # px
_LEAST = 1e-3  # squared transfer of the plane in focus below which it says nothing
_LEVELS = np.concatenate([[0.0], np.geomspace(0.7, 45, 60), [49, 55]])  # px, beyond those that are of use
_THICKNESSES = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)  # px of blur radius between the faces of a specimen
_CLEARER = 0.98  # of the misfit of a thin specimen that a thick one may leave


def fit_levels(stack: FocalStack, focus: int, optics: Optics, focus_px: float = 0.0) -> tuple[float, ...]:
    """Blur level of every plane of a ZYX stack, px: the one at which the plane in focus, blurred, is most like it.

    Levels start from that of the plane in focus, `focus_px`: none, unless it is said.
    """
    misfits = _misfits(stack, focus, optics, focus_px)
    best = [float(_LEVELS[int(np.argmin(row))]) for row in misfits]
    return tuple(focus_px if z == focus else level for z, level in enumerate(best))


def fit_thickness(stack: FocalStack, focus: int, optics: Optics, focus_px: float = 0.0) -> Optics:
    """Optics with the thickness of the specimen at which the planes of a ZYX stack are best explained by their levels.

    A thin specimen, unless a thick one explains them clearly better.
    """
    per_um = optics.radius_px(1.0)
    tried = [optics.replace(thickness_um=round(px / per_um, 3)) for px in _THICKNESSES]
    left = [sum(row.min() for z, row in enumerate(_misfits(stack, focus, o, focus_px)) if z != focus) for o in tried]
    best = int(np.argmin(left))
    return tried[best] if left[best] < _CLEARER * left[0] else tried[0]


def _misfits(stack: FocalStack, focus: int, optics: Optics, focus_px: float) -> Iterator[NDArray[np.float64]]:
    """For each plane, the share of its variance that the plane in focus leaves unexplained at every level tried."""
    windows = spread_windows(stack.plane_shape, _AMONG, _SIDE)
    chosen = max(windows, key=lambda window: float(read_window(stack, (focus,), window).std(dtype=np.float64)))
    sharp = read_window(stack, (focus,), chosen).astype(np.float32)
    inner = (slice(_MARGIN, _MARGIN + sharp.shape[0]), slice(_MARGIN, _MARGIN + sharp.shape[1]))
    light = np.pad(sharp, _MARGIN, mode="reflect")
    size = (light.shape[0], light.shape[1])
    own, *transfers = camera_otf(optics, [focus_px, *_LEVELS.tolist()], size)
    spectrum = torch.fft.rfft2(torch.from_numpy(light))
    blurred = [torch.fft.irfft2(spectrum * (t * own / (own.square() + _LEAST)), s=size) for t in transfers]
    made = [image.numpy()[inner] for image in blurred]
    for index in stack.planes():
        plane = read_window(stack, index, chosen).astype(np.float32)
        errors = [np.mean((scaled_to(image, plane) - plane) ** 2) for image in made]
        yield np.array(errors) / max(float(plane.var()), 1e-12)
