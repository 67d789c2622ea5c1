"""Encoder and decoder of the linear latent autoencoder.

The encoder is a small U-Net that starts at a quarter of the resolution (space to depth) and is told the blur level, how
far that is to be doubted, the optical sampling and the noise by feature-wise modulation; the decoder is light, because
it runs at every move of a slider. A signed square root before the first convolution makes photon noise even. There is
no normalisation over space: a tile gives what the whole gives. Nor is there a step that could draw the coarse grid into
the picture: maps are enlarged bilinearly, and the correction passes a filter that is blind to patterns of the blocks'
period.

References
----------
.. [1] E. Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018,
       doi 10.1609/aaai.v32i1.11671.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from focuslab.models.frontend import COPIES, EDITION
from focuslab.models.wiener import LEAST_NOISE
from focuslab.optics import Optics, equivalent_radius

__all__ = ["AutoencoderConfig", "Decoder", "Encoder", "conditions"]


_UNIT = 0.05  # what a difference of one standard deviation of the noise is shown as
_SURE = 0.01  # doubt that hardly matters
_MOST_DOUBT = 0.3  # more is taken as this
_CONDITIONS = 9  # numbers that `_expand` makes of a condition


def conditions(
    optics: Optics, level_px: float, noise: Tensor | float, doubt: float = 0.0, device: torch.device | None = None
) -> Tensor:
    """What the encoder is told of planes of one level, their noise being one number or (B,).

    Returns
    -------
    Tensor (1, 5) or (B, 5)
        Blur level, px; sampling number; standard deviation of the noise; equivalent radius of the blur, px; doubt, the
        relative error to be expected of the level.
    """
    facts = (level_px, optics.sampling, noise, equivalent_radius(optics, level_px), doubt)
    tensors = [torch.as_tensor(fact, dtype=torch.float32, device=device).view(-1) for fact in facts]
    planes = max(map(len, tensors))
    return torch.stack([tensor.expand(planes) for tensor in tensors], 1)


class AutoencoderConfig(BaseModel):
    """Size of a `LinearLatentAutoencoder`; stored in the model card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, int] = Field(default=(64, 128), description="channels at 1/4 and 1/8 of the size")
    blocks: tuple[int, int] = Field(default=(1, 3), description="residual blocks per scale and way")
    code_widths: tuple[int, int] = Field(default=(32, 48), description="channels of the code per scale")
    copies: int = Field(default=COPIES, description="deconvolved copies of the front end, or none")
    front_end: int = Field(default=EDITION, description="edition of the front end that makes them")

    @model_validator(mode="after")
    def _of_this_front_end(self) -> Self:
        if self.copies not in (0, COPIES):
            raise ValueError(f"the front end makes {COPIES} copies (0 leaves it out), got {self.copies}")
        if self.copies and self.front_end != EDITION:
            raise ValueError(f"the front end is of edition {EDITION}, the model of {self.front_end}")
        return self


class Block(nn.Module):
    """Residual pair of 3x3 convolutions, optionally modulated by a condition [1]_."""

    def __init__(self, width: int, condition: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(condition, 2 * width) if condition else None
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        h = self.first(x)
        if self.film is not None:
            scale, offset = self.film(condition)[:, :, None, None].chunk(2, 1)
            h = torch.addcmul(offset, h, 1 + scale)
        return self.second(F.relu_(h)).add_(x)


class Encoder(nn.Module):
    """Two-scale U-Net from the plane and its deconvolved copies to features, direction and local weights of copies."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        w1, w2 = config.widths
        n1, n2 = config.blocks
        hidden = 64
        self.condition = nn.Sequential(nn.Linear(_CONDITIONS, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        sources = 1 + config.copies
        self.stem = nn.Conv2d(2 * 16 * sources, w1, 3, padding=1)
        self.fine = nn.ModuleList(Block(w1, hidden) for _ in range(n1))
        self.down = nn.Conv2d(w1, w2, 2, stride=2)
        self.coarse = nn.ModuleList(Block(w2, hidden) for _ in range(n2))
        self.up = nn.Conv2d(w2, w1, 1)
        self.fine_up = nn.ModuleList(Block(w1, hidden) for _ in range(n1))
        self.heads = nn.ModuleList(
            nn.Conv2d(w, 2 * c, 1) for w, c in zip(config.widths, config.code_widths, strict=True)
        )
        with torch.no_grad():  # differences come in as they are learnt to be of use
            self.stem.weight[:, 16 * sources :].zero_()
        self.mix, self.mix_film = nn.Conv2d(w1, sources, 1), nn.Linear(hidden, 2 * sources)
        for parameter in (*self.mix.parameters(), *self.mix_film.parameters()):
            nn.init.zeros_(parameter)
        self.radius = 4 * (2 + 2 * 2 * n1) + 8 * (2 * n2 + 2)

    def forward(
        self, sources: Sequence[Tensor], sharp: Tensor, condition: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        """Features and their direction, fine and coarse, and the weights of the sources (B, K, Y / 4, X / 4).

        Weights are not negative and their sum is one at most, the rest being that of `sharp`: a mean of copies has no
        rings that they have not, a difference would draw them.
        What a weight is to decide on, how a source differs from `sharp`, is shown beside the sources and in units of
        the noise: copies may differ by less than bfloat16 resolves.
        """
        film = self.condition(_expand(condition))
        unit = condition[:, 2].clamp(min=LEAST_NOISE).view(-1, 1, 1, 1)
        differences = ((source - sharp) * (_UNIT / unit) for source in sources)
        x1 = self.stem(torch.cat([_to_blocks(image) for image in chain(sources, differences)], 1))
        for block in self.fine:
            x1 = block(x1, film)
        x2 = self.down(x1)
        for block in self.coarse:
            x2 = block(x2, film)
        x1 = x1 + _double(self.up(x2))
        for block in self.fine_up:
            x1 = block(x1, film)
        heads = [head(x).float().chunk(2, 1) for head, x in zip(self.heads, (x1, x2), strict=True)]
        # A direction is per px of blur: the network says the change over the whole way to focus.
        way = condition[:, :1, None, None].clamp(min=1.0)
        with torch.autocast(x1.device.type, enabled=False):  # weights of pictures are as exact as the pictures
            gain, offset = self.mix_film(film.float())[:, :, None, None].chunk(2, 1)
            mix = torch.addcmul(offset, self.mix(x1.float()), 1 + gain).clamp(min=0)
            mix = mix / mix.sum(1, keepdim=True).clamp(min=1)
        return tuple(f for f, _ in heads), tuple(v / way for _, v in heads), mix


class Decoder(nn.Module):
    """Light decoder from the code's features and the physics copy at its level to a correction."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        w1, _ = config.widths
        c1, c2 = config.code_widths
        self.up = nn.Conv2d(c2, c1, 1)
        self.enter = nn.Conv2d(c1 + 16, w1, 3, padding=1)
        self.fine = Block(w1)
        self.leave = nn.Conv2d(w1, 16, 3, padding=1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)
        self.radius = 4 * (1 + 2 + 1) + 2 * 8

    def forward(self, features: tuple[Tensor, ...], base: Tensor) -> Tensor:
        """Correction (B, 1, Y, X), float32, to the physics copy `base`."""
        f1, f2 = features
        x = f1 + _double(self.up(f2))
        x = self.fine(self.enter(torch.cat([x, _to_blocks(base).to(x.dtype)], 1)))
        with torch.autocast(x.device.type, enabled=False):  # the picture itself is drawn in float32
            return _without_grid(F.pixel_shuffle(self.leave(F.relu_(x).float()), 4))


def _double(x: Tensor) -> Tensor:
    """Twice the size, bilinear: unlike a shuffle of channels it leaves no pattern of the coarse grid."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _without_grid(image: Tensor) -> Tensor:
    """Smooth (B, 1, Y, X) by (1 2 2 2 1) / 8 along both axes, which is blind to any pattern of period 4 or 2 px."""
    taps = torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0], device=image.device) / 8
    return F.conv2d(F.conv2d(image, taps.view(1, 1, 5, 1), padding=(2, 0)), taps.view(1, 1, 1, 5), padding=(0, 2))


def _to_blocks(plane: Tensor) -> Tensor:
    """Blocks of 4 x 4 pixels as channels, intensities compressed: (B, 1, Y, X) to (B, 16, Y / 4, X / 4)."""
    device = plane.device.type
    if torch.is_autocast_enabled(device):
        plane = plane.to(torch.get_autocast_dtype(device))
    b, _, y, x = plane.shape
    blocks = plane.reshape(b, y // 4, 4, x // 4, 4).transpose(2, 3).reshape(b, y // 4, x // 4, 16)
    return signed_sqrt(blocks).permute(0, 3, 1, 2)


def signed_sqrt(x: Tensor) -> Tensor:
    """Variance-stabilising x / sqrt(|x| + 0.05): like a square root for bright pixels, odd, smooth at 0."""
    return x * x.abs().add_(0.05).rsqrt_()


def _expand(condition: Tensor) -> Tensor:
    """Conditions (B, 5) as numbers of order one."""
    level, sampling, noise, radius, doubt = condition.chunk(5, 1)
    waves = level * sampling  # blur in diffraction lengths: how far from wave optics to ray optics
    return torch.cat(
        [
            level / 20,
            torch.log1p(level),
            torch.exp(-level / 2),
            sampling.log(),
            sampling,
            torch.log1p(waves),
            noise.clamp(min=1e-4).log() / 4 + 1,
            radius.log(),
            torch.log1p(doubt.clamp(max=_MOST_DOUBT) / _SURE) / 3,
        ],
        1,
    )
