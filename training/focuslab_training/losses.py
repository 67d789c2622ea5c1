"""The terms that train a linear latent autoencoder.

Every term is a few lines with its formula. The published regimes are mean squared errors with unit weights: *baseline*
is the reconstruction alone, *implicit* adds the picture on the line, *explicit* adds the code on the line [1]_. The
terms of our own architecture compare pictures in decibels, per image, so that a slightly blurred plane and a heavily
blurred one weigh the same.

References
----------
.. [1] I. Mazilu et al., CAIP 2023, doi 10.1007/978-3-031-44240-7_20, equations 1 to 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from focuslab.models.evidence import TRIAL_LEVELS
from focuslab.models.latent import LatentCode

__all__ = ["code_on_line", "decibels", "direction_gap", "level_entropy", "on_line", "picture_on_line", "reconstruction"]


def on_line(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Codes a + t (b - a), t one number per sample (B,)."""
    return torch.lerp(a, b, t.view(-1, *[1] * (a.ndim - 1)).to(a.dtype))


def reconstruction(made: tuple[Tensor, Tensor], planes: tuple[Tensor, Tensor]) -> Tensor:
    """Baseline [1]_: 1/2 (|D(E(x1)) - x1|^2 + |D(E(x2)) - x2|^2)."""
    return 0.5 * (F.mse_loss(made[0], planes[0]) + F.mse_loss(made[1], planes[1]))


def picture_on_line(made: Tensor, plane: Tensor) -> Tensor:
    """Implicit term [1]_: |D((1 - t) E(x1) + t E(x2)) - xm|^2."""
    return F.mse_loss(made, plane)


def code_on_line(code: Tensor, middle: Tensor) -> Tensor:
    """Explicit term [1]_: |(1 - t) E(x1) + t E(x2) - E(xm)|^2."""
    return F.mse_loss(code, middle)


def decibels(picture: Tensor, target: Tensor) -> Tensor:
    """10 log10(|picture - target|^2 + 1e-6), mean over the batch: minus the PSNR for data range 1."""
    error = (picture - target).square().flatten(1).mean(1)
    return 10 * torch.log10(error + 1e-6).mean()


def direction_gap(a: LatentCode, direction: LatentCode, b: LatentCode) -> Tensor:
    """Explicit term of one plane: |F_b - F_a - (level_b - level_a) v_a|^2 / (mean of |F_a|^2, |F_b|^2), features only.

    The norms are fixed: codes may not shrink to please it.
    """
    step = b.level - a.level
    gaps = [
        2 * (fb - fa - step * v).square().mean() / (fa.detach().square() + fb.detach().square()).mean().clamp(min=1e-6)
        for fa, v, fb in zip(a.features, direction.features, b.features, strict=True)
    ]
    return torch.stack(gaps).mean()


def level_entropy(scores: Tensor, levels: Tensor) -> Tensor:
    """Cross entropy (B,) of scores of trial levels against the true ones, each shared by its two neighbours.

    The first score stands for level 0; from there to the first trial level the share is linear in the level, between
    trial levels in its logarithm.
    """
    steps = torch.tensor(TRIAL_LEVELS, device=levels.device).log()
    place = levels.clamp(min=1).log() / (steps[1] - steps[0]) + 1
    place = torch.where(levels < 1, levels, place).clamp(max=len(TRIAL_LEVELS))
    low = place.long().clamp(max=len(TRIAL_LEVELS) - 1)
    share = (place - low)[:, None]
    chances = scores.log_softmax(1)
    near = chances.gather(1, torch.stack([low, low + 1], 1))
    return -((1 - share) * near[:, :1] + share * near[:, 1:])[:, 0]
