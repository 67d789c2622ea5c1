"""Physics front end: copies of a plane by its optics, before any network.

From a plane y at blur level b, by the pupil PSF of the microscope (never a Gaussian or a disc):

- Wiener copies, to the sharpest image, regularised strongly, as it should be, and weakly: W_0(kappa) y;
- Richardson-Lucy copies, which know that light is not negative, started from the middle one, accelerated, on a
  grid binned to where the deblurred image has its detail, after a quarter of the iterations and at the end;
- a ladder of copies at fixed blur levels t, sharper or blurrier than the plane: W_t y (its sharp end is the late
  Richardson-Lucy copy from 5 px of blur on),

    W_t(kappa) = M_t conj(OTF_b) / (|OTF_b|^2 + kappa sigma^2 (f^2 + 0.04^2)),        f in cycles/px,

which is the Wiener filter for white noise of standard deviation sigma (one number per plane) and a specimen whose
power falls like 1/f^2: on nuclei, filaments and puncta of all noise levels the best kappa is near 7000 in units
of normalised intensity, and a constant instead of f^2 loses 1 to 3 dB. M_t = OTF_t; for t > b the filter is the
relative blur, for t < b the relative deblur. The sharpest image, t = 0, is the in-focus image where the camera
resolves diffraction, and the specimen on the camera's grid (M_0 = 1) where it does not (c >= 0.5, Airy radius below
1.2 px).

Kernels are cut to min(8 r_px, 96) px, so that a tile with that halo agrees with the whole image. The momentum of
the Richardson-Lucy iteration follows a fixed schedule rather than the data, for the same reason; its memory of
far pixels decays within a few blur radii.

References
----------
.. [1] N. Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series, MIT Press, 1949.
.. [2] W. H. Richardson, JOSA 62, 55 (1972), doi 10.1364/JOSA.62.000055; L. B. Lucy, Astron. J. 79, 745 (1974),
       doi 10.1086/111605.
.. [3] D. S. C. Biggs and M. Andrews, "Acceleration of iterative image restoration algorithms", Appl. Opt. 36,
       1766 (1997), doi 10.1364/AO.36.001766.
.. [4] Y. Nesterov, Soviet Math. Dokl. 27, 372 (1983): the momentum schedule (i - 1) / (i + 2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.optics.optics import Optics
from focuslab.optics.pupil import otf, psf

__all__ = [
    "COPIES",
    "LADDER",
    "REGULARISATIONS",
    "PhysicsCopies",
    "PhysicsFrontEnd",
    "bracket",
    "exact_rungs",
    "noise_sigma",
    "wiener_gain",
]

REGULARISATIONS = (30000.0, 7000.0, 1500.0)
COPIES = len(REGULARISATIONS) + 2
LADDER = (0.0, 1.0, 2.0, 3.2, 4.8, 7.0, 10.0, 14.0, 19.0, 26.0, 35.0, 45.0)
_LADDER_REGULARISATION = REGULARISATIONS[1]
_LEAST_NOISE = 4e-4  # standard deviation below which a plane is taken as this noisy
_KNEE = 0.04  # cycles/px: below it the power of a specimen is taken as flat
_LARGEST_RADIUS = 96
_LUCY_FROM = 5.0  # blur level, px, from which Richardson-Lucy is the better sharp copy
_LUCY_REACH = 10.0  # blur radii after which a pixel no longer matters
_KEPT = 512  # filters in the cache
_DARK = 1e-3  # least light per pixel, in normalised intensity
_CAMERA_LIMITED = 0.5  # sampling number from which the camera, not diffraction, limits the sharp image


@dataclass(frozen=True, slots=True)
class PhysicsCopies:
    """What the front end makes of a batch of planes.

    Attributes
    ----------
    deconvolved
        (B, 5, Y, X), to the sharpest image: three by Wiener, from strong to weak regularisation, two by
        Richardson-Lucy, early and late.
    ladder
        (B, K, Y, X), at the blur levels `rungs`.
    rungs
        Blur levels in px, ascending.
    """

    deconvolved: Tensor
    ladder: Tensor
    rungs: tuple[float, ...]

    def cropped(self, margin: int) -> "PhysicsCopies":
        """Return the copies without a border of `margin` px."""
        inner = (..., slice(margin, -margin), slice(margin, -margin))
        return PhysicsCopies(self.deconvolved[inner], self.ladder[inner], self.rungs)


def noise_sigma(plane: Tensor) -> Tensor:
    """Standard deviation of the noise of planes (B, 1, Y, X), one number each, (B,).

    Mean absolute response of a mask that is blind to structure up to second order; a blurred plane has little of
    any other.

    References
    ----------
    .. [1] J. Immerkaer, "Fast noise variance estimation", Comput. Vis. Image Underst. 64, 300 (1996),
           doi 10.1006/cviu.1996.0060.
    """
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], device=plane.device)
    response = F.conv2d(plane.float(), mask[None, None])
    return response.abs().flatten(1).mean(1) * math.sqrt(math.pi / 2) / 6


def bracket(levels: Sequence[float]) -> tuple[float, ...]:
    """Rungs of the ladder needed to interpolate at each of `levels`, px."""
    needed: set[float] = set()
    for level in levels:
        above = next((i for i, rung in enumerate(LADDER) if rung >= level), len(LADDER) - 1)
        needed |= {LADDER[above]} if LADDER[above] == level else {LADDER[max(above - 1, 0)], LADDER[above]}
    return tuple(sorted(needed))


def exact_rungs(levels: Sequence[float]) -> tuple[float, ...]:
    """Ladder made for `levels`, px: its rungs are these levels and the sharpest.

    Below 1 px, where the sharp end of the ladder may be sharper than the in-focus image, pictures are always
    interpolated between the sharpest and the rung at 1 px.
    """
    inside = {min(round(level, 3), LADDER[-1]) for level in levels}
    return tuple(sorted({0.0, *(max(level, LADDER[1]) for level in inside if level > 0)}))


class PhysicsFrontEnd:
    """Wiener filters of one microscope.

    Parameters
    ----------
    optics
        The microscope; the filters follow from its PSF.
    """

    def __init__(self, optics: Optics) -> None:
        self.optics = optics

    def radius(self, level_px: float, rungs: Sequence[float] = LADDER) -> int:
        """Halo in px that the front end needs around a tile, a multiple of 8."""
        reach = max(_kernel_radius(max(level_px, *rungs), self.optics), round(_LUCY_REACH * level_px))
        return -(-reach // 8) * 8

    def copies(self, plane: Tensor, level_px: float, noise: float, rungs: tuple[float, ...] = LADDER) -> PhysicsCopies:
        """Filter a batch of planes of one blur level.

        Parameters
        ----------
        plane
            (B, 1, Y, X), normalised to 0 in the dark, Y and X multiples of 8, with a border of at least
            `radius` px that the caller crops afterwards.
        level_px
            Blur level of the planes.
        noise
            Standard deviation of their noise, see `noise_sigma`.
        rungs
            Blur levels of the ladder, px, ascending.
        """
        shape = (plane.shape[-2], plane.shape[-1])
        spectrum = torch.fft.rfft2(plane)
        kernels = self.kernels(level_px, noise, rungs).to(plane.device)
        filtered = torch.cat([torch.fft.irfft2(spectrum * otf(k, shape), s=shape) for k in kernels], 1)
        n = len(REGULARISATIONS)
        early, late = self._richardson_lucy(plane, filtered[:, 1:2], level_px)
        ladder = filtered[:, n:]
        if rungs[0] == 0 and level_px >= _LUCY_FROM:
            ladder = torch.cat([late, ladder[:, 1:]], 1)
        return PhysicsCopies(torch.cat([filtered[:, :n], early, late], 1), ladder, rungs)

    def _richardson_lucy(self, plane: Tensor, start: Tensor, level_px: float) -> tuple[Tensor, Tensor]:
        """Accelerated Richardson-Lucy [2]_ [3]_ [4]_ on the binned grid; early and late estimate, full size."""
        bins = 1 if level_px < _LUCY_FROM else 2 if level_px < 14 else 4
        iterations = 5 if bins == 1 else 20
        kernel = _binned_psf(self.optics.model_dump_json(), round(level_px, 3), bins).to(plane.device)
        data, now = (F.avg_pool2d(image, bins).clamp(min=_DARK) for image in (plane, start))
        shape = (data.shape[-2], data.shape[-1])
        blur = otf(kernel[: shape[0], : shape[1]], shape)
        guess, early = now, now
        for i in range(1, iterations + 1):
            image = torch.fft.irfft2(torch.fft.rfft2(guess) * blur, s=shape).clamp(min=_DARK)
            ratio = torch.fft.irfft2(torch.fft.rfft2(data / image) * blur.conj(), s=shape).clamp(min=0)
            before, now = now, guess * ratio
            guess = (now + (i - 1) / (i + 2) * (now - before)).clamp(min=_DARK)
            early = now if i == max(iterations // 4, 1) else early
        return _enlarge(early, bins), _enlarge(now, bins)

    def kernels(self, level_px: float, noise: float, rungs: tuple[float, ...] = LADDER) -> Tensor:
        """Centred Wiener kernels (3 + K, S, S): three to the sharpest image, then one for each rung.

        The noise is rounded to half an octave, so that the planes of a stack share their kernels.
        """
        octave = round(2 * math.log2(max(noise, _LEAST_NOISE))) / 2
        return _kernels(self.optics.model_dump_json(), round(level_px, 3), octave, rungs)

    def sharpest(self, size: int) -> Tensor:
        """Transfer function M_0 of the sharpest image, on the rfft2 grid of a square of `size` px."""
        return _sharpest(self.optics, size)


@lru_cache(maxsize=_KEPT)
def _kernels(key: str, level_px: float, octave: float, rungs: tuple[float, ...]) -> Tensor:
    optics = Optics.model_validate_json(key)
    radius = _kernel_radius(max(level_px, *rungs), optics)
    size = 2 * radius + 2 * _LARGEST_RADIUS // 3  # room for what is cut away
    own = otf(_centred_psf(key, level_px, size), (size, size))
    sharp = _sharpest(optics, size)
    targets = [sharp] * len(REGULARISATIONS) + [
        sharp if t == 0 else otf(_centred_psf(key, t, size), (size, size)) for t in rungs
    ]
    kappas = [*REGULARISATIONS, *[_LADDER_REGULARISATION] * len(rungs)]
    cut = []
    for target, kappa, t in zip(targets, kappas, [0.0] * len(REGULARISATIONS) + list(rungs), strict=True):
        filtered = wiener(own, target, kappa * 4.0**octave, size)
        kernel = torch.fft.fftshift(torch.fft.irfft2(filtered, s=(size, size)))
        cut.append(_window(kernel, _kernel_radius(max(level_px, t), optics), radius))
    return torch.stack(cut)


def wiener(own: Tensor, target: Tensor, regularisation: float, size: int) -> Tensor:
    """Filter from the OTF of the plane to a target transfer function, on the rfft2 grid of `size`."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :])
    return target * own.conj() / (own.abs() ** 2 + regularisation * (frequency**2 + _KNEE**2))


def wiener_gain(transfer: Tensor, noise: Tensor, frequency: Tensor) -> Tensor:
    """Gain of the middle Wiener filter for a real OTF: what `PhysicsFrontEnd` does, in one formula."""
    return transfer / (transfer.square() + REGULARISATIONS[1] * noise**2 * (frequency**2 + _KNEE**2))


def _sharpest(optics: Optics, size: int) -> Tensor:
    if optics.sampling >= _CAMERA_LIMITED:
        return torch.ones((size, size // 2 + 1), dtype=torch.complex64)
    return otf(_centred_psf(optics.model_dump_json(), 0.0, size), (size, size))


@lru_cache(maxsize=2 * _KEPT)
def _centred_psf(key: str, level_px: float, size: int) -> Tensor:
    optics = Optics.model_validate_json(key)
    return psf(optics, optics.defocus_um(level_px), size=size)[0]


@lru_cache(maxsize=_KEPT)
def _binned_psf(key: str, level_px: float, bins: int) -> Tensor:
    optics = Optics.model_validate_json(key)
    coarse = optics.replace(pixel_size_um=optics.pixel_size_um * bins)
    size = 2 * min(_kernel_radius(level_px, optics), _LARGEST_RADIUS * 2 // 3) // bins
    return psf(coarse, optics.defocus_um(level_px), size=size)[0]


def _enlarge(image: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return image
    return F.interpolate(image, scale_factor=factor, mode="bicubic", align_corners=False)


def _kernel_radius(level_px: float, optics: Optics) -> int:
    smallest = max(32, round(8 * optics.airy_radius_px))
    return int(min(max(8 * level_px, smallest), _LARGEST_RADIUS))


def _window(kernel: Tensor, radius: int, half: int) -> Tensor:
    """Cut a centred kernel to (2 half + 1)^2, fading over the outer half of `radius`.

    What is lost of the kernel's sum is spread over the window, so that flat light keeps its intensity.
    """
    total = kernel.sum()
    centre = kernel.shape[-1] // 2
    kernel = kernel[centre - half : centre + half + 1, centre - half : centre + half + 1]
    axis = torch.arange(-half, half + 1, dtype=torch.float32)
    distance = torch.hypot(axis[:, None], axis[None, :])
    weight = 0.5 + 0.5 * torch.cos(torch.pi * (2 * distance / radius - 1).clamp(0, 1))
    cut = kernel * weight
    return cut + weight * ((total - cut.sum()) / weight.sum())
