"""How far the result of the visible plane can be trusted, and what classical methods make of it."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from focuslab.optics.optics import Optics
from focuslab.pixels import PERCENTILES
from focuslab_napari.applying import Application, apply_steps
from focuslab_napari.jobs import JobBar
from focuslab_napari.results import put_result
from focuslab_napari.session import Session

__all__ = ["TrustBox", "TrustReport", "baseline_steps", "trust_steps"]

_ITERATIONS = ((2.5, 10), (6.0, 30), (float("inf"), 100))  # of Richardson-Lucy, up to px of blur: the best on nuclei
_VARIANCES = 7000  # of the noise, as the weight of a Wiener filter


@dataclass(frozen=True, slots=True)
class TrustReport:
    """Sentences, and the map of what the result does not explain."""

    sentences: list[str]
    difference: NDArray[np.float32]
    provenance: dict[str, Any]


def trust_steps(session: Session, asked: Application) -> Generator[Any, None, TrustReport]:
    """Take the plane on screen to the sharpest and hold it against what was recorded."""
    from focuslab.quality.trust import consistency, finest_period_px
    from focuslab.refocusing.intensity import finite

    stack, index = asked.image.stack, asked.index
    pixels, provenance = yield from apply_steps(session, asked)
    plane, pixels = (finite(image, keep_nan=True) for image in (stack.plane(index), pixels))
    record = provenance["planes"][0]
    if "level_px" not in record:
        return TrustReport(
            ["No structure was found in this plane: it was not changed."], np.zeros(plane.shape, np.float32), provenance
        )
    optics = Optics(**record["optics"])
    calibrated = stack.optics(stack.position(index, "C")) is not None
    found = consistency(plane, pixels, optics, record["level_px"])
    period = finest_period_px(plane, optics)
    size, unit = (period * optics.pixel_size_um, "um") if calibrated else (period, "px")
    sentences = [
        found.sentence,
        f"At {record['level_px']:.1f} px of blur the data support detail down to {size:.2g} {unit}; what is finer is "
        "the model's guess.",
        f"Mean intensity changed by {100 * provenance['mean_intensity_drift']:+.2f} %, "
        f"{provenance['saturated_pixels']} pixels were saturated, {provenance['darkened_pixels']} cut off where it is "
        "dark.",
    ]
    sentences += _against_sharper(asked, plane, pixels)
    return TrustReport(sentences, found.difference, provenance)


def _against_sharper(asked: Application, plane: Any, made: Any) -> list[str]:
    """PSNR and SSIM before and after, if the stack has a sharper plane of the same field."""
    from focuslab.quality import psnr, ssim
    from focuslab.quality.focus import sharpness
    from focuslab.refocusing.intensity import finite
    from focuslab.refocusing.sampling import sample_plane

    stack, index = asked.image.stack, asked.index
    if "Z" not in stack.axes:
        return []
    at = stack.axes.index("Z")

    def detail(at: tuple[int, ...]) -> float:
        return max(sharpness(finite(window, keep_nan=True)) for window in sample_plane(stack, at))

    sharpest = max(stack.line(index, "Z"), key=detail)
    if sharpest == index:
        return []
    truth = finite(stack.plane(sharpest), keep_nan=True).astype(np.float64)
    low, high = np.percentile(truth, PERCENTILES)
    scores = [
        (psnr(image, truth, data_range=high - low), ssim(image, truth, data_range=high - low))
        for image in (np.asarray(plane, np.float64), np.asarray(made, np.float64))
    ]
    (p0, s0), (p1, s1) = scores
    return [
        f"Against plane {sharpest[at]}, the sharpest of the stack: PSNR {p0:.1f} before, {p1:.1f} dB after; "
        f"SSIM {s0:.2f} before, {s1:.2f} after."
    ]


def baseline_steps(asked: Application, level_px: float) -> Generator[Any, None, dict[str, NDArray[Any]]]:
    """The plane on screen by Richardson-Lucy, Wiener and unsharp mask, with the same PSF and level."""
    import torch

    from focuslab.models.noise import noise_sigma
    from focuslab.models.wiener import LEAST_NOISE
    from focuslab.optics import psf
    from focuslab.quality.classical import richardson_lucy, unsharp_mask, wiener
    from focuslab.refocusing.progress import Progress

    stack = asked.image.stack
    optics = stack.optics(stack.position(asked.index, "C")) or Optics.nominal()
    plane = stack.plane(asked.index).astype(np.float32)
    dark, bright = (float(v) for v in np.percentile(plane[np.isfinite(plane)], PERCENTILES))
    light = np.nan_to_num((plane - dark) / max(bright - dark, 1e-6)).astype(np.float32)
    kernel = psf(optics, optics.defocus_um(level_px))[0]
    times = next(times for level, times in _ITERATIONS if level_px <= level)
    weight = _VARIANCES * max(float(noise_sigma(torch.from_numpy(light)[None, None])), LEAST_NOISE) ** 2
    made = {}
    methods: list[tuple[str, Callable[[], Any]]] = [
        ("unsharp mask", lambda: unsharp_mask(light, max(level_px / 2, 1.0))),
        ("Wiener", lambda: wiener(light, kernel, (weight,))[weight]),
        (f"Richardson-Lucy, {times} iterations", lambda: richardson_lucy(light, kernel, (times,))[times]),
    ]
    for i, (name, method) in enumerate(methods):
        yield Progress(i, len(methods))
        made[name] = np.asarray(method() * (bright - dark) + dark, np.float32)
    return made


class TrustBox(QWidget):
    """Trust report and baselines of the plane on screen.

    Parameters
    ----------
    viewer, session
        As in the panel.
    wish
        Gives the layer and the application of the plane on screen to the sharpest; None if there is none.
    level
        Gives the level of the plane on screen, px; None while it is not known.
    """

    def __init__(
        self,
        viewer: Any,
        session: Session,
        wish: Callable[[], tuple[Any, Application] | None],
        level: Callable[[], float | None],
    ) -> None:
        super().__init__()
        self.viewer, self.session, self._wish, self._level = viewer, session, wish, level
        self.check, self.baselines = QPushButton("Check this plane"), QPushButton("Classical methods")
        self.check.setToolTip("Take this plane to the sharpest, blur it back, and say how far to trust it")
        self.baselines.setToolTip("The same plane by Richardson-Lucy, Wiener and unsharp mask, as layers beside")
        self.about, self.job = QLabel(""), JobBar()
        self._about: Any = None
        self.about.setWordWrap(True)
        rows, row = QVBoxLayout(self), QHBoxLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.check)
        row.addWidget(self.baselines)
        rows.addLayout(row)
        rows.addWidget(self.about)
        rows.addWidget(self.job)
        self.check.clicked.connect(self.start)
        self.baselines.clicked.connect(self.compare)

    def show_plane(self, what: Any) -> None:
        """Turn to another plane, microscope or model: what was said is not of it."""
        if what != self._about:
            self._about = what
            self.about.setText("")

    def start(self) -> None:
        """Check the plane on screen."""
        if (wished := self._wish()) is None:
            return
        layer, asked = wished
        self.job.run("Checking", lambda: trust_steps(self.session, asked), lambda made: self._told(layer, asked, made))

    def compare(self) -> None:
        """Add the classical methods as layers."""
        wished, level = self._wish(), self._level()
        if wished is None or level is None:
            self.about.setText("The level of this plane is not known yet: wait for the preview, or type it.")
            return
        layer, asked = wished
        self.job.run(
            "Classical methods", lambda: baseline_steps(asked, level), lambda made: self._shown(layer, level, made)
        )

    def _told(self, layer: Any, asked: Application, made: TrustReport) -> None:
        plane = f", plane {asked.image.stack.position(asked.index, 'Z')}" if "Z" in asked.image.stack.axes else ""
        self.about.setText("\n".join([f"{layer.name}{plane}:", *(f"- {sentence}" for sentence in made.sentences)]))
        if layer not in self.viewer.layers:
            return
        limit = max(float(np.percentile(np.abs(made.difference), 99.5)), 1e-6)
        put_result(
            self.viewer,
            layer,
            "consistency",
            made.difference,
            {**made.provenance, "operation": "consistency"},
            kept=(layer.ndim - 2, layer.ndim - 1),
            colormap="PiYG",
            contrast_limits=(-limit, limit),
            gamma=1.0,
            visible=False,
        )

    def _shown(self, layer: Any, level: float, made: dict[str, NDArray[Any]]) -> None:
        if layer not in self.viewer.layers:
            return
        for name, image in made.items():
            said = {"operation": name, "level_px": level}
            put_result(self.viewer, layer, name, image, said, kept=(layer.ndim - 2, layer.ndim - 1))
