"""Models as the evaluation sees them: codes of all planes of a field, lines between codes, pictures of codes.

A judge hides whether a model is of our architecture or the published one; pictures are in the field's normalised
intensity.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from focuslab.models.bundle import Model, ModelCard, load_reference, read_card
from focuslab.models.copying import copied, measured
from focuslab.models.frontend import exact_rungs, front_end
from focuslab.models.latent import Encoded, along_line, between_codes
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.models.zoo import bundled_cards, load_model
from focuslab.refocusing.devices import choose_device
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.levels import estimate_level
from focuslab.refocusing.tiling import Tile, read_region
from focuslab_training.data.field import Field

__all__ = ["CodeParts", "Judge", "LinearJudge", "ReferenceJudge", "judge_of"]

Image = NDArray[np.float32]
CodeParts = Literal["features", "whole code", "features, physics zeroed"]


class Judge(Protocol):
    """What an evaluation asks of a model; a code is whatever the model makes it."""

    card: ModelCard
    parts: tuple[CodeParts, ...]

    def code(self, field: Field, plane: int, *, physics: bool = True) -> Any:
        """Code of a plane."""
        ...

    def line(self, a: Any, b: Any, t: float) -> Any:
        """Code on the line through two."""
        ...

    def picture(self, code: Any) -> Image:
        """Picture of a code."""
        ...

    def round_trip(self, code: Any) -> Image:
        """Picture of a code without what the decoder cannot say."""
        ...

    def vector(self, code: Any, part: CodeParts) -> NDArray[np.float32]:
        """Part of a code as numbers in a row."""
        ...


def judge_of(name_or_path: str | Path, device: str = "cpu", doubt: float = 0.0) -> Judge:
    """Judge of a bundled model, or of any bundle; `doubt` is the relative error to be expected of the fields' levels.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    own = str(name_or_path) not in bundled_cards() and Path(name_or_path).exists()
    if own and read_card(name_or_path).architecture == "reference-autoencoder":
        return ReferenceJudge(*load_reference(name_or_path), device)
    return LinearJudge(load_model(name_or_path), device, doubt)


class LinearJudge:
    """Our architecture. A code is that of the whole plane, its halo cut off."""

    parts: tuple[CodeParts, ...] = ("features", "whole code", "features, physics zeroed")

    def __init__(self, model: Model, device: str = "cpu", doubt: float = 0.0) -> None:
        self.card, self.doubt = model.card, doubt
        self.engine = Engine(model, device, "float32")
        self.model = self.engine.model  # which is where the engine is

    def code(self, field: Field, plane: int, *, physics: bool = True) -> Encoded:
        """Code and direction of a plane, at its level, on a ladder of the levels of all planes."""
        return self.encode(field, plane, field.levels_px[plane], exact_rungs([0.0, *field.levels_px]), physics=physics)

    def encode(
        self,
        field: Field,
        plane: int,
        level_px: float,
        rungs: tuple[float, ...],
        *,
        doubt: float | None = None,
        physics: bool = True,
    ) -> Encoded:
        """Code and direction of one plane, taken to be at a level; without physics the deconvolved copies are zero."""
        doubt = self.doubt if doubt is None else doubt
        network, device = self.model.autoencoder, self.engine.device
        maker = front_end(field.optics, network.config.copies)
        margin = maker.radius(level_px, rungs)
        height, width = field.stack.plane_shape
        region = read_region(field.stack, (plane,), Tile(0, height, 0, width), margin + network.halo)
        image = torch.from_numpy(field.intensity.normalise(region.counts))[None, None].to(device)
        known = measured(image[..., *region.recorded], field.optics, level_px, doubt)
        with torch.inference_mode():
            seen = copied(image, region.recorded, known, maker, rungs, margin, network.halo)
            copies = seen.copies
            if not physics:
                nothing = tuple(torch.zeros_like(c) for c in copies.deconvolved)
                copies = replace(copies, deconvolved=nothing, ladder=torch.zeros_like(copies.ladder))
            code, direction = network.encode(seen.plane, copies, seen.condition, margin=network.encoder_halo)
        self._shape = (height, width)
        return code, direction

    def line(self, a: Encoded, b: Encoded, t: float) -> Encoded:
        """Code at t on the line through two planes."""
        return between_codes(a, b, t), a[1]

    def shifted(self, code: Encoded, shift_px: float) -> Encoded:
        """Code of one plane moved along its own direction."""
        return along_line(*code, shift_px), code[1]

    def picture(self, code: Encoded) -> Image:
        """Picture of a code."""
        halo = self.model.autoencoder.decoder_halo
        with torch.inference_mode():
            made = self.model.autoencoder.decode(code[0])[0, 0]
        height, width = self._shape
        return np.asarray(made[halo : halo + height, halo : halo + width].cpu(), np.float32)

    def round_trip(self, code: Encoded) -> Image:
        """Picture without the remainder."""
        return self.picture((replace(code[0], remainder=None), code[1]))

    def vector(self, code: Encoded, part: CodeParts) -> NDArray[np.float32]:
        """Learned feature maps, or the whole code with ladder and remainder."""
        tensors = list(code[0].features)
        if part == "whole code":
            tensors += [t for t in (code[0].ladder, code[0].remainder) if t is not None]
        return torch.cat([t.flatten() for t in tensors]).cpu().numpy()

    def estimate(self, field: Field, plane: int) -> tuple[float, float]:
        """Blur level of a plane, px, as read from the plane, and its doubt; 0 if there is no structure."""
        found = estimate_level([field.stack.plane((plane,))], self.model, field.optics)
        return (found.within(field.stack.plane_shape, self.model), found.doubt) if found.found else (0.0, 0.0)


class ReferenceJudge:
    """The published architecture: planes cut to 0..1 and mirrored to multiples of 32 px."""

    parts: tuple[CodeParts, ...] = ("features",)

    def __init__(self, card: ModelCard, network: ReferenceAutoencoder, device: str = "cpu") -> None:
        self.card, self.device = card, choose_device(device)
        self.network = network.to(self.device)

    def code(self, field: Field, plane: int, *, physics: bool = True) -> Tensor:
        """Code of a plane."""
        height, width = field.stack.plane_shape
        self._shape = (height, width)
        stride = self.network.stride
        more = (-height % stride, -width % stride)
        image = np.pad(np.clip(field.plane(plane), 0, 1), ((0, more[0]), (0, more[1])), mode="reflect")
        with torch.inference_mode():
            return self.network.encode(torch.from_numpy(image)[None, None].to(self.device))

    def line(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        """Code at t on the line through two planes."""
        return a + t * (b - a)

    def picture(self, code: Tensor) -> Image:
        """Picture of a code."""
        with torch.inference_mode():
            made = self.network.decode(code)[0, 0]
        return np.asarray(made[: self._shape[0], : self._shape[1]].cpu(), np.float32)

    def round_trip(self, code: Tensor) -> Image:
        """The same: there is nothing beside the code."""
        return self.picture(code)

    def vector(self, code: Tensor, part: CodeParts) -> NDArray[np.float32]:
        """The code."""
        return code.flatten().cpu().numpy()
