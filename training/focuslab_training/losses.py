"""The terms that train a linear latent autoencoder.

Every term is a few lines with its formula. Pictures are compared by their mean squared error in decibels,
per image, so that a slightly blurred plane and a heavily blurred one weigh the same.

References
----------
.. [1] I. Mazilu et al., CAIP 2023, doi 10.1007/978-3-031-44240-7_20: implicit and explicit regularisation.
"""

import torch
from torch import Tensor

from focuslab.models.latent import LatentCode

__all__ = ["decibels", "direction_gap"]


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
