"""Microscope optics, the camera, and synthetic specimens: everything that simulates a focal stack.

Names are imported on first use, because all but `Optics` need torch.
"""

from typing import TYPE_CHECKING, Any

from focuslab.optics.optics import NOMINAL_SAMPLING, Optics

if TYPE_CHECKING:
    from focuslab.optics.camera import Camera
    from focuslab.optics.imaging import convolve, crop, defocus, defocus_volume, mirror_pad
    from focuslab.optics.phantoms import PHANTOMS, phantom
    from focuslab.optics.pupil import otf, psf, psf_size
    from focuslab.optics.radial import camera_otf, equivalent_radii, equivalent_radius

_HOME = {
    "Camera": "camera",
    "camera_otf": "radial",
    "convolve": "imaging",
    "crop": "imaging",
    "defocus": "imaging",
    "equivalent_radii": "radial",
    "equivalent_radius": "radial",
    "defocus_volume": "imaging",
    "mirror_pad": "imaging",
    "PHANTOMS": "phantoms",
    "phantom": "phantoms",
    "otf": "pupil",
    "psf": "pupil",
    "psf_size": "pupil",
}

__all__ = [
    "NOMINAL_SAMPLING",
    "PHANTOMS",
    "Camera",
    "Optics",
    "camera_otf",
    "convolve",
    "crop",
    "defocus",
    "defocus_volume",
    "equivalent_radii",
    "equivalent_radius",
    "mirror_pad",
    "otf",
    "phantom",
    "psf",
    "psf_size",
]


def __getattr__(name: str) -> Any:
    """Import a name of this package on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
