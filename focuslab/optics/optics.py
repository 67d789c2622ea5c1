"""The numbers of a microscope that decide how defocus looks.

Defocus is measured by the radius of the geometric blur disc on the camera,

    r_px = |dz_um| * NA / sqrt(n^2 - NA^2) / pixel_size_um,

which is a *coordinate*, not a blur model: the point spread function also depends on the sampling number

    c = NA * pixel_size_um / wavelength_um        (camera pixels per diffraction length).

Both are given to the front end and to the network. An image without calibration is treated in pixels of
blur radius with the nominal sampling c = 0.6.
"""

import math
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from focuslab.errors import CalibrationError

__all__ = ["NOMINAL_SAMPLING", "Optics", "reasons"]

NOMINAL_SAMPLING = 0.6
_MOST_SLICES = 32
_WAVELENGTHS_UM = (0.1, 3.0)  # that a microscope sees: what lies outside was meant in another unit
_PIXELS_UM = (0.001, 100.0)


class Optics(BaseModel):
    """Objective, light and camera pixel of one channel of a widefield fluorescence microscope.

    Parameters
    ----------
    na
        Numerical aperture, below the immersion index.
    wavelength_um
        Emission wavelength in vacuum, um.
    pixel_size_um
        Camera pixel in the specimen, um.
    index
        Refractive index of the immersion medium.
    zernike_waves
        Aberrations: RMS amplitude in waves by Noll index, for instance ``{11: 0.05}`` for spherical.
    thickness_um
        Thickness of the specimen, um. Each of its slices is blurred by its own distance from focus, and a plane at a
        distance is their mean: what is seen is taken to go through all of it alike. 0 is a thin specimen.

    Raises
    ------
    CalibrationError
        If a number is not physical.

    Examples
    --------
    >>> optics = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
    >>> round(optics.radius_px(4.0), 2)
    3.58
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    na: float = Field(description="numerical aperture")
    wavelength_um: float = Field(description="emission wavelength in vacuum, um")
    pixel_size_um: float = Field(description="camera pixel in the specimen, um")
    index: float = Field(default=1.0, description="refractive index of the immersion medium")
    zernike_waves: dict[int, float] = Field(default_factory=dict, description="aberrations, waves RMS by Noll index")
    thickness_um: float = Field(default=0.0, description="thickness of the specimen, um")

    def __init__(self, **data: object) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise CalibrationError(f"These optics are not physical: {reasons(error)}.") from error

    @model_validator(mode="after")
    def _physical(self) -> Self:
        for name in ("na", "wavelength_um", "pixel_size_um", "index"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value}")
        (least, most), wavelength = _WAVELENGTHS_UM, self.wavelength_um
        if not least <= wavelength <= most:
            meant = f" ({wavelength:g} nm are {wavelength / 1000:g} um)" if wavelength > 100 else ""
            raise ValueError(f"wavelength_um is in um, {least:g} to {most:g}, got {wavelength:g}{meant}")
        if not _PIXELS_UM[0] <= self.pixel_size_um <= _PIXELS_UM[1]:
            raise ValueError(
                f"pixel_size_um is in um in the specimen, {_PIXELS_UM[0]:g} to {_PIXELS_UM[1]:g}, got "
                f"{self.pixel_size_um:g}: say what it is, if the file is wrong"
            )
        if not 0 <= self.thickness_um < math.inf:
            raise ValueError(f"thickness_um is 0 (a thin specimen) or a positive number, got {self.thickness_um}")
        if self.na >= self.index:
            raise ValueError(
                f"the numerical aperture must be below the immersion index, got NA {self.na} with index "
                f"{self.index}; set the index of an immersion objective (1.33 water, 1.518 oil)"
            )
        if any(noll < 2 for noll in self.zernike_waves):
            raise ValueError("Zernike terms start at Noll index 2 (tip)")
        return self

    @classmethod
    def nominal(cls) -> Self:
        """Stand-in optics of an uncalibrated image: one "um" is one pixel, sampling c = 0.6, NA 0.5 in air."""
        return cls(na=0.5, wavelength_um=0.5 / NOMINAL_SAMPLING, pixel_size_um=1.0)

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self)(**{**self.model_dump(), **changes})

    @property
    def sampling(self) -> float:
        """Sampling number c = NA * pixel / wavelength; the camera undersamples intensity above 0.25."""
        return self.na * self.pixel_size_um / self.wavelength_um

    @property
    def airy_radius_px(self) -> float:
        """Radius of the first dark ring of the in-focus PSF, camera pixels."""
        return 0.61 / self.sampling

    @property
    def depth_of_focus_um(self) -> float:
        """Diffraction-limited depth of focus n * wavelength / NA^2, um."""
        return self.index * self.wavelength_um / self.na**2

    @property
    def thin(self) -> Self:
        """The same microscope before a thin specimen."""
        return self.replace(thickness_um=0.0) if self.thickness_um else self

    @property
    def slices_um(self) -> tuple[float, ...]:
        """Where the slices of the specimen lie, um from its middle: their blur differs by about a pixel at most."""
        if not self.thickness_um:
            return (0.0,)
        n = min(max(math.ceil(self.radius_px(self.thickness_um)), 3), _MOST_SLICES)
        return tuple(self.thickness_um * ((i + 0.5) / n - 0.5) for i in range(n))

    def widest_px(self, level_px: float) -> float:
        """Blur radius in camera pixels of the slice farthest from focus, of a plane at a blur level."""
        return level_px + self.radius_px(self.thickness_um / 2)

    @property
    def _px_per_um(self) -> float:
        return self.na / math.sqrt(self.index**2 - self.na**2) / self.pixel_size_um

    def radius_px(self, defocus_um: float) -> float:
        """Blur-disc radius in camera pixels of a plane `defocus_um` away from focus (even in its sign)."""
        return abs(defocus_um) * self._px_per_um

    def shift_px(self, shift_um: float) -> float:
        """Change of the blur level, camera pixels, for a change of defocus, um; negative towards focus, both."""
        return math.copysign(self.radius_px(shift_um), shift_um)

    def defocus_um(self, radius_px: float) -> float:
        """Distance from focus in um at which the blur disc has `radius_px` camera pixels."""
        return radius_px / self._px_per_um


def reasons(error: ValidationError) -> str:
    """What is wrong with the numbers of a microscope, without the words of the library that found it."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}".removeprefix(": ")
        for e in error.errors()
    )
