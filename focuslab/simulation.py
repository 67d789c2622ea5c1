"""Simulated focal stacks: specimen, optics and camera put together, as the `FocalStack` a microscope would give."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import ImageError
from focuslab.optics import Camera, Optics, defocus, phantom
from focuslab.stack import FocalStack

__all__ = ["simulate_stack", "specimen_of"]


def specimen_of(source: FocalStack | Any, *, size: int = 512, seed: int = 0) -> NDArray[np.float32]:
    """Linear light of a specimen: a phantom by kind, or a sharp image (1st percentile dark, 99.9th one)."""
    if not isinstance(source, FocalStack):
        return phantom(source, (size, size), seed=seed)
    if source.axes != "YX":
        raise ImageError(f"A specimen is one sharp plane (YX), got axes {source.axes}.")
    plane = source.plane().astype(np.float32)
    low, high = np.percentile(plane, (1, 99.9))
    if not high > low:
        raise ImageError("A specimen needs structure, this image is blank.")
    return np.clip((plane - low) / (high - low), 0, 2.5).astype(np.float32)


def simulate_stack(
    specimen: NDArray[np.float32],
    optics: Optics,
    *,
    distances_um: Sequence[float],
    photons: float = 1500.0,
    read_noise: float = 2.0,
    seed: int = 0,
) -> tuple[FocalStack, FocalStack]:
    """Image a specimen at several distances from focus: a flat one, or by `thickness_um` one of slices that are alike.

    Parameters
    ----------
    specimen
        (Y, X), linear light, about 1 in the brightest structures.
    optics
        The microscope.
    distances_um
        Distances of the focal planes from the specimen, from its middle; unevenly spaced ones have no z step.
    photons
        Photo-electrons per pixel at light 1.
    read_noise
        Electrons.
    seed
        Of the noise.

    Returns
    -------
    noisy, clean
        ZYX stacks of uint16 counts over an offset of 100, with and without noise.
    """
    camera = Camera(read_noise=read_noise)
    light = defocus(torch.from_numpy(specimen), optics, distances_um).clamp(min=0) * photons
    counts = camera.expose(light, generator=torch.Generator().manual_seed(seed))
    clean = (camera.gain * light + camera.offset).round().clamp(0, camera.saturation)
    steps = np.abs(np.diff(distances_um))
    even = len(steps) > 0 and steps[0] > 0 and np.allclose(steps, steps[0])
    calibration = Calibration.of(optics, z_step_um=float(steps[0]) if even else None)
    said = {
        "operation": "simulate",
        "optics": optics.model_dump(),
        "distances_um": [float(d) for d in distances_um],
        "photons": photons,
        "read_noise": read_noise,
        "seed": seed,
    }
    noisy = FocalStack(counts.numpy().astype(np.uint16), "ZYX", calibration, said, "ome")
    return noisy, replace(noisy, array=clean.numpy().astype(np.uint16), provenance={**said, "noise": "none"})
