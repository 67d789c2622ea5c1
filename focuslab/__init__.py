"""FocusLab: deblur out-of-focus microscopy images, or synthesise defocus, along a line in a learned latent space.

Names are imported on first use, so that `import focuslab` stays light: torch comes with the first call that computes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from focuslab.calibration import Calibration
    from focuslab.io import read, read_pattern, write
    from focuslab.models.zoo import load_model
    from focuslab.optics import Optics
    from focuslab.refocusing import all_in_focus, blur_map, focal_stack, focus_curve
    from focuslab.refocusing.refocus import between, refocus
    from focuslab.stack import FocalStack

_HOME = {
    "Calibration": "focuslab.calibration",
    "FocalStack": "focuslab.stack",
    "Optics": "focuslab.optics",
    "all_in_focus": "focuslab.refocusing",
    "between": "focuslab.refocusing",
    "blur_map": "focuslab.refocusing",
    "focal_stack": "focuslab.refocusing",
    "focus_curve": "focuslab.refocusing",
    "load_model": "focuslab.models.zoo",
    "read": "focuslab.io",
    "read_pattern": "focuslab.io",
    "refocus": "focuslab.refocusing",
    "write": "focuslab.io",
}

__all__ = [
    "Calibration",
    "FocalStack",
    "Optics",
    "all_in_focus",
    "between",
    "blur_map",
    "focal_stack",
    "focus_curve",
    "load_model",
    "read",
    "read_pattern",
    "refocus",
    "write",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'focuslab' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
