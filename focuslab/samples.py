"""The bundled samples: small simulated focal stacks whose in-focus truth is known.

The files in `sample_data/` are these, written by `sample_data/make_samples.py`. Their seeds are kept away from those
that models are trained on.
"""

from dataclasses import dataclass, replace

from focuslab.errors import RequestError
from focuslab.optics import Optics, phantom
from focuslab.simulation import simulate_stack
from focuslab.stack import FocalStack

__all__ = ["SAMPLES", "Sample", "sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """How a sample is made: a phantom of typical size `scale_px`, imaged at `planes` steps of `z_step_um`."""

    kind: str
    seed: int
    scale_px: float
    optics: Optics
    z_step_um: float
    planes: int = 7


SAMPLES = {
    "nuclei_20x": Sample("nuclei", 900_012, 22.0, Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645), 4.0),
    "filaments_40x": Sample("filaments", 900_022, 3.0, Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.325), 1.0),
    "puncta_63x_oil": Sample(
        "puncta", 900_033, 3.0, Optics(na=1.4, index=1.518, wavelength_um=0.6, pixel_size_um=0.16), 0.25
    ),
}


def sample(name: str = "nuclei_20x") -> tuple[FocalStack, FocalStack]:
    """Simulate a sample.

    Returns
    -------
    stack, truth
        ZYX focal stack, the first plane in focus, and the YX plane in focus without noise.

    Raises
    ------
    RequestError
        If there is no such sample.
    """
    if name not in SAMPLES:
        raise RequestError(f"A sample is one of {', '.join(SAMPLES)}, got {name!r}.")
    made = SAMPLES[name]
    specimen = phantom(made.kind, (320, 320), seed=made.seed, scale_px=made.scale_px)  # type: ignore[arg-type]
    distances = [k * made.z_step_um for k in range(made.planes)]
    noisy, clean = simulate_stack(specimen, made.optics, distances_um=distances, seed=made.seed)
    return noisy, replace(clean, array=clean.plane((0,)), axes="YX")
