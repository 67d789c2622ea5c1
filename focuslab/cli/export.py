"""`focuslab export`: a model for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from focuslab.cli import options as opt
from focuslab.cli.console import out
from focuslab.errors import RequestError
from focuslab.io.destination import check_destination

__all__ = ["export"]


def export(
    model: Annotated[str, typer.Argument(help="Bundled model or folder of a bundle.")],
    bioimageio: Annotated[Path, typer.Option("--bioimageio", help="Zip file for the BioImage Model Zoo.")],
    level_px: Annotated[
        float | None, typer.Option(min=0, help="Blur level of all images, px; estimated from each if not given.")
    ] = None,
    na: opt.Na = None,
    wavelength_um: opt.Wavelength = None,
    index: opt.Index = None,
    thickness_um: opt.Thickness = None,
    pixel_size_um: opt.PixelSize = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Pack a model for the BioImage Model Zoo: planes in, sharpest pictures out."""
    from focuslab import Optics, load_model
    from focuslab.refocusing.exchange import export_bioimageio

    check_destination(bioimageio, overwrite=overwrite)
    optics = None
    if any(v is not None for v in (na, wavelength_um, index, pixel_size_um, thickness_um)):
        if na is None or wavelength_um is None or pixel_size_um is None:
            raise RequestError(
                "Optics need all of --na, --wavelength-um and --pixel-size-um (and --index, if not air)."
            )
        optics = Optics(
            na=na,
            wavelength_um=wavelength_um,
            pixel_size_um=pixel_size_um,
            index=index or 1.0,
            thickness_um=thickness_um or 0.0,
        )
    export_bioimageio(load_model(model), bioimageio, optics=optics, level_px=level_px)
    out.print(f"{bioimageio}", markup=False)
