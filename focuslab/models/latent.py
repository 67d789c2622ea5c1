"""The code of a focal plane, and the line along which defocus is linear.

A code holds what the decoder needs to draw the plane at any level of blur:

- `features`  learned feature maps F, a short pyramid, the part that moves along the line;
- `ladder`    physics copies of the plane at a few fixed blur levels (see `frontend`), fixed on the line;
- `level`     the blur level, px, that the code stands at;
- `remainder` R = plane - D(F): what the decoder cannot say of this plane, so that shift 0 returns the
              plane by construction.

Codes are vectors: they are added, subtracted and scaled, and the source reads like the mathematics,
``code + shift * direction`` from one plane and ``a + t * (b - a)`` between two.

The remainder belongs to the plane it was measured on and is mostly noise, so a shift may not carry it along
unchanged: it fades as a cosine, to nothing a quarter of the level away (at least one pixel of blur), and
further on it stays nothing. Shorter, a level that is wrong by a fifth would cost more than noise does; longer,
noise would cost up to 10 dB where the level is right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["SCALES", "Encoded", "LatentCode", "along_line", "between_codes", "fade", "keeps_remainder", "window"]

SCALES = (4, 8)  # px per pixel of the feature maps, fine and coarse
_REACH = 0.25  # of the level: the shift from which on nothing is left of the remainder


@dataclass(frozen=True, slots=True)
class LatentCode:
    """Code of a batch of planes of (Y, X) pixels.

    Attributes
    ----------
    features
        Feature maps (B, C_i, Y / s_i, X / s_i), fine to coarse.
    ladder
        (B, K, Y, X) physics copies at the blur levels `rungs`; None in a direction, along which they do not change.
    level
        (B, 1, 1, 1) blur level in px.
    remainder
        (B, 1, Y, X), or None for nothing.
    rungs
        Blur levels of the ladder in px, ascending: common to codes that are combined.
    """

    features: tuple[Tensor, ...]
    ladder: Tensor | None
    level: Tensor
    remainder: Tensor | None
    rungs: tuple[float, ...]

    def __add__(self, other: LatentCode) -> LatentCode:
        if self.rungs != other.rungs:
            raise ValueError(f"Codes on different ladders cannot be combined: {self.rungs} and {other.rungs}.")
        return LatentCode(
            tuple(a + b for a, b in zip(self.features, other.features, strict=True)),
            _sum(self.ladder, other.ladder),
            self.level + other.level,
            _sum(self.remainder, other.remainder),
            self.rungs,
        )

    def __mul__(self, factor: float | Tensor) -> LatentCode:
        return LatentCode(
            tuple(a * factor for a in self.features),
            _times(self.ladder, factor),
            self.level * factor,
            _times(self.remainder, factor),
            self.rungs,
        )

    __rmul__ = __mul__

    def __sub__(self, other: LatentCode) -> LatentCode:
        return self + other * -1.0


def window(code: LatentCode, rows: slice, columns: slice) -> LatentCode:
    """Part of a code: `rows` and `columns` in px, from and to multiples of 8."""

    def cut(image: Tensor, scale: int = 1) -> Tensor:
        y, x = (slice(s.start // scale, s.stop // scale) for s in (rows, columns))
        return image[..., y, x]

    return replace(
        code,
        features=tuple(cut(maps, scale) for maps, scale in zip(code.features, SCALES, strict=True)),
        ladder=None if code.ladder is None else cut(code.ladder),
        remainder=None if code.remainder is None else cut(code.remainder),
    )


Encoded = tuple[LatentCode, LatentCode]  # code and direction


def along_line(code: LatentCode, direction: LatentCode, shift: float | Tensor) -> LatentCode:
    """Code of the same field `shift` px of blur away: ``code + shift * direction``, the remainder fading.

    Parameters
    ----------
    code, direction
        Of one encoding; `direction` is the change of the code per px of blur.
    shift
        Change of the blur level, px, negative towards sharp; a number or (B, 1, 1, 1).
    """
    moved = code + shift * direction
    return replace(moved, remainder=_times(code.remainder, fade(shift, code.level)))


def between_codes(a: Encoded, b: Encoded, t: float) -> LatentCode:
    """Code on the line through two planes of a field, each with its own direction: `a` at t = 0, `b` at t = 1.

    Between the planes it is ``a + t * (b - a)``. Beyond them the nearer plane's own direction goes on: the difference
    of two measured codes, multiplied, would amplify their noise (t = 8, from two neighbouring planes to focus, by
    10.6), the direction is learnt and free of it.

    The ladders of both planes show the same images. Blurring loses nothing and deblurring does, so the ladder is the
    sharper plane's but within a pixel of the other. Remainders fade with the distance from their plane.
    """
    (code_a, along_a), (code_b, along_b) = a, b
    gap = code_b.level - code_a.level
    if t < 0:
        return along_line(code_a, along_a, t * gap)
    if t > 1:
        return along_line(code_b, along_b, (t - 1) * gap)
    line = code_a + t * (code_b - code_a)
    blurrier, sharper, way = (code_b, code_a, 1 - t) if float(gap.mean()) > 0 else (code_a, code_b, t)
    kept = _cosine(way * gap.abs().clamp(min=1))
    ladder = _sum(_times(blurrier.ladder, kept), _times(sharper.ladder, 1 - kept))
    ends = ((1 - t, code_a), (t, code_b))
    remainders = [_times(end.remainder, near * fade(line.level - end.level, end.level)) for near, end in ends]
    return replace(line, ladder=ladder, remainder=_sum(*remainders))


def fade(shift: float | Tensor, level: Tensor) -> Tensor:
    """Share of the remainder left after a shift: 1 at shift 0, flat there, 0 from a quarter of `level` (>= 1 px) on."""
    distance = torch.as_tensor(shift, dtype=level.dtype, device=level.device).abs()
    return _cosine(distance / (_REACH * level).clamp(min=1.0))


def keeps_remainder(level_px: float, *shifts: float) -> bool:
    """Whether any shift, px, of a code at a level keeps something of its remainder."""
    return any(float(fade(shift, torch.tensor(level_px))) > 0 for shift in shifts)


def _cosine(way: Tensor) -> Tensor:
    """From 1 at 0 as a cosine to 0 at 1, and 0 beyond."""
    return 0.5 * (1 + torch.cos(torch.pi * way.clamp(max=1.0)))


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _times(a: Tensor | None, factor: float | Tensor) -> Tensor | None:
    return None if a is None else a * factor
