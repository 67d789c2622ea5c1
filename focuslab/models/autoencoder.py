"""The linear latent autoencoder: physics copies in, code out, and back.

    F, v, a  = E(plane, copies)             features, their direction per px of blur, weights of the copies
    D(code)  = ladder(level) + G(F, ladder(level))
    R        = plane - D(code)              the remainder, float32
    decode   = D(code + shift * v) + R'     R' is R, faded (see `latent`)

`ladder(level)` interpolates the physics copies of the plane at the level asked for, its sharp end being mixed from
the plane and its deconvolved copies by the local weights a (flat ground wants much regularisation, an edge little),
so that the network G only adds what the physics cannot know. All planes are in linear, normalised intensity; a signed
square root before the first convolution makes photon noise even. The encoder is a small U-Net that starts at a
quarter of the resolution (space to depth) and is told the blur level, the optical sampling and the noise by feature-
wise modulation; the decoder is light, because it runs at every move of a slider. There is no normalisation over
space: a tile gives what the whole gives.

References
----------
.. [1] I. Mazilu et al., "Defocus Blur Synthesis and Deblurring via Interpolation and Extrapolation in Latent
       Space", CAIP 2023, doi 10.1007/978-3-031-44240-7_20.
.. [2] E. Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018,
       doi 10.1609/aaai.v32i1.11671.
"""

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from focuslab.models.frontend import COPIES, PhysicsCopies
from focuslab.models.latent import LatentCode

__all__ = ["AutoencoderConfig", "LinearLatentAutoencoder", "ladder_at"]


class AutoencoderConfig(BaseModel):
    """Size of a `LinearLatentAutoencoder`; stored in the model card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, int] = Field(default=(64, 128), description="channels at 1/4 and 1/8 of the size")
    blocks: tuple[int, int] = Field(default=(1, 3), description="residual blocks per scale and way")
    code_widths: tuple[int, int] = Field(default=(32, 48), description="channels of the code per scale")
    copies: int = Field(default=COPIES, description="deconvolved copies of the front end")


class LinearLatentAutoencoder(nn.Module):
    """Autoencoder whose code moves on a straight line as the plane goes out of focus.

    Parameters
    ----------
    config
        Sizes.

    Notes
    -----
    Planes are (B, 1, Y, X) with Y and X multiples of `stride`.
    """

    stride = 8

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or AutoencoderConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    @property
    def halo(self) -> int:
        """Receptive radius of encoder and decoder together, px, rounded up to a multiple of the stride."""
        radius = self.encoder.radius + self.decoder.radius
        return -(-radius // self.stride) * self.stride

    def encode(self, plane: Tensor, copies: PhysicsCopies, condition: Tensor) -> tuple[LatentCode, LatentCode]:
        """Code of a plane and its direction.

        Parameters
        ----------
        plane
            (B, 1, Y, X), linear normalised intensity; float64 keeps a float64 remainder.
        copies
            The front end's copies of the same region.
        condition
            (B, 3) blur level in px, sampling number c, standard deviation of the noise.

        Returns
        -------
        code, direction
            `direction` is the change of the code per px of blur.
        """
        if copies.rungs[0] != 0:
            raise ValueError(f"A ladder starts at the sharpest image, level 0, got {copies.rungs}.")
        sources = torch.cat([plane.float(), copies.deconvolved], 1)
        features, direction, mix = self.encoder(sources, condition)
        ladder = torch.cat([blend(copies.ladder[:, :1], sources, mix), copies.ladder[:, 1:]], 1)
        level = condition[:, :1, None, None]
        bare = LatentCode(features, ladder, level, torch.zeros_like(plane), copies.rungs)
        code = LatentCode(features, ladder, level, plane - self.decode(bare), copies.rungs)
        still = torch.zeros((1, 1, 1, 1), device=plane.device)
        return code, LatentCode(direction, still, torch.ones_like(level), still, copies.rungs)

    def decode(self, code: LatentCode) -> Tensor:
        """Draw a code: (B, 1, Y, X), linear normalised intensity, float32."""
        base = ladder_at(code)
        return base + self.decoder(code.features, base) + code.remainder


def blend(sharp: Tensor, sources: Tensor, mix: Tensor) -> Tensor:
    """Sharp end of the ladder, moved towards each source by its local weight: sharp + sum_k a_k (source_k - sharp).

    Parameters
    ----------
    sharp
        (B, 1, Y, X).
    sources
        (B, K, Y, X): the plane and its deconvolved copies.
    mix
        (B, K, Y / 4, X / 4) weights; 0 leaves `sharp` as it is.
    """
    with torch.autocast(sharp.device.type, enabled=False):
        weights = F.interpolate(mix.float(), scale_factor=4, mode="bilinear", align_corners=False)
        return sharp + (weights * (sources - sharp)).sum(1, keepdim=True)


def ladder_at(code: LatentCode) -> Tensor:
    """Physics copy at the level of the code, between the rungs linear in level^2: (B, 1, Y, X).

    Defocus is even, so a picture changes with the square of the level near focus, and far from focus, where it is
    smooth, with the second moment of the PSF. A level outside the ladder takes the nearest rung.
    """
    rungs = torch.tensor(code.rungs, device=code.ladder.device, dtype=torch.float32)
    if len(rungs) == 1:
        return code.ladder
    level = code.level.flatten().float().clamp(min=code.rungs[0], max=code.rungs[-1])
    upper = torch.searchsorted(rungs, level).clamp(1, len(rungs) - 1)
    low, high = rungs[upper - 1] ** 2, rungs[upper] ** 2
    weight = ((level**2 - low) / (high - low)).view(-1, 1, 1, 1)
    index = upper.view(-1, 1, 1, 1).expand(-1, 1, *code.ladder.shape[-2:])
    ladder = code.ladder.expand(len(level), *code.ladder.shape[1:])
    return torch.lerp(ladder.gather(1, index - 1), ladder.gather(1, index), weight)


class Block(nn.Module):
    """Residual pair of 3x3 convolutions, optionally modulated by a condition [2]_."""

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
            h = h * (1 + scale) + offset
        return x + self.second(F.relu(h))


class Encoder(nn.Module):
    """Two-scale U-Net from the plane and its deconvolved copies to features, direction and local weights of copies."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        w1, w2 = config.widths
        n1, n2 = config.blocks
        hidden = 64
        self.condition = nn.Sequential(nn.Linear(7, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.stem = nn.Conv2d(16 * (1 + config.copies), w1, 3, padding=1)
        self.fine = nn.ModuleList(Block(w1, hidden) for _ in range(n1))
        self.down = nn.Conv2d(w1, w2, 2, stride=2)
        self.coarse = nn.ModuleList(Block(w2, hidden) for _ in range(n2))
        self.up = nn.Conv2d(w2, 4 * w1, 1)
        self.fine_up = nn.ModuleList(Block(w1, hidden) for _ in range(n1))
        self.heads = nn.ModuleList(
            nn.Conv2d(w, 2 * c, 1) for w, c in zip(config.widths, config.code_widths, strict=True)
        )
        self.mix = nn.Conv2d(w1, 1 + config.copies, 1)
        for parameter in self.mix.parameters():
            nn.init.zeros_(parameter)
        self.radius = 4 * (2 + 2 * 2 * n1) + 8 * (2 * n2 + 1)

    def forward(self, planes: Tensor, condition: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        film = self.condition(_expand(condition))
        x1 = self.stem(_to_blocks(planes))
        for block in self.fine:
            x1 = block(x1, film)
        x2 = self.down(x1)
        for block in self.coarse:
            x2 = block(x2, film)
        x1 = x1 + F.pixel_shuffle(self.up(x2), 2)
        for block in self.fine_up:
            x1 = block(x1, film)
        heads = [head(x).float().chunk(2, 1) for head, x in zip(self.heads, (x1, x2), strict=True)]
        # A direction is per px of blur: the network says the change over the whole way to focus.
        way = condition[:, :1, None, None].clamp(min=1.0)
        return tuple(f for f, _ in heads), tuple(v / way for _, v in heads), self.mix(x1)


class Decoder(nn.Module):
    """Light decoder from the code's features and the physics copy at its level to a correction."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        w1, _ = config.widths
        c1, c2 = config.code_widths
        self.up = nn.Conv2d(c2, 4 * c1, 1)
        self.enter = nn.Conv2d(c1 + 16, w1, 3, padding=1)
        self.fine = Block(w1)
        self.leave = nn.Conv2d(w1, 16, 3, padding=1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)
        self.radius = 4 * (1 + 2 + 1) + 8

    def forward(self, features: tuple[Tensor, ...], base: Tensor) -> Tensor:
        f1, f2 = features
        x = f1 + F.pixel_shuffle(self.up(f2), 2)
        x = self.fine(self.enter(torch.cat([x, _to_blocks(base).to(x.dtype)], 1)))
        with torch.autocast(x.device.type, enabled=False):  # the picture itself is drawn in float32
            return F.pixel_shuffle(self.leave(F.relu(x).float()), 4)


def _to_blocks(planes: Tensor) -> Tensor:
    """Blocks of 4 x 4 pixels as channels, intensities compressed: (B, C, Y, X) to (B, 16 C, Y / 4, X / 4)."""
    blocks = F.pixel_unshuffle(signed_sqrt(planes), 4)
    return blocks.contiguous(memory_format=torch.channels_last)


def signed_sqrt(x: Tensor) -> Tensor:
    """Variance-stabilising x / sqrt(|x| + 0.05): like a square root for bright pixels, odd, smooth at 0."""
    return x * x.abs().add_(0.05).rsqrt_()


def _expand(condition: Tensor) -> Tensor:
    """Level, sampling and noise (B, 3) as seven numbers of order one."""
    level, sampling, noise = condition.chunk(3, 1)
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
        ],
        1,
    )
