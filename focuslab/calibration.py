"""What is known of the microscope and the specimen of an image, in um; anything may be unknown."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from focuslab.errors import CalibrationError
from focuslab.optics.optics import Optics, reasons

__all__ = ["Calibration"]


class Calibration(BaseModel):
    """What a file or a user says of the microscope and the specimen; anything may be unknown (None)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_um: float | None = Field(default=None, description="camera pixel in the specimen, um")
    z_step_um: float | None = Field(default=None, description="distance between focal planes, um")
    time_step_s: float | None = Field(default=None, description="time between frames, s")
    na: float | None = Field(default=None, description="numerical aperture")
    index: float | None = Field(default=None, description="refractive index of the immersion medium")
    thickness_um: float | None = Field(default=None, description="thickness of the specimen, um; thin if not known")
    wavelengths_um: tuple[float | None, ...] = Field(default=(), description="emission, um, per channel")
    channel_names: tuple[str, ...] = Field(default=())
    channel_colours: tuple[str, ...] = Field(default=(), description="how they are shown: RRGGBB, hexadecimal")
    position_um: tuple[float, float, float] | None = Field(
        default=None, description="place of the first plane on the stage, um: Z, Y, X"
    )
    downwards: bool = Field(default=False, description="whether Z falls from plane to plane")

    def __init__(self, **data: object) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise CalibrationError(f"This calibration is not physical: {reasons(error)}.") from error

    @model_validator(mode="after")
    def _physical(self) -> Self:
        for name, unit in (("pixel_size_um", "um"), ("z_step_um", "um"), ("time_step_s", "s")):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number of {unit}, got {value}")
        if self.thickness_um is not None and not 0 <= self.thickness_um < np.inf:
            raise ValueError(f"thickness_um is 0 (a thin specimen) or a positive number, got {self.thickness_um}")
        return self

    @classmethod
    def of(cls, optics: Optics, **more: object) -> Self:
        """What optics say, and more that is known."""
        shared = optics.model_dump(include={"pixel_size_um", "na", "index"})
        thickness = optics.thickness_um or None
        return cls(**shared, thickness_um=thickness, wavelengths_um=(optics.wavelength_um,), **more)

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self)(**{**self.model_dump(), **changes})

    def z_of(self, plane: int) -> float:
        """Z of a focal plane on the stage, um; of a stack whose place is not known, from its first plane."""
        step = (self.z_step_um or 0.0) * (-1 if self.downwards else 1)
        return (self.position_um or (0.0,))[0] + plane * step

    def wavelength_um(self, channel: int = 0) -> float | None:
        """Emission wavelength of a channel; a single one holds for all channels."""
        if len(self.wavelengths_um) == 1:
            return self.wavelengths_um[0]
        return self.wavelengths_um[channel] if channel < len(self.wavelengths_um) else None

    def missing(self, channel: int = 0) -> list[str]:
        """Names of what is unknown but needed to convert um to px of blur."""
        known = {
            "numerical aperture": self.na,
            "wavelength": self.wavelength_um(channel),
            "pixel size": self.pixel_size_um,
        }
        return [name for name, value in known.items() if value is None]

    def optics(self, channel: int = 0) -> Optics | None:
        """Optics of a channel, or None while anything needed is unknown (index 1 is assumed below NA 1)."""
        if self.missing(channel):
            return None
        index = self.index
        if index is None:
            if self.na is not None and self.na >= 1:
                raise CalibrationError(
                    f"NA {self.na} needs an immersion medium: give its refractive index (1.33 water, 1.518 oil)."
                )
            index = 1.0
        return Optics(
            na=self.na,
            wavelength_um=self.wavelength_um(channel),
            pixel_size_um=self.pixel_size_um,
            index=index,
            thickness_um=self.thickness_um or 0.0,
        )
