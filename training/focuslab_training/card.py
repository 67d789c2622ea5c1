"""The card of a model that a recipe has trained."""

import torch

from focuslab.models.bundle import ModelCard
from focuslab.models.zoo import bundled_cards, load_model
from focuslab_training.data.module import DataSet
from focuslab_training.recipe import Recipe

__all__ = ["model_card"]


def model_card(recipe: Recipe, dataset: DataSet) -> ModelCard:
    """Card of a model trained by a recipe."""
    ranges, stacks = recipe.optics, recipe.stacks
    imaged = dataset.imaged
    data = [f"{s.name}: {_of(s.name, imaged)} images, {s.licence}" for s in recipe.images if _of(s.name, imaged)]
    if phantoms := _of("phantoms", imaged):
        data.append(f"phantoms: {phantoms} simulated specimens")
    if stacks is not None:
        kind = "simulated from them" if stacks.layout == "simulated" else f"layout {stacks.layout}"
        data.append(f"{len(dataset.used)} focal stacks, {kind}")
    fields = dataset.fields("train")
    largest = max((max(f.levels_px) for f in fields), default=ranges.largest_level_px)
    sampling = (round(0.61 / ranges.largest_airy_px, 2), ranges.largest_sampling)
    if fields:
        seen = [field.optics.sampling for field in fields]
        sampling = (round(min(seen), 3), round(max(seen), 3))
    start = load_model(recipe.start).card if recipe.start else None
    if start is not None:  # what it has learnt it is taken to keep
        data.append(f"started from {start.name} {start.version} ({start.sha256[:12]}): {'; '.join(start.data)}")
        largest = max(largest, start.levels_px[1])
        sampling = (min(sampling[0], start.sampling[0]), max(sampling[1], start.sampling[1]))
    ours = recipe.architecture == "linear-latent-autoencoder"
    other = bundled_cards()["default"]
    if ours and start is None and "estimator" not in recipe.trains:
        data.append(f"levels are read by the estimator of {other.name} {other.version} ({other.sha256[:12]})")
    if ours and start is None and "autoencoder" not in recipe.trains:
        data.append(f"planes are coded by the autoencoder of {other.name} {other.version} ({other.sha256[:12]})")
    published = {"reconstruction", "implicit", "explicit"}
    terms = recipe.losses.model_dump(include=None if ours else published, exclude={"pairs"})
    return ModelCard(
        name=recipe.name,
        description=recipe.description,
        architecture=recipe.architecture,
        autoencoder=recipe.model.model_dump() if ours else {},
        estimator=recipe.estimator.model_dump() if ours else {},
        regime=", ".join(f"{name} {weight:g}" for name, weight in terms.items() if weight),
        levels_px=(0.0, round(largest, 2)),
        sampling=sampling,
        optics=fields[0].optics.model_dump() if fields else ranges.model_dump(),
        data=tuple(data),
        training={
            "recipe": recipe.name,
            "minutes": {part: recipe.minutes[part] for part in recipe.trains if part not in recipe.steps},
            "seed": recipe.seed,
            "torch": torch.__version__,
        },
    )


def _of(source: str, names: list[str]) -> int:
    """How many names are those of a source."""
    return sum(name.startswith(source + "/") for name in names)
