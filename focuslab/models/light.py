"""Copies of a plane that know that light is not negative.

One suits dense specimens: the constrained Wiener filter and, from it, a short Richardson-Lucy (see `restoration`). The
others are stops of one Richardson-Lucy from the plane itself, which starts without noise and without rings, and finds
filaments and puncta that the filter does not. When it is best stopped depends on the specimen more than on anything
else: the brighter and the sparser, the later. So it is stopped early, later and late, and, in one more copy, at every
place where what it leaves unexplained is white (see `whiteness`). A wide blur (by its equivalent radius, not its level,
because the same level of NA 0.95 takes half the detail of that of NA 0.5) is undone on a grid binned by two, which
holds nearly all the detail that can be had; all of it where the camera, not diffraction, limits the sharpest image.
What is found is the specimen; where diffraction does, it is imaged in focus once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.models.restoration import back_projector, blur_by, fast_length, nonnegative_wiener, richardson_lucy
from focuslab.models.whiteness import correlation, grain, picture_at, stop_at
from focuslab.models.wiener import LEAST_NOISE, binned_psf, camera_limited
from focuslab.optics.optics import Optics
from focuslab.optics.pupil import otf
from focuslab.optics.radial import equivalent_radius

__all__ = ["EVERYTHING", "LightCopies", "Window", "continued", "fast_sized", "light_copies"]

Window = tuple[slice, slice]  # rows and columns
EVERYTHING: Window = (slice(None), slice(None))

_FILTER_BINNED_FROM = 5.0  # equivalent radius, px, from which the filtered copy is made on a grid binned by two
_NARROW = 25000.0  # regularisation of the constrained Wiener filter below it
_CONSTRAINED = 8  # iterations of the constrained Wiener filter
_LIFT = 0.1  # light with which Richardson-Lucy starts in the dark of a filtered plane: it leaves zero slowly
_FAINT = 0.02  # and of a plane as it is


class _Course(NamedTuple):
    """How Richardson-Lucy from the plane itself is run."""

    bins: int
    back: float  # weight of the back projector: the wider the blur, the more there is to be gained
    steps: tuple[float, ...]  # iterations after which it is stopped, for each px of the equivalent radius
    fine: tuple[int, ...] = ()  # iterations on the camera's pixels after the last of them


_NEAR = _Course(1, 1.0, (0.5, 0.8, 1.2, 1.8, 2.8, 4.3))
_FAR = _Course(1, 0.3, (0.5, 0.8, 1.2, 1.8, 2.5, 3.4))
_BINNED = _FAR._replace(bins=2)
_BINNED_FIRST = _Course(2, 0.3, (0.5, 0.8, 1.2, 1.8), (4, 8, 16))
_STOPS = (1, 3, -1)  # those that are copies of their own
_FAR_FROM, _BINNED_FROM = 5.0, 9.0  # equivalent radius, px
_WIDEST = 15.0  # px for which more iterations are made
_WINDOW = 3.0  # px in which whiteness is judged, for each px of the equivalent radius
_LEAST_WINDOW = 16.0  # and at least; the grain of the noise needs twice as many


@dataclass(frozen=True, slots=True)
class LightCopies:
    """Sharpest images (B, 1, Y, X) that are not negative.

    Attributes
    ----------
    filtered
        Short Richardson-Lucy from the constrained Wiener filter.
    stopped
        Richardson-Lucy from the plane itself, stopped early, later and late.
    white
        The same, stopped where what is left unexplained is white.
    """

    filtered: Tensor
    stopped: tuple[Tensor, Tensor, Tensor]
    white: Tensor

    def continued(self, window: Window, shape: tuple[int, int]) -> "LightCopies":
        """Copies made in a window of planes of (Y, X) px, continued over all of them."""
        first, second, third = (continued(image, window, shape) for image in self.stopped)
        filtered, white = (continued(image, window, shape) for image in (self.filtered, self.white))
        return LightCopies(filtered, (first, second, third), white)


def continued(image: Tensor, window: Window, shape: tuple[int, int]) -> Tensor:
    """Image of a window of (Y, X) px, continued over all of them by its edge pixels."""
    (top, bottom, _), (left, right, _) = (part.indices(n) for part, n in zip(window, shape, strict=True))
    beyond = (left, shape[1] - right, top, shape[0] - bottom)
    return F.pad(image, beyond, mode="replicate") if any(beyond) else image


def light_copies(
    optics: Optics, plane: Tensor, level_px: float, noise: Tensor | float, floor: Tensor | float = 0.0
) -> LightCopies:
    """Copies of a plane (B, 1, Y, X) that are not negative.

    Parameters
    ----------
    optics
        The microscope.
    plane
        Normalised to 0 where it is darkest.
    level_px
        Blur level of the plane.
    noise
        Standard deviation of its noise, a number or (B, 1, 1, 1).
    floor
        How far below that the dark lies, a number or (B, 1, 1, 1), see `explain`: copies are not below -floor.
    """
    radius, light = equivalent_radius(optics, level_px), plane + floor
    filtered = _filtered(optics, light, level_px, radius, noise)
    first, second, third, white = (image - floor for image in _stopped(optics, light, level_px, radius))
    return LightCopies(filtered - floor, (first, second, third), white)


def _filtered(optics: Optics, light: Tensor, level_px: float, radius: float, noise: Tensor | float) -> Tensor:
    bins = 2 if radius >= _FILTER_BINNED_FROM else 1
    if bins == 1:
        kappa, iterations = _NARROW, max(round(0.55 * radius**1.85), 1)
    else:
        # The wider the blur, the less a white-noise model may smooth and the more is left to the likelihood.
        kappa, iterations = min(max(5000 / radius, 300.0), 1000.0), round(min(max(1.25 * radius, 6), 28))
    weight = kappa * torch.as_tensor(noise).clamp(min=LEAST_NOISE) ** 2
    data, blur = _on_grid(optics, light, level_px, bins)
    smooth = nonnegative_wiener(data, blur, weight, _CONSTRAINED)
    (specimen,) = richardson_lucy(data, smooth.clamp(min=_LIFT), blur, (iterations,))
    return _seen(optics, specimen, bins, light)


def _stopped(optics: Optics, light: Tensor, level_px: float, radius: float) -> list[Tensor]:
    course = _course(optics, radius)

    def run(bins: int, iterations: Sequence[int], start: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Specimens on a grid, and how much more alike neighbours of what each leaves unexplained are than noise."""
        data, blur = _on_grid(optics, light, level_px, bins)
        start = data.clamp(min=_FAINT) if start is None else _of_size(start, data)
        found = richardson_lucy(data, start, blur, iterations, back=back_projector(blur, course.back))
        height, width = (n // bins for n in light.shape[-2:])

        def left(specimen: Tensor) -> Tensor:
            return (data - blur_by(specimen, blur))[..., :height, :width]

        own = grain(left(found[-1]), bins, max(2 * _LEAST_WINDOW, _WINDOW * radius))
        window = max(_LEAST_WINDOW, _WINDOW * radius)
        return found, [correlation(left(specimen), bins, window) - own for specimen in found]

    bins = course.bins
    found, alike = run(bins, _iterations(course.steps, radius))
    if course.fine:
        found, bins = [_double(specimen) for specimen in found], 1
        finer, more = run(bins, course.fine, found[-1])
        found, alike = [*(_of_size(specimen, finer[0]) for specimen in found), *finer], alike + more
    specimens = [*(found[i] for i in _STOPS), picture_at(found, stop_at(alike), bins)]
    return [_seen(optics, specimen, bins, light) for specimen in specimens]


def _course(optics: Optics, radius: float) -> _Course:
    if radius < _FAR_FROM:
        return _NEAR
    if radius >= _BINNED_FROM:
        return _BINNED
    return _BINNED_FIRST if camera_limited(optics) else _FAR


def _iterations(steps: Sequence[float], radius: float) -> list[int]:
    """Ascending numbers of iterations, one or more for every stop."""
    stops = [0]
    for step in steps:
        stops.append(max(round(step * min(radius, _WIDEST)), stops[-1] + 1))
    return stops[1:]


def _on_grid(optics: Optics, light: Tensor, level_px: float, bins: int) -> tuple[Tensor, Tensor]:
    """Planes on a binned grid of a size with a fast Fourier transform, and the transfer function of their blur."""
    data = fast_sized(F.avg_pool2d(light, bins))
    blur = otf(binned_psf(optics, level_px, bins, light.device), (data.shape[-2], data.shape[-1]))
    return _tapered(data, blur, round(optics.widest_px(level_px)) + 4), blur


def _seen(optics: Optics, specimen: Tensor, bins: int, like: Tensor) -> Tensor:
    """What the sharpest image of a specimen on a binned grid is on the camera's, of the size of `like`."""
    specimen = specimen if bins == 1 else _double(specimen)  # no sinc: it would ring along rows and columns
    if not camera_limited(optics):
        shape = (specimen.shape[-2], specimen.shape[-1])
        specimen = blur_by(specimen, otf(binned_psf(optics.thin, 0.0, 1, like.device), shape))
    return specimen[..., : like.shape[-2], : like.shape[-1]]


def _of_size(image: Tensor, like: Tensor) -> Tensor:
    """Image continued, or cut, at its lower and right edge to the size of another."""
    more = [max(n - m, 0) for n, m in zip(like.shape[-2:], image.shape[-2:], strict=True)]
    image = F.pad(image, (0, more[1], 0, more[0]), mode="replicate")
    return image[..., : like.shape[-2], : like.shape[-1]]


def _tapered(image: Tensor, blur: Tensor, width: int) -> Tensor:
    """Image that runs over its edges as a periodic one would: blurred once more within `width` px of them."""
    window = torch.outer(*(_ramp(n, width) for n in image.shape[-2:])).to(image.device)
    return torch.lerp(blur_by(image, blur), image, window)


def _ramp(n: int, width: int) -> Tensor:
    """From 0 at both ends of n pixels to 1 from `width` px on."""
    edge = torch.minimum(torch.arange(n) + 0.5, n - 0.5 - torch.arange(n)) / min(width, n / 2)
    return 0.5 - 0.5 * torch.cos(torch.pi * edge.clamp(max=1))


def fast_sized(plane: Tensor) -> Tensor:
    """Plane continued at its lower and right edge to a size with a fast Fourier transform."""
    more = [fast_length(n) - n for n in plane.shape[-2:]]
    return F.pad(plane, (0, more[1], 0, more[0]), mode="replicate")


def _double(image: Tensor) -> Tensor:
    """Bicubic enlargement of (B, 1, Y, X) by two, as one convolution with four phases."""
    taps = [[-4.5, 33.5, 112.5, -13.5, 0.0], [0.0, -13.5, 112.5, 33.5, -4.5]]  # a quarter pixel to either side
    phases = torch.tensor(taps, device=image.device) / 128
    kernels = torch.einsum("ay,bx->abyx", phases, phases).reshape(4, 1, 5, 5)
    return F.pixel_shuffle(F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernels), 2)
