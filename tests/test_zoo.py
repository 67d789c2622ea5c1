"""The bundled model as a product: what it does on the bundled samples, whose specimens no model was trained on."""

import numpy as np
import pytest

import focuslab
from focuslab.calibration import Calibration
from focuslab.optics import Optics, phantom, psf
from focuslab.quality import psnr
from focuslab.quality.classical import convolved, richardson_lucy
from focuslab.samples import sample
from focuslab.stack import FocalStack

AFTER = {  # PSNR, dB, of two planes with their levels given, by edition 17; before, they have 18.7 to 28.2
    "nuclei_20x": {2: 33.7, 4: 30.6},
    "filaments_40x": {2: 32.6, 4: 26.2},
    "puncta_63x_oil": {2: 44.3, 4: 32.3},
}
OFFSET = 100  # counts of a pixel in the dark


@pytest.mark.parametrize("name", AFTER)
def test_it_is_as_good_as_it_was_and_better_than_richardson_lucy(name: str) -> None:
    stack, truth = sample(name)
    optics, sharp = stack.optics(), truth.plane().astype(float)
    low, high = np.percentile(sharp, (0.5, 99.9))
    made = focuslab.refocus(stack, sharpest=True, focus_plane=0, doubt=0.0)
    for z, decibels in AFTER[name].items():
        kernel = psf(optics, z * stack.calibration.z_step_um)[0]
        light = np.maximum(stack.plane((z,)).astype(np.float32) - OFFSET, 0)
        deconvolved = richardson_lucy(light, kernel, (30, 100, 300)).values()
        classical = max(
            psnr(picture + OFFSET, sharp, data_range=high - low)
            for specimen in deconvolved
            for picture in (specimen, convolved(specimen, psf(optics, 0.0)[0]))
        )
        found = psnr(made.plane((z,)), sharp, data_range=high - low)
        assert found > decibels - 0.3, f"plane {z}: {found:.1f} dB"
        assert found > classical, f"plane {z}: {found:.1f} dB, Richardson-Lucy {classical:.1f}"


@pytest.mark.parametrize("kind", ["nuclei", "filaments", "membranes", "puncta"])
def test_much_light_is_not_wasted(kind: str) -> None:
    optics, photons, gain, rim = Optics(na=0.5, wavelength_um=0.52, pixel_size_um=0.645), 25000, 0.4, 48
    light = phantom(kind, (256, 256), seed=970_000)  # type: ignore[arg-type]
    kernel = psf(optics, optics.defocus_um(3.0))[0]
    counts = gain * np.random.default_rng(0).poisson(photons * convolved(light, kernel).clip(0)) + OFFSET
    stack = FocalStack(counts.astype(np.uint16), "YX", Calibration.of(optics))
    made = focuslab.refocus(stack, sharpest=True, level_px=3.0)
    recorded = ((counts - OFFSET) / (gain * photons)).clip(0).astype(np.float32)
    classical = richardson_lucy(recorded, kernel, (10, 30, 100))
    inside = (slice(rim, -rim), slice(rim, -rim))  # a mirror lies beyond, which only Richardson-Lucy knows

    def judged(picture: np.ndarray) -> float:
        return psnr(picture[inside].clip(0, 1), light[inside].clip(0, 1), data_range=1.0)

    ours, best = judged((made.plane() - float(OFFSET)) / (gain * photons)), max(map(judged, classical.values()))
    assert ours > best - 1.2, f"{ours:.1f} dB, Richardson-Lucy {best:.1f}"
