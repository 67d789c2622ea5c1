"""The linear latent autoencoder: physics copies in, code out, and back.

    F, v, a  = E(plane, copies)             features, their direction per px of blur, weights of the copies
    D(code)  = ladder(level) + G(F, ladder(level))
    R        = plane - D(code)              the remainder, float32
    decode   = D(code + shift * v) + R'     R' is R, faded (see `latent`)

`ladder(level)` interpolates the physics copies of the plane at the level asked for, its sharp end being a local mean
of the plane and its deconvolved copies with the weights a (flat ground wants much regularisation, an edge little), so
that the network G (see `networks`) only adds what the physics cannot know. All planes are in linear, normalised
intensity.

References
----------
.. [1] I. Mazilu et al., "Defocus Blur Synthesis and Deblurring via Interpolation and Extrapolation in Latent
       Space", CAIP 2023, doi 10.1007/978-3-031-44240-7_20.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from focuslab.models.frontend import LADDER, PhysicsCopies
from focuslab.models.latent import SCALES, LatentCode
from focuslab.models.networks import AutoencoderConfig, Decoder, Encoder
from focuslab.optics.imaging import crop

__all__ = ["LinearLatentAutoencoder", "blend", "ladder_at", "worth_mixing"]

_QUIET = 0.005  # standard deviation of the noise below which less is mixed
_WIDE = (4.5, 7.5)  # px of the equivalent radius over which that fades
_DOUBTED = 0.15  # and the doubt of the level to which


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
    def encoder_halo(self) -> int:
        """Pixels around a code that the encoder looks at, a multiple of the stride."""
        return -(-self.encoder.radius // self.stride) * self.stride

    @property
    def decoder_halo(self) -> int:
        """Pixels around a picture that the decoder looks at, a multiple of the stride."""
        return -(-self.decoder.radius // self.stride) * self.stride

    @property
    def halo(self) -> int:
        """Pixels around a picture that encoder and decoder together look at."""
        return self.encoder_halo + self.decoder_halo

    def encode(
        self, plane: Tensor, copies: PhysicsCopies, condition: Tensor, *, margin: int = 0, remainder: bool = True
    ) -> tuple[LatentCode, LatentCode]:
        """Code of a plane and its direction.

        Parameters
        ----------
        plane
            (B, 1, Y, X), linear normalised intensity; float64 keeps a float64 remainder.
        copies
            The front end's copies of the same region.
        condition
            (B, 5), see `conditions`.
        margin
            Border, px, a multiple of the stride, that the codes come without: `encoder_halo` for a tile.
        remainder
            False leaves it out, which saves a decoding, for shifts that keep nothing of it.

        Returns
        -------
        code, direction
            `direction` is the change of the code per px of blur.
        """
        if copies.rungs[0] != 0:
            raise ValueError(f"A ladder starts at the sharpest image, level 0, got {copies.rungs}.")
        sources = (plane.float(), *copies.deconvolved)
        sharp = copies.ladder[:, :1]
        features, direction, mix = self.encoder(sources, sharp, condition)
        mix = mix * worth_mixing(condition)[:, None, None, None]
        sharp = blend(sharp, sources, mix)
        ladder = torch.cat([sharp, copies.ladder[:, 1:]], 1) if len(copies.rungs) > 1 else sharp
        level = condition[:, :1, None, None]
        features, direction = (self._cropped(maps, margin) for maps in (features, direction))
        ladder, plane = crop(ladder, margin), crop(plane, margin)
        code = LatentCode(features, ladder, level, None, copies.rungs)
        if remainder:
            code = replace(code, remainder=plane - self.decode(code))
        return code, LatentCode(direction, None, torch.ones_like(level), None, copies.rungs)

    def _cropped(self, maps: tuple[Tensor, ...], margin: int) -> tuple[Tensor, ...]:
        return tuple(crop(one, margin // scale) for one, scale in zip(maps, SCALES, strict=True))

    def decode(self, code: LatentCode) -> Tensor:
        """Draw a code: (B, 1, Y, X), linear normalised intensity, float32."""
        base = ladder_at(code)
        picture = base + self.decoder(code.features, base)
        return picture if code.remainder is None else picture + code.remainder


def worth_mixing(condition: Tensor) -> Tensor:
    """How much of the network's weights of sources is taken, (B,), from 0 to 1, by conditions (B, 5), see `conditions`.

    In focus there is nothing to mix. A mean of copies has less noise than each and is softer than the best of them.
    What it gains falls with the variance of the noise, and in little noise the sharp end of the ladder is that best
    one, if it is stopped where what it leaves unexplained is white: by up to 7 dB, on specimens of all kinds. Of a wide
    blur little noise leaves much open as well. (A network that is trained on all of these learns to hedge.)
    """
    level, _, noise, radius, doubt = condition.unbind(1)
    quiet = (level >= LADDER[1]) * (1 - (noise / _QUIET).square()).clamp(min=0)
    narrow = ((_WIDE[1] - radius) / (_WIDE[1] - _WIDE[0])).clamp(0, 1)
    sure = (1 - doubt / _DOUBTED).clamp(min=0)
    return -torch.expm1(-level.square()) * (1 - quiet * narrow * sure)


def blend(sharp: Tensor, sources: Sequence[Tensor], mix: Tensor) -> Tensor:
    """Sharp end of the ladder, moved towards each source by its local weight: sharp + sum_k a_k (source_k - sharp).

    Parameters
    ----------
    sharp
        (B, 1, Y, X).
    sources
        The plane and its deconvolved copies, (B, 1, Y, X) each.
    mix
        (B, K, Y / 4, X / 4) weights; 0 leaves `sharp` as it is.
    """
    with torch.autocast(sharp.device.type, enabled=False):
        blended, weights = sharp, F.interpolate(mix.float(), scale_factor=4, mode="bilinear", align_corners=False)
        for weight, source in zip(torch.split(weights, 1, 1), sources, strict=True):
            blended = torch.addcmul(blended, weight, source - sharp)
        return blended


def ladder_at(code: LatentCode) -> Tensor:
    """Physics copy at the level of the code, between the rungs linear in level^2: (B, 1, Y, X).

    A picture of an even, smooth blur changes with the second moment of the PSF. Only the way to the sharpest image,
    which may be sharper than focus, is linear in the level: there no small shift may change more than it must. A
    level outside the ladder takes the nearest rung.
    """
    if code.ladder is None:
        raise ValueError("A direction has no picture: add it to a code.")
    rungs = torch.tensor(code.rungs, device=code.ladder.device, dtype=torch.float32)
    if len(rungs) == 1:
        return code.ladder
    level = code.level.flatten().float().clamp(min=code.rungs[0], max=code.rungs[-1])
    upper = torch.searchsorted(rungs, level).clamp(1, len(rungs) - 1)
    low, high = rungs[upper - 1] ** 2, rungs[upper] ** 2
    weight = torch.where(low > 0, (level**2 - low) / (high - low), level / high.sqrt()).view(-1, 1, 1, 1)
    index = upper.view(-1, 1, 1, 1).expand(-1, 1, *code.ladder.shape[-2:])
    ladder = code.ladder.expand(len(level), *code.ladder.shape[1:])
    return torch.lerp(ladder.gather(1, index - 1), ladder.gather(1, index), weight)
