"""The bundled model as a product: what it does on the bundled samples, whose specimens no model was trained on."""

import numpy as np
import pytest

import focuslab
from focuslab.optics import psf
from focuslab.quality import psnr
from focuslab.quality.classical import convolved, richardson_lucy
from focuslab.samples import sample

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
