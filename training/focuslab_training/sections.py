"""Sections of a recipe (see `recipe`): specimens, stacks, microscopes, their split, and the weights of the loss."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, model_validator

from focuslab.models.frontend import LADDER

__all__ = [
    "ImageSource",
    "LossWeights",
    "OpticsRange",
    "PhantomSource",
    "Section",
    "SplitRule",
    "StackSource",
]

WIDEST_LEVEL = LADDER[-1]


class Section(BaseModel):
    """Part of a recipe: a misspelt key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self).model_validate({**self.model_dump(), **changes})


def _ascending_shares(columns: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= columns[0] < columns[1] <= 1:
        raise ValueError("columns must be two ascending shares of the width, between 0 and 1")
    return columns


Columns = Annotated[tuple[float, float], AfterValidator(_ascending_shares)]


class ImageSource(Section):
    """Sharp images used as specimens: files below the data folder."""

    name: str
    files: str = Field(description="glob below the data folder")
    leave_out: tuple[str, ...] = Field(default=(), description="globs of file names kept for evaluation")
    columns: Columns = Field(default=(0.0, 1.0), description="part of the width that is used")
    bins: tuple[PositiveInt, ...] = Field(default=(1,), description="binnings at which each image is offered")
    weight: float = Field(default=1.0, gt=0, description="relative frequency of this source")
    licence: str = Field(description="named in the model card")


class PhantomSource(Section):
    """Synthetic specimens, drawn before training."""

    count: int = Field(default=300, ge=0)
    size_px: int = Field(default=384, ge=64)
    first_seed: int = 0
    weight: float = Field(default=1.0, gt=0)


class OpticsRange(Section):
    """Ranges from which microscopes and cameras are drawn."""

    na_over_index: tuple[float, float] = (0.2, 0.95)
    index: tuple[float, ...] = (1.0, 1.33, 1.515)
    pixel_size_um: tuple[float, float] = (0.1, 1.5)
    wavelength_um: tuple[float, float] = (0.42, 0.68)
    largest_airy_px: float = Field(default=6.0, gt=0, description="microscopes that oversample more are left out")
    largest_level_px: float = Field(default=45.0, gt=0)
    thick: float = Field(default=0.0, ge=0, le=1, description="share of microscopes that see a thick specimen")
    thickness_px: tuple[float, float] = Field(default=(2.0, 16.0), description="blur radius between its faces")
    photons: tuple[float, float] = Field(default=(100.0, 30000.0), description="at the brightest structures")
    read_noise: tuple[float, float] = Field(default=(0.0003, 0.01), description="relative to the brightest")
    sure: float = Field(default=0.5, ge=0, le=1, description="share of planes whose level and optics are as said")
    doubt: tuple[float, float] = Field(default=(0.015, 0.3), description="relative error of the level of the others")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name in (
            "na_over_index",
            "pixel_size_um",
            "wavelength_um",
            "thickness_px",
            "photons",
            "read_noise",
            "doubt",
        ):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is a range of positive numbers, the lower first, got {low:g} to {high:g}")
        if self.na_over_index[1] >= 1:
            raise ValueError(f"the aperture is less than the index, got na_over_index up to {self.na_over_index[1]:g}")
        if not self.index or min(self.index) < 1:
            raise ValueError("index needs numbers from 1 on")
        if self.largest_level_px > WIDEST_LEVEL:
            raise ValueError(f"blur levels go up to {WIDEST_LEVEL:g} px, got {self.largest_level_px:g}")
        smallest = 0.61 * self.wavelength_um[0] / (self.na_over_index[1] * max(self.index) * self.pixel_size_um[1])
        if smallest > self.largest_airy_px:
            raise ValueError(f"no such microscope has an Airy radius below {self.largest_airy_px:g} px")
        return self

    @property
    def largest_sampling(self) -> float:
        """Largest sampling number c that these ranges can draw."""
        na = self.na_over_index[1] * max(self.index)
        return round(na * self.pixel_size_um[1] / self.wavelength_um[0], 2)


class StackSource(Section):
    """Focal stacks to train on; where it is given, planes are taken from them and not simulated at random.

    What the files say of the microscope is overridden by what is given here.
    """

    layout: Literal["bbbc006", "stacks", "pattern", "simulated"] = Field(
        description="BBBC006 folders, one file per stack, one file per plane, or simulated from the specimens"
    )
    files: str = Field(default="**/*", description="glob below the data folder, for layout stacks")
    pattern: str | None = Field(default=None, description="as for --pattern, for layout pattern")
    planes: tuple[int, int, int] | None = Field(default=None, description="first, last and step of the planes used")
    channel: int = Field(default=0, ge=0)
    focus: int | None = Field(default=None, ge=0, description="plane in focus; none: found by its sharpness")
    levels: Literal["z", "fitted"] = Field(
        default="z", description="blur levels from z and the optics, or fitted to each stack"
    )
    focus_px: float | Literal["read"] = Field(
        default=0.0,
        description="with fitted levels: that of the plane in focus, which may not be quite there, or read from it",
    )
    na: float | None = Field(default=None, gt=0)
    index: float | None = Field(default=None, gt=0)
    thickness_um: float | Literal["fitted"] | None = Field(
        default=None, description="thickness of the specimen, or with fitted levels fitted to each stack; none: thin"
    )
    wavelength_um: float | None = Field(default=None, gt=0)
    pixel_size_um: float | None = Field(default=None, gt=0)
    z_step_um: float | None = Field(default=None, gt=0)
    columns: Columns = Field(default=(0.0, 1.0), description="part of the width that is used")
    on_bad: Literal["skip", "refuse"] = Field(default="skip", description="stacks that cannot be used")
    photons: float = Field(default=1667.0, gt=0, description="of simulated stacks, at light 1")
    read_noise: float = Field(default=3.3, ge=0, description="of simulated stacks, electrons")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.layout == "pattern" and self.pattern is None:
            raise ValueError("the layout 'pattern' needs a pattern such as '{well}_z{z}.tif'")
        if self.layout == "simulated" and (
            self.planes is None
            or self.focus is None
            or None in (self.na, self.wavelength_um, self.pixel_size_um, self.z_step_um)
        ):
            raise ValueError("simulated stacks need planes, focus, na, wavelength_um, pixel_size_um and z_step_um")
        if (
            self.layout == "simulated"
            and self.planes
            and self.focus not in range(self.planes[0], self.planes[1] + 1, self.planes[2])
        ):
            raise ValueError(f"the plane in focus, {self.focus}, is not among the planes {self.planes}")
        if self.layout == "simulated" and self.thickness_um == "fitted":
            raise ValueError("the thickness of a simulated stack is not fitted: give it in um, or leave it out")
        if self.focus_px != "read" and not 0 <= self.focus_px <= 10:
            raise ValueError(f"the plane in focus has a blur level from 0 to 10 px, got {self.focus_px:g}")
        if self.focus_px != 0 and self.levels != "fitted":
            raise ValueError("a level of the plane in focus, focus_px, goes with levels fitted to the stack")
        if self.thickness_um == "fitted" and self.levels != "fitted":
            raise ValueError("a thickness is fitted along with the levels: set levels to fitted too")
        if self.planes and not (0 <= self.planes[0] <= self.planes[1] and self.planes[2] >= 1):
            raise ValueError(
                "planes are the first, the last and the step, from 0 on, the first not behind the last and the step 1 "
                f"or more, got {list(self.planes)}"
            )
        return self


class SplitRule(Section):
    """Shares of the fields that are kept apart; an image or file, or by wells a well, is always on one side."""

    validation: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.0, ge=0, lt=1)
    by: Literal["field", "well"] = "field"

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing to train on: together they are less than 1")
        return self


class LossWeights(Section):
    """Weights of the terms (see `losses`)."""

    reconstruction: float = Field(default=0.0, ge=0, description="round trip of each plane")
    implicit: float = Field(default=0.5, ge=0, description="picture on the line between two planes")
    explicit: float = Field(default=0.05, ge=0, description="code on the line between two planes")
    sharpest: float = Field(default=1.0, ge=0, description="picture at focus, from one plane")
    other_level: float = Field(default=0.5, ge=0, description="picture at any other level, from one plane")
    pairs: float = Field(default=0.2, ge=0, le=1, description="share of steps that train two planes at once")
