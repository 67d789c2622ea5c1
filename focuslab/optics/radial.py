"""Transfer functions of many defocused planes at once, for optics of circular symmetry.

The field of a circular pupil is a Hankel transform, and so is the OTF of its intensity, so that a whole series of
planes costs two matrix products:

    h(r) = integral of P(k) exp(2 pi i dz sqrt((n/lambda)^2 - k^2)) J0(2 pi k r) k dk,
    OTF(f) = integral of |h(r)|^2 J0(2 pi f r) r dr, normalised to OTF(0) = 1.

The second is summed over midpoints; what r |h|^2, which begins with a slope, makes of them there is taken off (the
first term of Euler and Maclaurin).

Use `psf` for anything that is shown or must carry aberrations; this is for trying one level after the other.

References
----------
.. [1] J. W. Goodman, Introduction to Fourier Optics, 3rd ed., section 2.1.5, 2005: the Fourier-Bessel transform.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from focuslab.optics.optics import Optics
from focuslab.optics.pupil import optics_device

__all__ = ["camera_otf", "equivalent_radii", "equivalent_radius", "radial_otf"]

_RINGS = 1024
_PROBES = 200  # frequencies at which it is looked how far a blur transfers anything
_NOTHING = 1e-3  # transfer, the pixel's included, that is not worth folding back
_DISC_HALF = 0.3526  # radius times frequency at which the transfer of a disc, 2 J1(x) / x, falls to one half
_STEP = 0.125  # radial samples in units of lambda / NA; the intensity is resolved by 0.25
_CUTOFF = 2.0  # NA / lambda, beyond which no light is transferred, and where samples would repeat what is below


def radial_otf(optics: Optics, levels_px: Sequence[float], frequency: Tensor) -> Tensor:
    """OTF of defocused planes without the camera's pixel.

    Parameters
    ----------
    optics
        The microscope; its aberrations are left out.
    levels_px
        Blur radii of the planes, px.
    frequency
        (F,) in cycles/px.

    Returns
    -------
    Tensor (len(levels_px), F), float32
    """
    reach = optics.sampling * (1.3 * optics.widest_px(max(levels_px)) + 10) + 10  # in units of lambda / NA
    r = (torch.arange(math.ceil(reach / _STEP)) + 0.5) * _STEP
    steps = math.ceil(6 * reach)
    k = (torch.arange(steps) + 0.5) / steps
    slices = optics.slices_um
    distances = [optics.defocus_um(level) + z for level in levels_px for z in slices]
    distance = torch.tensor(distances, dtype=torch.float64)
    axial = torch.sqrt(optics.index**2 - (optics.na * k.double()) ** 2) / optics.wavelength_um
    cycles = (distance[:, None] * (axial - axial[0])).remainder(1.0).float()
    pupil = torch.polar(k.expand_as(cycles), 2 * math.pi * cycles)  # P(k) k
    transform = torch.special.bessel_j0(2 * math.pi * k[:, None] * r[None, :])
    light = ((pupil.real @ transform) ** 2 + (pupil.imag @ transform) ** 2) * r
    back = torch.special.bessel_j0(2 * math.pi / optics.sampling * r[:, None] * frequency[None, :])
    axis = pupil.sum(1, keepdim=True).abs() ** 2 * _STEP / 24  # what midpoints have too much where r begins
    transfer = (light @ back - axis) / (light.sum(1, keepdim=True) - axis)
    transfer = torch.where(frequency < _CUTOFF * optics.sampling, transfer, 0.0)
    return transfer.view(len(levels_px), len(slices), -1).mean(1)


def camera_otf(
    optics: Optics,
    levels_px: Sequence[float],
    shape: tuple[int, int],
    bins: int = 1,
    device: torch.device | None = None,
) -> Tensor:
    """OTF of defocused planes on a camera, on the rfft2 grid of an image of binned pixels: what `psf` and `otf` give.

    The pixel integrates, and then samples: all frequencies that the objective transfers fold back, by every whole
    number of cycles per pixel along either axis.

    Parameters
    ----------
    optics
        The microscope; its aberrations are left out.
    levels_px
        Blur radii of the planes, camera px.
    shape
        (Y, X) of the binned image.
    bins
        Camera pixels per binned pixel and axis.
    device
        Where it is wanted.

    Returns
    -------
    Tensor (len(levels_px), Y, X // 2 + 1), float32
    """
    here = optics_device(device)
    table, highest = _table(optics.model_dump_json(), tuple(levels_px), bins)
    table, rings = table.to(here), (_RINGS - 1) / highest  # for each cycle per px
    last = (torch.arange(_RINGS, device=here) * (table.abs() > _NOTHING)).amax(1)  # ring of each level that counts
    fy, fx = torch.fft.fftfreq(shape[0], device=here), torch.fft.rfftfreq(shape[1], device=here)
    total = torch.zeros(len(levels_px), shape[0], shape[1] // 2 + 1, device=here)
    orders = range(-math.ceil(highest), math.ceil(highest) + 1)
    for y, x in ((fy + a, fx + b) for a, b in product(orders, orders)):
        ring = torch.hypot(y[:, None], x[None, :]) * rings
        some = last >= ring.min()
        if not some.any():
            continue
        low, seen = ring.long().clamp(max=_RINGS - 2), table[some]
        pixel = torch.sinc(y)[:, None] * torch.sinc(x)[None, :] * (ring <= _RINGS - 1)
        total[some] += torch.lerp(seen[:, low], seen[:, low + 1], (ring - low).clamp(max=1)) * pixel
    return total.to(device)


def equivalent_radius(optics: Optics, level_px: float) -> float:
    """Radius, px, of the even disc that takes as much detail as a plane at a blur level does.

    Taken where the transfer of plane and camera falls to one half. At a middling aperture it is near the level itself;
    a level of an objective of NA 0.95 takes half as much, because most of its light is nearer the axis; in focus it
    is what diffraction and the pixel take.

    Returns
    -------
    float, from 0.7 px: of less the camera sees nothing
    """
    return equivalent_radii(optics, (round(level_px, 3),))[0]


def equivalent_radii(optics: Optics, levels_px: Sequence[float]) -> tuple[float, ...]:
    """Radii of many levels at once, see `equivalent_radius`."""
    return _equivalent_radii(optics.model_dump_json(), tuple(levels_px))


@lru_cache(maxsize=4096)
def _equivalent_radii(key: str, levels_px: tuple[float, ...]) -> tuple[float, ...]:
    frequency = torch.linspace(0, 0.5, 1001)
    transfer = radial_otf(Optics.model_validate_json(key), levels_px, frequency) * torch.sinc(frequency)
    below = [torch.nonzero(one < 0.5) for one in transfer]
    return tuple(_DISC_HALF / float(frequency[first[0, 0]] if len(first) else frequency[-1]) for first in below)


@lru_cache(maxsize=512)
@torch.inference_mode(False)
def _table(key: str, levels_px: tuple[float, ...], bins: int) -> tuple[Tensor, float]:
    """OTF (levels, _RINGS) at even steps up to the highest frequency, cycles per binned px, that folds back at all."""
    optics = Optics.model_validate_json(key)
    probes = torch.linspace(0, _CUTOFF * optics.sampling * bins, _PROBES)
    seen = radial_otf(optics, levels_px, probes / bins).abs().amax(0) / (math.pi * probes).clamp(min=1)
    highest = max(float(probes[seen > _NOTHING].max()) + float(probes[1]), math.sqrt(0.5))
    return radial_otf(optics, levels_px, torch.linspace(0, highest / bins, _RINGS)), highest
