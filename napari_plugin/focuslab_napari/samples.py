"""Sample focal stacks with their truth, as napari layers, simulated when they are opened."""

from typing import Any

from focuslab_napari.opening import layer_of

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
    pixels, look = layer_of(stack, name)
    sharp, sharp_look = layer_of(truth, f"{name} truth")
    return [
        (pixels, {**look, "contrast_limits": sharp_look["contrast_limits"]}, "image"),
        (sharp, {**sharp_look, "visible": False}, "image"),
    ]
