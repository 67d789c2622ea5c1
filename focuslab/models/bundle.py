"""Model bundles: a folder with `weights.safetensors` and `card.json`.

The card says what the model is, what it was trained on and how far it may be trusted, and holds the SHA-256 of the
weights, checked on load. Weights are float16 on disk and float32 in memory. Nothing is ever unpickled.
"""

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from focuslab.errors import ModelError, OutputError
from focuslab.files import drafted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from focuslab.models.autoencoder import LinearLatentAutoencoder
    from focuslab.models.estimator import LevelEstimator
    from focuslab.models.reference import ReferenceAutoencoder

__all__ = ["Architecture", "Model", "ModelCard", "load_bundle", "load_reference", "read_card", "save_bundle"]

WEIGHTS, CARD = "weights.safetensors", "card.json"

Architecture = Literal["linear-latent-autoencoder", "reference-autoencoder"]


class ModelCard(BaseModel):
    """What is worth knowing of a model, in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["focuslab-bundle-1"] = "focuslab-bundle-1"
    name: str
    version: str = "1"
    description: str = ""
    architecture: Architecture = "linear-latent-autoencoder"
    autoencoder: dict[str, Any] = Field(default_factory=dict, description="`AutoencoderConfig`")
    estimator: dict[str, Any] = Field(default_factory=dict, description="`EstimatorConfig`")
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

    def to(self, device: Any) -> "Model":
        """The model on a torch device: itself if it is there already, else a copy, and this one stays where it is."""
        import torch

        here, there = next(self.autoencoder.parameters()).device, torch.device(device)
        there_already = here.type == there.type and there.index in (None, here.index)
        model = self if there_already else Model(self.card, *deepcopy((self.autoencoder, self.estimator)))
        model.autoencoder.to(there).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.estimator.to(there)
        return model

    def save(self, folder: str | Path) -> ModelCard:
        """Write the model as a bundle, see `save_bundle`."""
        return save_bundle(self.card, {"autoencoder": self.autoencoder, "estimator": self.estimator}, folder)

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and hash, for provenance."""
        return {"name": self.card.name, "version": self.card.version, "sha256": self.card.sha256}


def save_bundle(card: ModelCard, networks: "dict[str, nn.Module]", folder: str | Path) -> ModelCard:
    """Write networks as a bundle; the card is completed with the hash and returned.

    Parameters
    ----------
    card
        Without the hash.
    networks
        ``autoencoder`` and, for the linear latent architecture, ``estimator``.
    folder
        Made if it is missing. The weights are replaced as a whole: a full disk leaves an older bundle as it was.

    Raises
    ------
    OutputError
        If the bundle cannot be written.
    """
    from safetensors.torch import save

    folder = Path(folder)
    weights = {
        f"{part}.{name}": (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for part, network in networks.items()
        for name, value in network.state_dict().items()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with drafted(folder / CARD) as said, drafted(folder / WEIGHTS) as kept:  # the weights take their place first
            kept.write_bytes(save(weights))  # with the permissions of any other file
            card = card.model_copy(update={"sha256": _sha256(kept)})
            said.write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The model cannot be written to {folder}: {error.strerror or error}.") from error
    return card


def load_bundle(folder: str | Path) -> Model:
    """Load a bundle of the linear latent architecture from its folder (or from the path of its card or weights).

    Raises
    ------
    ModelError
        If the bundle is missing, incomplete, damaged, or of a foreign kind.
    """
    from focuslab.models.autoencoder import LinearLatentAutoencoder
    from focuslab.models.estimator import EstimatorConfig, LevelEstimator
    from focuslab.models.networks import AutoencoderConfig

    folder = _folder(Path(folder))
    card = read_card(folder)
    if card.architecture != "linear-latent-autoencoder":
        raise ModelError(
            f"{folder} holds the published reference architecture, which needs two planes and keeps no intensities: "
            "it can be evaluated (focuslab evaluate), images are refocused by the linear latent architecture."
        )
    tensors = _tensors(folder, card)
    try:
        # The first editions did not say which they are.
        config = AutoencoderConfig.model_validate({"front_end": 1, **card.autoencoder})
        reader = EstimatorConfig.model_validate({"evidence": 1, **card.estimator})
        autoencoder, estimator = LinearLatentAutoencoder(config), LevelEstimator(reader)
        autoencoder.load_state_dict(_part(tensors, "autoencoder"))
        estimator.load_state_dict(_part(tensors, "estimator"))
    except (ValidationError, RuntimeError) as error:
        raise ModelError(
            f"The weights in {folder} are not those of a model of this version of FocusLab, train it again "
            f"({_first_line(error)})."
        ) from error
    return Model(card, autoencoder, estimator)


def load_reference(folder: str | Path) -> "tuple[ModelCard, ReferenceAutoencoder]":
    """Load a bundle of the published reference architecture, in evaluation mode.

    Raises
    ------
    ModelError
        As `load_bundle`.
    """
    from focuslab.models.reference import ReferenceAutoencoder

    folder = _folder(Path(folder))
    card = read_card(folder)
    network = ReferenceAutoencoder()
    try:
        network.load_state_dict(_part(_tensors(folder, card), "autoencoder"))
    except RuntimeError as error:
        raise ModelError(f"The weights in {folder} do not fit their card: {_first_line(error)}") from error
    return card, network.eval().requires_grad_(False)


def read_card(folder: str | Path) -> ModelCard:
    """Card of a bundle.

    Raises
    ------
    ModelError
        If there is none.
    """
    folder = _folder(Path(folder))
    try:
        return ModelCard.model_validate(json.loads((folder / CARD).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise ModelError(f"{folder / CARD} is not the card of a FocusLab model: {_first_line(error)}") from error


def _tensors(folder: Path, card: ModelCard) -> "dict[str, Tensor]":
    """Checked weights, float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

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
        return {name: value.float() for name, value in load_file(weights).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"The weights in {folder} cannot be read: {_first_line(error)}") from error


def _part(tensors: "dict[str, Tensor]", part: str) -> "dict[str, Tensor]":
    return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}


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
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place, said = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        return f"{place}: {said}" if place else said
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
