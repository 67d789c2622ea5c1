"""`focuslab simulate`: focal stacks of synthetic specimens, with known truth."""

from pathlib import Path
from typing import Annotated

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import out
from focuslab.errors import ImageError, RequestError
from focuslab.files import place_of

__all__ = ["simulate"]


def simulate(
    output: Annotated[Path, typer.Option("--output", "-o", help="OME-TIFF file to write.")],
    specimen: Annotated[str, typer.Option(help="nuclei, filaments, membranes, puncta or mixed.")] = "nuclei",
    image: Annotated[Path | None, typer.Option(help="Sharp image used as the specimen instead.")] = None,
    size: Annotated[int, typer.Option(min=32, help="Side of a synthetic specimen, px.")] = 512,
    planes: Annotated[int, typer.Option(min=1, help="Focal planes, the first in focus.")] = 9,
    z_step_um: Annotated[float, typer.Option(help="Distance between focal planes, um.")] = 2.0,
    na: Annotated[float | None, typer.Option(help="Numerical aperture; that of --image, or 0.5.")] = None,
    wavelength_um: Annotated[
        float | None, typer.Option(help="Emission wavelength, um; that of --image, or 0.52.")
    ] = None,
    index: Annotated[
        float | None, typer.Option(help="Refractive index of the immersion; that of --image, or 1.")
    ] = None,
    pixel_size_um: Annotated[
        float | None, typer.Option(help="Camera pixel in the specimen, um; that of --image, or 0.65.")
    ] = None,
    thickness_um: Annotated[float, typer.Option(help="Thickness of the specimen, um, about the plane in focus.")] = 0.0,
    photons: Annotated[float, typer.Option(min=1, help="Photo-electrons in the brightest structures.")] = 1500.0,
    read_noise: Annotated[float, typer.Option(min=0, help="Read noise, electrons.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same file.")] = 0,
    truth: Annotated[Path | None, typer.Option(help="Also write the noise-free planes here.")] = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Simulate a focal stack: pupil optics, photon noise, camera."""
    from focuslab.calibration import Calibration
    from focuslab.io import read, write
    from focuslab.io.destination import check_destination
    from focuslab.optics import PHANTOMS, Optics
    from focuslab.simulation import simulate_stack, specimen_of

    for path in (output, *([truth] if truth is not None else [])):
        check_destination(path, overwrite=overwrite, folder=path.suffix.lower() == ".zarr")
    if truth is not None and place_of(truth) == place_of(output):
        raise RequestError(f"The truth would be written over the stack itself, {output}: give it another name.")
    if image is not None and place_of(image) in [place_of(path) for path in (output, truth) if path is not None]:
        raise RequestError(f"{image} is the specimen itself: write the stack under another name.")
    if z_step_um <= 0:
        raise RequestError(f"The z step must be a positive number of um, got {z_step_um}.")
    if image is None and specimen not in PHANTOMS:
        raise RequestError(f"A specimen is one of {', '.join(PHANTOMS)}, got {specimen!r}.")
    sharp = None
    if image is not None:
        sharp = read(image, rgb="per-channel", pixel_size_um=pixel_size_um)
        if sharp.size("C") > 1:
            raise ImageError(f"{image.name} holds {sharp.size('C')} channels or colours: save one, or grey, first.")
    known = sharp.calibration if sharp is not None else Calibration()
    optics = Optics(
        na=_first(na, known.na, 0.5),
        wavelength_um=_first(wavelength_um, known.wavelength_um(), 0.52),
        index=_first(index, known.index, 1.0),
        pixel_size_um=_first(pixel_size_um, known.pixel_size_um, 0.65),
        thickness_um=thickness_um,
    )
    light = specimen_of(specimen if sharp is None else sharp, size=size, seed=seed)
    noisy, clean = simulate_stack(
        light,
        optics,
        distances_um=[k * z_step_um for k in range(planes)],
        photons=photons,
        read_noise=read_noise,
        seed=seed,
    )
    out.print(f"{write(output, noisy, overwrite=overwrite)}: {planes} planes, {z_step_um:g} um apart", markup=False)
    if truth is not None:
        out.print(f"{write(truth, clean, overwrite=overwrite)}: noise-free", markup=False)


def _first(*values: float | None) -> float:
    """First that is known: what was asked for, what the image says, what is usual."""
    return next(value for value in values if value is not None)
