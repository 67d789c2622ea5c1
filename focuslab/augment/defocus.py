"""Random defocus: what the microscope would have recorded had the field been out of focus."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from focuslab.augment.transform import RandomTransform
from focuslab.calibration import Calibration
from focuslab.errors import RequestError
from focuslab.models.bundle import Model
from focuslab.models.zoo import load_model
from focuslab.optics import Optics
from focuslab.refocusing.engine import Engine
from focuslab.refocusing.progress import finish
from focuslab.refocusing.request import Way
from focuslab.refocusing.synthesis import SynthesisRequest, focal_stack_steps
from focuslab.stack import FocalStack

__all__ = ["DefocusParameters", "RandomDefocus"]

_NOMINAL = Optics.nominal()


@dataclass(frozen=True, slots=True)
class DefocusParameters:
    """A defocus that was drawn.

    Attributes
    ----------
    blur_px
        Blur radius that is added, px.
    way
        By the ``model`` or by ``optics``.
    optics
        The microscope.
    """

    blur_px: float
    way: Way
    optics: Optics


class RandomDefocus(RandomTransform[DefocusParameters]):
    """Add defocus to an image, the same for all its channels.

    Parameters
    ----------
    blur
        Range of the distance from focus (um) or blur radius (px), drawn evenly.
    unit
        ``um`` needs `optics`.
    optics
        The microscope, or several to draw from; a nominal one (c = 0.6) if not given.
    way
        By the learned code (``model``), by ``optics`` alone, or either at random (``mixed``).
    level_px
        Blur level of the images as they are; None to read it from each.
    model, device
        As in `focuslab.refocus`.
    p, seed, channels_last
        As in `RandomTransform`.

    Raises
    ------
    RequestError
        If the range is not one.

    Examples
    --------
    >>> defocus = RandomDefocus((0.5, 8.0), seed=1)
    >>> blurred = defocus(image)                                                            # doctest: +SKIP
    """

    def __init__(
        self,
        blur: tuple[float, float] = (0.5, 8.0),
        *,
        unit: Literal["um", "px"] = "px",
        optics: Optics | Sequence[Optics] | None = None,
        way: Literal["model", "optics", "mixed"] = "mixed",
        level_px: float | None = 0.0,
        model: str | Model = "default",
        device: str = "auto",
        p: float = 1.0,
        seed: int | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__(p=p, seed=seed, channels_last=channels_last)
        if not 0 <= blur[0] <= blur[1] < float("inf"):
            raise RequestError(f"A range of blur has two ascending numbers from 0 on, got {blur}.")
        if unit not in ("um", "px"):
            raise RequestError(f"A range of blur is in 'um' or in 'px', got {unit!r}.")
        if unit == "um" and not optics:
            raise RequestError("A range in um needs the optics: give them, or give the range in px.")
        if way not in ("model", "optics", "mixed"):
            raise RequestError(f"Defocus comes from the model, from optics or is mixed, got {way!r}.")
        self.blur, self.unit, self.way, self.level_px = blur, unit, way, level_px
        self.optics = (optics,) if isinstance(optics, Optics) else tuple(optics or (_NOMINAL,))
        self.model, self.device = model, device
        self._engine: Engine | None = None
        self._loaded_in = 0

    def draw(self, random: np.random.Generator) -> DefocusParameters:
        """Draw optics, blur and way."""
        optics = self.optics[int(random.integers(len(self.optics)))]
        value = float(random.uniform(*self.blur))
        blur = optics.radius_px(value) if self.unit == "um" else value
        way: Way = ("model", "optics")[int(random.integers(2))] if self.way == "mixed" else self.way
        return DefocusParameters(blur, way, optics)

    def render(self, image: NDArray[Any], parameters: DefocusParameters) -> NDArray[Any]:
        """Defocus every channel by the same blur; a channel without structure stays as it is."""
        known = Calibration.of(parameters.optics)
        made = np.empty_like(image)
        for channel, plane in enumerate(image):
            stack = FocalStack(plane, "YX", known)
            level = self.level_px
            if level is None:
                level = self._level(stack)
            if level is None or not np.ptp(plane) > 0:
                made[channel] = plane
                continue
            total = level + parameters.blur_px
            request = SynthesisRequest(total, total, 1, "px", level, parameters.way)
            steps = focal_stack_steps(stack, (), request, self.engine, optics=parameters.optics)
            made[channel] = finish(steps).plane((0,))
        return made

    @property
    def engine(self) -> Engine:
        """Engine of the model, loaded once per process; ``auto`` is the CPU in the workers of a `DataLoader`."""
        if self._engine is None or self._loaded_in != os.getpid():
            forked = self.device == "auto" and get_worker_info() is not None
            device = "cpu" if forked else self.device  # CUDA does not survive a fork
            self._engine = Engine(load_model(self.model), device)
            self._loaded_in = os.getpid()
        return self._engine

    def _level(self, stack: FocalStack) -> float | None:
        from focuslab.refocusing.survey import focus_curve_steps

        (found,) = finish(focus_curve_steps(stack, [()], self.engine.model))
        return found.estimate.level_px if found.estimate.found else None

    def __getstate__(self) -> dict[str, Any]:
        """Without the engine, which every worker loads for itself."""
        return {**self.__dict__, "_engine": None}
