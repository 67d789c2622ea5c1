"""The terms that train a linear latent autoencoder.

Every term is a few lines with its formula. Pictures are compared by their mean squared error in decibels,
per image, so that a slightly blurred plane and a heavily blurred one weigh the same.

References
----------
.. [1] I. Mazilu et al., CAIP 2023, doi 10.1007/978-3-031-44240-7_20: implicit and explicit regularisation.
"""

import torch
from torch import Tensor

from focuslab.models.evidence import TRIAL_LEVELS
from focuslab.models.latent import LatentCode

__all__ = ["decibels", "direction_gap", "level_entropy"]


def decibels(picture: Tensor, target: Tensor) -> Tensor:
    """10 log10(|picture - target|^2 + 1e-6), mean over the batch: minus the PSNR for data range 1."""
    error = (picture - target).square().flatten(1).mean(1)
    return 10 * torch.log10(error + 1e-6).mean()


def direction_gap(a: LatentCode, direction: LatentCode, b: LatentCode) -> Tensor:
    """Explicit term: |F_b - F_a - (level_b - level_a) v_a|^2 / |F_a|^2, features only, the norm held fixed."""
    step = b.level - a.level
    gaps = [
        (fb - fa - step * v).square().mean() / fa.detach().square().mean().clamp(min=1e-6)
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
