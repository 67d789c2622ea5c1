"""Measures of what came out."""

from focuslab.quality.metrics import psnr, scaled_to, ssim

__all__ = ["psnr", "scaled_to", "ssim"]
