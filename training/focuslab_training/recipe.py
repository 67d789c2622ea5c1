"""A recipe says everything that a training run needs: data, optics, model, losses, length.

Recipes are YAML files, checked as a whole before anything is loaded; those that ship with FocusLab lie in
`recipes/` and are called by name.
"""

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from focuslab.errors import RequestError
from focuslab.models.estimator import EstimatorConfig
from focuslab.models.networks import AutoencoderConfig

__all__ = [
    "ImageSource",
    "LossWeights",
    "OpticsRange",
    "PhantomSource",
    "Recipe",
    "load_recipe",
    "recipe_names",
]

_BUNDLED = Path(__file__).parent / "recipes"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self).model_validate({**self.model_dump(), **changes})


class ImageSource(_Part):
    """Sharp images used as specimens: files below the data folder."""

    name: str
    files: str = Field(description="glob below the data folder")
    leave_out: tuple[str, ...] = Field(default=(), description="globs of file names kept for evaluation")
    left_part: float = Field(default=1.0, gt=0, le=1, description="share of the width that is used, from the left")
    bins: tuple[int, ...] = Field(default=(1,), description="binnings at which each image is offered")
    weight: float = Field(default=1.0, gt=0, description="relative frequency of this source")
    licence: str = Field(description="named in the model card")


class PhantomSource(_Part):
    """Synthetic specimens, drawn before training."""

    count: int = Field(default=300, ge=0)
    size_px: int = Field(default=384, ge=64)
    first_seed: int = 0
    weight: float = Field(default=1.0, gt=0)


class OpticsRange(_Part):
    """Ranges from which microscopes and cameras are drawn."""

    na_over_index: tuple[float, float] = (0.2, 0.95)
    index: tuple[float, ...] = (1.0, 1.33, 1.515)
    pixel_size_um: tuple[float, float] = (0.1, 1.5)
    wavelength_um: tuple[float, float] = (0.42, 0.68)
    largest_airy_px: float = Field(default=4.0, gt=0, description="microscopes that oversample more are left out")
    largest_level_px: float = 45.0
    photons: tuple[float, float] = Field(default=(100.0, 30000.0), description="at the brightest structures")
    read_noise: tuple[float, float] = Field(default=(0.0003, 0.01), description="relative to the brightest")
    level_error: float = Field(default=0.1, ge=0, description="relative error of a wrong level (log-normal)")
    wrong_levels: float = Field(default=0.35, ge=0, le=1, description="share of planes given a wrong level")

    @property
    def largest_sampling(self) -> float:
        """Largest sampling number c that these ranges can draw."""
        na = self.na_over_index[1] * max(self.index)
        return round(na * self.pixel_size_um[1] / self.wavelength_um[0], 2)


class LossWeights(_Part):
    """Weights of the terms (see `losses`); `pairs` is the share of steps that train two planes at once."""

    sharpest: float = 1.0
    other_level: float = 0.5
    implicit: float = 0.5
    explicit: float = 0.05
    pairs: float = Field(default=0.2, ge=0, le=1)


class Recipe(_Part):
    """A whole training run."""

    name: str
    trains: tuple[Literal["autoencoder", "estimator"], ...] = Field(
        default=("autoencoder", "estimator"), min_length=1, description="parts of the model, in order"
    )
    description: str = ""
    start: str | None = Field(default=None, description="bundle to start from: bundled name or path")
    model: AutoencoderConfig = AutoencoderConfig()
    estimator: EstimatorConfig = EstimatorConfig()
    images: tuple[ImageSource, ...] = ()
    phantoms: PhantomSource = PhantomSource()
    optics: OpticsRange = OpticsRange()
    losses: LossWeights = LossWeights()
    crop_px: int = Field(default=160, ge=64, multiple_of=8)
    batch: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    minutes: dict[Literal["autoencoder", "estimator"], float] = Field(
        default={"autoencoder": 60.0, "estimator": 20.0},
        description="length of each part's run and of its learning-rate schedule",
    )
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    seed: int = 0

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        if not self.images and self.phantoms.count == 0:
            raise ValueError("a recipe needs images or phantoms")
        return self


def recipe_names() -> list[str]:
    """Names of the recipes that ship with FocusLab."""
    return sorted(path.stem for path in _BUNDLED.glob("*.yaml"))


def load_recipe(name_or_path: str, changes: dict[str, object] | None = None) -> Recipe:
    """Read a recipe by bundled name or by path.

    Parameters
    ----------
    name_or_path
        Bundled name, or path of a YAML file.
    changes
        Fields to change, nested ones named with dots: ``{"minutes.autoencoder": 5}``.

    Raises
    ------
    RequestError
        If there is no such recipe or it does not validate.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = _BUNDLED / f"{name_or_path}.yaml"
    if not path.is_file():
        raise RequestError(
            f"No recipe {name_or_path!r}: give one of {', '.join(recipe_names())} or the path of a YAML file."
        )
    try:
        said = yaml.safe_load(path.read_text())
        for key, value in (changes or {}).items():
            *parents, last = key.split(".")
            place = said
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return Recipe.model_validate(said)
    except (yaml.YAMLError, ValidationError, AttributeError, TypeError) as error:
        raise RequestError(f"The recipe {path.name} is not valid: {error}") from error
