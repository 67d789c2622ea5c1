"""Measures of what came out, and of what went in."""

from focuslab.quality.focus import disorder, find_focus, sharpness
from focuslab.quality.linearity import apd, lds
from focuslab.quality.metrics import ffl, mse, psnr, scaled_to, ssim

__all__ = ["apd", "disorder", "ffl", "find_focus", "lds", "mse", "psnr", "scaled_to", "sharpness", "ssim"]
