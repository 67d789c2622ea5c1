"""Camera: photons to counts.

    counts = clip(round(gain * Poisson(photons) + Normal(0, read_noise) + offset))

`photons` is the expected number of photo-electrons; gain is in counts per electron.
"""

from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

__all__ = ["Camera"]


class Camera(BaseModel):
    """A scientific camera with a digital output of `bits`.

    Examples
    --------
    >>> counts = Camera(offset=100).expose(torch.full((4, 4), 50.0), generator=torch.Generator())
    >>> counts.dtype
    torch.float32
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gain: float = Field(default=1.0, gt=0, description="counts per photo-electron")
    read_noise: float = Field(default=2.0, ge=0, description="standard deviation, counts")
    offset: float = Field(default=100.0, ge=0, description="counts in the dark")
    bits: int = Field(default=16, ge=8, le=16, description="depth of the digital output")

    @model_validator(mode="after")
    def _offset_fits(self) -> Self:
        if self.offset >= self.saturation:
            raise ValueError(f"offset must be below saturation {self.saturation}, got {self.offset}")
        return self

    @property
    def saturation(self) -> int:
        """Largest count."""
        return 2**self.bits - 1

    def expose(self, photons: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Counts (as float32 whole numbers, any shape) for the expected photo-electrons per pixel."""
        electrons = torch.poisson(photons.clamp(min=0), generator=generator)
        noise = torch.randn(photons.shape, generator=generator, device=photons.device) * self.read_noise
        counts = torch.round(self.gain * electrons + noise + self.offset)
        return counts.clamp(0, self.saturation)
