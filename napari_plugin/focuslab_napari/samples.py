"""Sample focal stacks with their truth, as napari layers, simulated when they are opened."""

from typing import Any

import numpy as np

__all__ = ["filaments", "nuclei", "puncta"]

LayerData = tuple[Any, dict[str, Any], str]


def nuclei() -> list[LayerData]:
    """Nuclei, 20x NA 0.5, planes 4 um apart."""
    return _layers("nuclei_20x")


def filaments() -> list[LayerData]:
    """Filaments, 40x NA 0.75, planes 1 um apart."""
    return _layers("filaments_40x")


def puncta() -> list[LayerData]:
    """Puncta, 63x NA 1.4 oil, planes 0.25 um apart."""
    return _layers("puncta_63x_oil")


def _layers(name: str) -> list[LayerData]:
    from focuslab.samples import sample

    stack, truth = sample(name)
    known = stack.calibration
    pixel, step = known.pixel_size_um, known.z_step_um
    limits = tuple(float(v) for v in np.percentile(np.asarray(truth.array), (0.5, 99.9)))
    common = {
        "contrast_limits": limits,
        "units": "um",
        "metadata": {"focuslab": {"calibration": known.model_dump()}},
    }
    return [
        (
            stack.array,
            {"name": name, "scale": (step, pixel, pixel), "axis_labels": ("z", "y", "x"), **common},
            "image",
        ),
        (
            truth.array,
            {
                "name": f"{name} truth",
                "scale": (pixel, pixel),
                "axis_labels": ("y", "x"),
                "visible": False,
                **common,
            },
            "image",
        ),
    ]
