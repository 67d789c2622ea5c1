"""Refocus a numpy array in pixels of blur radius: no calibration needed."""

import numpy as np

import focuslab
from focuslab.samples import sample

stack, truth = sample("nuclei_20x")
plane = stack.plane((3,))

sharp = focuslab.refocus(plane, sharpest=True, level_px=10.7)
blurrier = focuslab.refocus(plane, shift_px=4.0, level_px=10.7)

assert sharp.dtype == plane.dtype
print(f"standard deviation: {plane.std():.0f} as taken, {sharp.std():.0f} sharp, {blurrier.std():.0f} blurrier")
print(f"largest change at shift 0: {np.abs(focuslab.refocus(plane, shift_px=0.0, level_px=10.7) - plane).max()}")
