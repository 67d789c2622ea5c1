"""A recipe says everything that a training run needs: data, optics, model, losses, length.

Recipes are YAML files, checked as a whole before anything is loaded; those that ship with FocusLab lie in
`recipes/` and are called by name.
"""

import difflib
import types
import typing
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator

from focuslab.errors import RequestError
from focuslab.models.bundle import Architecture
from focuslab.models.estimator import EstimatorConfig
from focuslab.models.networks import AutoencoderConfig
from focuslab.refocusing.devices import Precision
from focuslab_training.sections import (
    ImageSource,
    LossWeights,
    OpticsRange,
    PhantomSource,
    Section,
    SplitRule,
    StackSource,
)

__all__ = ["Part", "Recipe", "load_recipe", "recipe_names"]

_BUNDLED = Path(__file__).parent / "recipes"

Part = Literal["autoencoder", "estimator"]


class Recipe(Section):
    """A whole training run."""

    name: str
    description: str = ""
    architecture: Architecture = "linear-latent-autoencoder"
    trains: tuple[Part, ...] = Field(default=("autoencoder", "estimator"), min_length=1)
    start: str | None = Field(default=None, description="bundle to start from: bundled name or path")
    model: AutoencoderConfig = AutoencoderConfig()
    estimator: EstimatorConfig = EstimatorConfig()
    images: tuple[ImageSource, ...] = ()
    phantoms: PhantomSource = PhantomSource()
    optics: OpticsRange = OpticsRange()
    stacks: StackSource | None = None
    split: SplitRule = SplitRule()
    triplets: Literal["bisection", "random"] = Field(default="random", description="how planes of stacks are drawn")
    replay: float = Field(
        default=0.0, ge=0, lt=1, description="share of steps on simulated planes beside recorded stacks, not to forget"
    )
    losses: LossWeights = LossWeights()
    crop_px: int = Field(default=160, ge=32, multiple_of=32)
    batch: int = Field(default=4, ge=1, description="crops per step, over all devices")
    scenes: int = Field(default=1, ge=1, description="simulated microscopes per step, which share out its crops")
    renew: float = Field(default=0.03, ge=0, le=1, description="new ones of each of them per step")
    echo: int = Field(default=1, ge=1, le=8, description="steps in which a batch is used, each time turned otherwise")
    learning_rate: float = Field(default=5e-4, gt=0)
    minutes: dict[Part, PositiveFloat] = Field(
        default={"autoencoder": 60.0, "estimator": 20.0},
        description="length of each part's run and of its learning-rate schedule",
    )
    steps: dict[Part, PositiveInt] = Field(default={}, description="length in steps, where time is not to decide")
    precision: Precision = Field(
        default="auto", description="inside the network; auto takes bfloat16 where the hardware has it, others crawl"
    )
    average: float = Field(default=0.998, ge=0, lt=1, description="decay of the exponential average of the weights")
    clip: float = Field(default=5.0, gt=0, description="largest norm of a gradient")
    validate_every: int = Field(default=500, ge=1, description="steps between validations")
    validation_batches: int = Field(default=16, ge=1)
    patience: int | None = Field(default=None, ge=1, description="validations without progress before stopping")
    checkpoint_minutes: float = Field(default=3.0, gt=0)
    planes_first: int = Field(default=64, ge=1, description="planes that the estimator sees before its first step")
    workers: int = Field(default=0, ge=0, description="processes that read, simulate and make copies")
    seed: int = Field(default=0, ge=0)

    @property
    def needs_specimens(self) -> bool:
        """Whether any part is trained on specimens that are imaged by simulation."""
        simulated = self.stacks is None or self.stacks.layout == "simulated"
        return simulated or self.replay > 0 or "estimator" in self.trains

    @field_validator("trains")
    @classmethod
    def _in_order(cls, trains: tuple[Part, ...]) -> tuple[Part, ...]:
        """The autoencoder first: a run that is stopped leaves no other part than one that was begun."""
        return tuple(sorted(set(trains)))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        files = self.stacks is not None and self.stacks.layout != "simulated"
        if not files and not self.images and self.phantoms.count == 0:
            raise ValueError("a recipe needs images, phantoms or stacks")
        if self.architecture == "reference-autoencoder" and (self.stacks is None or "estimator" in self.trains):
            raise ValueError("the reference architecture is trained on stacks and has no estimator")
        if self.architecture == "reference-autoencoder" and self.start:
            raise ValueError("the reference architecture is trained from scratch: leave out start")
        published = self.architecture == "reference-autoencoder"
        if published != (self.losses.reconstruction > 0):
            raise ValueError(
                "losses.reconstruction belongs to the reference architecture: 1 in each of its regimes, 0 for ours"
            )
        specimens = bool(self.images) or self.phantoms.count > 0
        if "estimator" in self.trains and not specimens:
            raise ValueError("the estimator learns from simulated planes: give images or phantoms, or do not train it")
        ours = self.architecture == "linear-latent-autoencoder"
        if self.replay > 0 and not (ours and specimens and self.stacks is not None):
            raise ValueError("replay is for our architecture on stacks, and needs images or phantoms to simulate")
        if self.echo > 1 and not ours:
            raise ValueError("echo is for our architecture: batches of the published one take no time to make")
        if self.echo > 1 and self.workers and 8 % self.workers:
            raise ValueError(
                f"with echo, workers are 0, 1, 2, 4 or 8, got {self.workers}: each keeps batches of its own"
            )
        if self.batch % self.scenes:
            raise ValueError(f"batch is a multiple of scenes, got {self.batch} crops for {self.scenes} scenes")
        if lacking := [p for p in self.trains if p not in self.minutes and p not in self.steps]:
            raise ValueError(f"minutes or steps are missing for the {lacking[0]}")
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
        If there is no such recipe or it does not validate; a misspelt key is told the nearest valid one.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = _BUNDLED / f"{name_or_path}.yaml"
    if not path.is_file():
        raise RequestError(
            f"No recipe {name_or_path!r}: give one of {', '.join(recipe_names())} or the path of a YAML file."
        )
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in (changes or {}).items():
            _change(said, key, value)
        return Recipe.model_validate(said)
    except ValidationError as error:
        said = _explained(error)
        raise RequestError(f"The recipe {path.name} is not valid: {said}{'' if said.endswith('?') else '.'}") from error
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise RequestError(f"The recipe {path.name} is not valid: {error}") from error


def _change(said: Any, key: str, value: object) -> None:
    """Set a field of what a file says; parts of a list are named by their number."""
    *parents, last = key.split(".")
    for name in parents:
        said = said[_place(said, name, key)] if isinstance(said, list) else said.setdefault(name, {})
        if not isinstance(said, list | dict):
            raise ValueError(f"{key}: there is nothing below {name!r}")
    said[_place(said, last, key)] = value


def _place(said: list[Any] | dict[str, Any], name: str, key: str) -> Any:
    if isinstance(said, dict):
        return name
    if name.isdecimal() and int(name) < len(said):
        return int(name)
    raise ValueError(f"{key}: there are {len(said)}, counted from 0, got {name!r}")


def _explained(error: ValidationError) -> str:
    """First complaint in one sentence."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        said = first["msg"].removeprefix("Value error, ")
        return f"{place}: {said}, got {str(first['input'])[:80]!r}" if place else said
    valid = _fields(Recipe, first["loc"][:-1])
    near = difflib.get_close_matches(str(first["loc"][-1]), valid, 1, 0.5)
    return f"there is no key {place!r}, " + (f"did you mean {near[0]!r}?" if near else f"valid are {', '.join(valid)}")


def _fields(model: Any, place: tuple[str | int, ...]) -> list[str]:
    """Names of the fields of the section of `model` at a place of its tree."""
    for step in place:
        if isinstance(step, str) and step in model.model_fields:
            model = next(iter(_sections(model.model_fields[step].annotation)), model)
    return sorted(model.model_fields)


def _sections(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for part in typing.get_args(annotation) for found in _sections(part)]
