"""The engine: encode a region once, decode it at any shift.

    region of counts -> normalise -> continue beyond the border -> front end -> code, direction
                                                                             (`Engine.encode`, once per region)
    code + shift * direction -> decode -> undo the normalisation             (`CodedRegion.at`, per shift)

Everything that refocuses (command line, plugin, augmentation, evaluation) goes through here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from focuslab.models.bundle import Model
from focuslab.models.copying import PlaneConditions, copied
from focuslab.models.frontend import LADDER, FrontEnd, PhysicsFrontEnd, exact_rungs, front_end
from focuslab.models.latent import LatentCode, along_line, keeps_remainder
from focuslab.optics import Optics, crop
from focuslab.refocusing.devices import Precision, choose_device, choose_precision
from focuslab.refocusing.intensity import IntensityMap
from focuslab.refocusing.spots import without_spots
from focuslab.refocusing.tiling import Region

__all__ = ["CodedRegion", "Engine", "PlaneFacts"]

_SAME = 1e-3  # px of blur that are no difference
_WIDE = ("i4", "u4", "i8", "u8", "f8")  # types whose pixels do not fit a float32


@dataclass(frozen=True, slots=True)
class PlaneFacts:
    """What is known of a plane before it is encoded.

    Attributes
    ----------
    level_px
        Blur level, px.
    noise
        Standard deviation of the noise and of all else that the level does not explain, normalised intensity.
    optics
        The microscope, nominal if unknown.
    intensity
        Map between counts and normalised intensity.
    floor
        How far the dark lies below the darkest of the plane, normalised intensity.
    doubt
        Relative error to be expected of the level, and of the optics with it.
    surplus
        Times the noise of the pixels that `noise` is, by what the level does not explain.
    """

    level_px: float
    noise: float
    optics: Optics
    intensity: IntensityMap
    floor: float = 0.0
    doubt: float = 0.0
    surplus: float = 1.0

    @property
    def conditions(self) -> PlaneConditions:
        """What the model is told of it."""
        return PlaneConditions(self.optics, self.level_px, self.noise, self.floor, self.doubt)


class Engine:
    """A model on a device.

    Parameters
    ----------
    model
        Loaded bundle.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision
        Arithmetic inside the network; the physics and the picture itself are always float32 or better.
    """

    def __init__(self, model: Model, device: str = "auto", precision: Precision = "auto") -> None:
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.model = model.to(self.device)

    def halo(self, facts: PlaneFacts, rungs: tuple[float, ...] = LADDER) -> int:
        """Pixels that a region needs around what is wanted of it."""
        return self._front_end(facts).radius(facts.level_px, rungs) + self.model.autoencoder.halo

    @staticmethod
    def rungs(facts: PlaneFacts, *shifts: float) -> tuple[float, ...]:
        """Ladder made for the given shifts, px: its rungs are the very levels that are decoded."""
        own = [facts.level_px] if keeps_remainder(facts.level_px, *shifts) else []
        return exact_rungs([*own, *(facts.level_px + shift for shift in shifts)])

    def encode(
        self, region: Region, facts: PlaneFacts, rungs: tuple[float, ...] = LADDER, *, remainder: bool = True
    ) -> "CodedRegion":
        """Encode a region with its halo.

        Parameters
        ----------
        region
            With `halo` pixels on every side.
        facts
            Of the plane that the region belongs to.
        rungs
            Blur levels of the ladder: all of them for a slider, `Engine.rungs` for known shifts.
        remainder
            Whether any of the shifts to come needs it, see `keeps_remainder`.
        """
        wide = region.counts.dtype.str[1:] in _WIDE and self.device.type != "mps"
        normal = facts.intensity.normalise(region.counts, np.float64 if wide else np.float32)
        plane = torch.from_numpy(normal)[None, None].to(self.device)
        physics = self._front_end(facts)
        margin = physics.radius(facts.level_px, rungs)
        network = self.model.autoencoder
        with torch.inference_mode():
            light = without_spots(plane, facts.optics, facts.level_px, facts.noise)
            seen = copied(light, region.recorded, facts.conditions, physics, rungs, margin, network.halo)
            with torch.autocast(self.device.type, self.dtype, enabled=self._fast):
                code, direction = network.encode(
                    seen.plane, seen.copies, seen.condition, margin=network.encoder_halo, remainder=remainder
                )
            if code.remainder is not None and light is not plane:  # no light, but pixels: at no shift they are there
                code = replace(code, remainder=code.remainder + crop(plane - light, margin + network.encoder_halo))
        return CodedRegion(self, facts, code, direction, crop(seen.copies.source, network.encoder_halo))

    def on_rungs(self, code: LatentCode, source: Tensor, facts: PlaneFacts, rungs: tuple[float, ...]) -> LatentCode:
        """The same code on another ladder, made for the levels to be decoded; much faster than encoding again.

        Parameters
        ----------
        code
            Of a region. Its remainder is kept: it is exact if the code's own level is among its rungs.
        source
            That of the coded region, with pixels more than the code on every side: `ladder_halo` are needed.
        facts, rungs
            As in `encode`.
        """
        physics = self._front_end(facts)
        if not isinstance(physics, PhysicsFrontEnd) or code.ladder is None:
            return code
        sharp = code.ladder[:, :1]
        if not rungs[1:]:
            return replace(code, ladder=sharp, rungs=rungs)
        margin = (source.shape[-1] - sharp.shape[-1]) // 2
        with torch.inference_mode():
            copies = physics.rung_copies(source, facts.level_px, facts.noise, rungs[1:], margin)
            return replace(code, ladder=torch.cat([sharp, copies], 1), rungs=rungs)

    def ladder_halo(self, facts: PlaneFacts, rungs: tuple[float, ...]) -> int:
        """Pixels that `on_rungs` needs around a code."""
        physics = self._front_end(facts)
        return physics.reach(facts.level_px, rungs) if isinstance(physics, PhysicsFrontEnd) else 0

    def blurred(self, counts: NDArray[Any], facts: PlaneFacts, levels_px: Sequence[float]) -> list[NDArray[np.float64]]:
        """A region at levels beyond its own by optics alone: by the ratio of two transfer functions.

        Parameters
        ----------
        counts
            (Y, X) pixels, including `blur_halo` pixels on every side.
        facts
            Of the plane that the region belongs to.
        levels_px
            Blur levels, none below the plane's own.

        Returns
        -------
        list of ndarray
            The region without its halo, at every level; at its own level the very pixels.
        """
        physics = PhysicsFrontEnd(facts.optics)
        halo = physics.reach(facts.level_px, levels_px)
        plane = torch.from_numpy(facts.intensity.normalise(counts))[None, None].to(self.device)
        with torch.inference_mode():
            light = without_spots(plane, facts.optics, facts.level_px, facts.noise)
            made = physics.blurred(light, facts.level_px, facts.noise, levels_px, halo)[0].cpu().numpy()
        own = counts[halo:-halo, halo:-halo].astype(np.float64)
        return [
            own if abs(level - facts.level_px) < _SAME else facts.intensity.counts(picture)
            for level, picture in zip(levels_px, made, strict=True)
        ]

    @staticmethod
    def blur_halo(facts: PlaneFacts, levels_px: Sequence[float]) -> int:
        """Pixels that `blurred` needs around a region."""
        return PhysicsFrontEnd(facts.optics).reach(facts.level_px, levels_px)

    def decode(self, code: LatentCode, intensity: IntensityMap) -> NDArray[np.float64]:
        """Counts of a code, without the network's halo."""
        halo = self.model.autoencoder.decoder_halo
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self._fast):
            picture = self.model.autoencoder.decode(code)[0, 0, halo:-halo, halo:-halo]
        return intensity.counts(picture.cpu().numpy())

    def _front_end(self, facts: PlaneFacts) -> FrontEnd:
        return front_end(facts.optics, self.model.autoencoder.config.copies)

    @property
    def _fast(self) -> bool:
        return self.dtype != torch.float32


@dataclass(frozen=True, slots=True)
class CodedRegion:
    """Code of a region, ready to be drawn at any shift.

    `source` is what the rungs of its ladder are made of, with a halo of its own, see `Engine.on_rungs`.
    """

    engine: Engine
    facts: PlaneFacts
    code: LatentCode
    direction: LatentCode
    source: Tensor

    def at(self, shift_px: float) -> NDArray[np.float64]:
        """Counts of the region, without its halo, `shift_px` of blur away: negative is sharper."""
        return self.engine.decode(along_line(self.code, self.direction, shift_px), self.facts.intensity)
