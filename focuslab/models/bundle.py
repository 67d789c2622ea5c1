"""Model bundles: a folder with `weights.safetensors` and `card.json`.

The card says what the model is, what it was trained on and how far it may be trusted, and holds the SHA-256 of the
weights, checked on load. Weights are float16 on disk and float32 in memory. Nothing is ever unpickled.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from focuslab.errors import ModelError

if TYPE_CHECKING:
    from focuslab.models.autoencoder import LinearLatentAutoencoder
    from focuslab.models.estimator import LevelEstimator

__all__ = ["Model", "ModelCard", "load_bundle", "save_bundle"]

WEIGHTS, CARD = "weights.safetensors", "card.json"


class ModelCard(BaseModel):
    """What is worth knowing of a model, in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["focuslab-bundle-1"] = "focuslab-bundle-1"
    name: str
    version: str = "1"
    description: str = ""
    architecture: Literal["linear-latent-autoencoder"] = "linear-latent-autoencoder"
    autoencoder: dict[str, Any] = Field(description="`AutoencoderConfig`")
    estimator: dict[str, Any] = Field(description="`EstimatorConfig`")
    regime: str = Field(default="", description="terms and weights of the loss")
    levels_px: tuple[float, float] = Field(default=(0.0, 45.0), description="trained blur levels")
    sampling: tuple[float, float] = Field(default=(0.15, 3.4), description="trained sampling numbers c")
    optics: dict[str, Any] = Field(default_factory=dict, description="trained ranges")
    modality: str = "widefield fluorescence"
    data: tuple[str, ...] = Field(default=(), description="training images and their licences")
    training: dict[str, Any] = Field(default_factory=dict, description="recipe, steps, hardware")
    metrics: dict[str, Any] = Field(default_factory=dict, description="figures, each with its protocol")
    licence: str = "BSD-3-Clause"
    sha256: str = Field(default="", description="of the weights file")


class Model:
    """A loaded bundle.

    Attributes
    ----------
    card
        The bundle's card.
    autoencoder, estimator
        Networks in evaluation mode, float32, on the CPU until moved.
    """

    def __init__(self, card: ModelCard, autoencoder: "LinearLatentAutoencoder", estimator: "LevelEstimator") -> None:
        self.card = card
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.estimator = estimator.eval().requires_grad_(False)

    def to(self, device: Any) -> Self:
        """Move both networks to a torch device."""
        import torch

        self.autoencoder.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.estimator.to(device)
        return self

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and hash, for provenance."""
        return {"name": self.card.name, "version": self.card.version, "sha256": self.card.sha256}


def save_bundle(model: Model, folder: str | Path) -> ModelCard:
    """Write a model as a bundle; the card is completed with the hash and returned."""
    import torch
    from safetensors.torch import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"{part}.{name}": value.detach().cpu().to(torch.float16).contiguous()
        for part, network in (("autoencoder", model.autoencoder), ("estimator", model.estimator))
        for name, value in network.state_dict().items()
    }
    (folder / WEIGHTS).write_bytes(save(weights))  # with the permissions of any other file
    card = model.card.model_copy(update={"sha256": _sha256(folder / WEIGHTS)})
    (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n")
    return card


def load_bundle(folder: str | Path) -> Model:
    """Load a bundle from its folder (or from the path of its card or weights).

    Raises
    ------
    ModelError
        If the bundle is missing, incomplete, damaged, or of a foreign kind.
    """
    from safetensors.torch import load_file

    from focuslab.models.autoencoder import LinearLatentAutoencoder
    from focuslab.models.estimator import EstimatorConfig, LevelEstimator
    from focuslab.models.networks import AutoencoderConfig

    folder = _folder(Path(folder))
    try:
        card = ModelCard.model_validate(json.loads((folder / CARD).read_text()))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise ModelError(f"{folder / CARD} is not the card of a FocusLab model: {_first_line(error)}") from error
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ModelError(f"The model bundle {folder} lacks its {WEIGHTS}.")
    found = _sha256(weights)
    if found != card.sha256:
        raise ModelError(
            f"The weights in {folder} are damaged or do not belong to their card: SHA-256 {found[:12]}..., expected "
            f"{card.sha256[:12] or 'none'}... Install the model again."
        )
    try:
        tensors = {name: value.float() for name, value in load_file(weights).items()}
        networks = {
            "autoencoder": LinearLatentAutoencoder(AutoencoderConfig.model_validate(card.autoencoder)),
            "estimator": LevelEstimator(EstimatorConfig.model_validate(card.estimator)),
        }
        for part, network in networks.items():
            own = {n.removeprefix(f"{part}."): v for n, v in tensors.items() if n.startswith(f"{part}.")}
            network.load_state_dict(own)
    except Exception as error:  # safetensors and torch raise errors of many kinds
        raise ModelError(f"The weights in {folder} do not fit their card: {_first_line(error)}") from error
    return Model(card, networks["autoencoder"], networks["estimator"])  # type: ignore[arg-type]


def _folder(path: Path) -> Path:
    if path.name in (CARD, WEIGHTS):
        path = path.parent
    if path.is_file():
        raise ModelError(
            f"{path} is not a FocusLab model: a model is a folder with {CARD} and {WEIGHTS}. Pickled checkpoints "
            "(.pt, .pth, .ckpt) are never loaded."
        )
    if not path.is_dir():
        raise ModelError(f"There is no model {path}: give the name of a bundled model or the folder of a bundle.")
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
