"""Deconvolution under the knowledge that light is not negative.

Both iterations need nothing but the transfer function, two or four Fourier transforms a step:

- `nonnegative_wiener` minimises |H x - y|^2 + |g x|^2 over x >= 0 by alternating directions (ADMM): the Wiener
  filter in turn with the projection onto the non-negative, over-relaxed. A few steps come close to the minimum,
  however wide the blur;
- `richardson_lucy` climbs the Poisson likelihood, accelerated. Its corrections may be projected back by a filter near
  the inverse of the blur instead of its adjoint [6]_: a third of the iterations then do, for the same image.

The momentum of the second and the penalty of the first are fixed rather than taken from the data, so that a tile gives
what the whole gives.

References
----------
.. [1] S. Boyd et al., Found. Trends Mach. Learn. 3, 1 (2011), doi 10.1561/2200000016: ADMM and over-relaxation.
.. [2] W. H. Richardson, JOSA 62, 55 (1972), doi 10.1364/JOSA.62.000055; L. B. Lucy, Astron. J. 79, 745 (1974),
       doi 10.1086/111605.
.. [3] D. S. C. Biggs and M. Andrews, "Acceleration of iterative image restoration algorithms", Appl. Opt. 36,
       1766 (1997), doi 10.1364/AO.36.001766.
.. [4] Y. Nesterov, Soviet Math. Dokl. 27, 372 (1983): the momentum schedule (i - 1) / (i + 2).
.. [5] M. Bertero and P. Boccacci, "A simple method for the reduction of boundary effects in the Richardson-Lucy
       approach to image deconvolution", Astron. Astrophys. 437, 369 (2005), doi 10.1051/0004-6361:20052717.
.. [6] M. Guo et al., "Rapid image deconvolution and multiview fusion for optical microscopy", Nat. Biotechnol. 38,
       1337 (2020), doi 10.1038/s41587-020-0560-x: unmatched back projectors.
"""

import math
from collections.abc import Sequence

import torch
from scipy.fft import next_fast_len
from torch import Tensor

__all__ = ["KNEE", "back_projector", "blur_by", "fast_length", "nonnegative_wiener", "regulariser", "richardson_lucy"]

KNEE = 0.04  # cycles/px: below it the power of a specimen is taken as flat
_RELAXATION = 1.8
_GATHERED = 0.02  # least share of a point's light that is taken to have been recorded
_DARK = 1e-3  # least light per pixel, in normalised intensity
_MOST_CHANGE = 1.5  # of a pixel in a step with an unmatched back projector


def regulariser(shape: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """|g|^2 for a specimen whose power falls like 1/f^2: f^2 + KNEE^2 on the rfft2 grid, f in cycles/px."""
    fy, fx = torch.fft.fftfreq(shape[0], device=device), torch.fft.rfftfreq(shape[1], device=device)
    return fy[:, None] ** 2 + fx[None, :] ** 2 + KNEE**2


def fast_length(n: int) -> int:
    """Least length from n on whose Fourier transform is fast: a multiple of 8 with no large factor.

    Of two lengths that are both products of small primes the odd one takes twice as long.
    """
    return 8 * next_fast_len(-(-n // 8))


def blur_by(image: Tensor, transfer: Tensor) -> Tensor:
    """Image (..., Y, X) under a transfer function on the rfft2 grid, periodic."""
    return torch.fft.irfft2(torch.fft.rfft2(image) * transfer, s=image.shape[-2:])


def nonnegative_wiener(
    plane: Tensor, transfer: Tensor, weight: Tensor | float, iterations: int, *, penalty: float = 0.01
) -> Tensor:
    """Minimum of |H x - plane|^2 + weight |g x|^2 over x >= 0, approximately [1]_.

    Parameters
    ----------
    plane
        (..., Y, X), 0 in the dark.
    transfer
        H on the rfft2 grid; its leading axes broadcast with those of `plane`.
    weight
        Variance of the noise over that of the specimen, a number or (..., 1, 1).
    iterations
        Steps; eight come close.
    penalty
        Of ADMM. A smaller one brings out more of a wide blur in as many steps, but a pixel then depends on others ever
        farther away, some blur radii / sqrt(penalty).
    """
    shape = (plane.shape[-2], plane.shape[-1])
    inverse = 1 / (transfer.abs().square() + weight * regulariser(shape, plane.device) + penalty)
    fixed = torch.fft.irfft2(torch.fft.rfft2(plane) * transfer.conj() * inverse, s=shape)
    pull = penalty * inverse
    light, dual = fixed.clamp(min=0), torch.zeros_like(fixed)
    for _ in range(iterations):
        smooth = fixed + blur_by(light - dual, pull)
        smooth = _RELAXATION * smooth + (1 - _RELAXATION) * light
        light = (smooth + dual).clamp(min=0)
        dual = dual + smooth - light
    return light


def back_projector(transfer: Tensor, weight: float) -> Tensor:
    """Wiener filter of a transfer function that is 1 at frequency 0: its adjoint for a large weight, else faster."""
    return transfer.conj() * ((1 + weight) / (transfer.abs().square() + weight))


def richardson_lucy(
    plane: Tensor,
    start: Tensor,
    transfer: Tensor,
    iterations: Sequence[int],
    *,
    back: Tensor | None = None,
    recorded: Tensor | None = None,
) -> list[Tensor]:
    """Accelerated Richardson-Lucy [2]_ [3]_ [4]_ of planes (..., Y, X) from a guess, after each of `iterations`.

    `back` projects corrections back, the adjoint if not given, see `back_projector`; as nothing else would keep it from
    diverging about the brightest structures, corrections then stay within a factor. `recorded` (Y, X) is the share of
    every pixel that was recorded, all of all if not given. Light beyond the border is then found as well, from what it
    casts inside [5]_.
    """
    least, most = (0.0, math.inf) if back is None else (1 / _MOST_CHANGE, _MOST_CHANGE)
    data, now = plane.clamp(min=_DARK), start.clamp(min=_DARK)
    guess, back, found = now, transfer.conj() if back is None else back, []
    gathered = None
    if recorded is not None:
        data, gathered = data * recorded, blur_by(recorded, back).clamp(min=_GATHERED)
    for i in range(1, max(iterations) + 1):
        seen = blur_by(guess, transfer).clamp_(min=_DARK)
        ratio = blur_by(torch.div(data, seen, out=seen).clamp_(least, most), back).clamp_(least, most)
        if gathered is not None:
            ratio.div_(gathered)
        before, now = now, ratio.mul_(guess)
        guess = torch.lerp(before, now, 1 + (i - 1) / (i + 2)).clamp_(min=_DARK)
        if i in iterations:
            found.append(now)
    return found
