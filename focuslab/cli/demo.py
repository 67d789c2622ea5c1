"""`focuslab demo`: the whole job on a bundled sample, to see in a minute what it does."""

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from focuslab.cli import options as opt
from focuslab.cli.console import follow, out
from focuslab.files import make_folder
from focuslab.pixels import PERCENTILES

__all__ = ["demo"]


def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo_output"),
    sample: Annotated[str, typer.Option(help="nuclei_20x, filaments_40x or puncta_63x_oil.")] = "nuclei_20x",
    device: opt.Device = "auto",
) -> None:
    """Refocus a simulated focal stack and compare it with its known truth."""
    from focuslab.io import StackWriter, read, write
    from focuslab.models.zoo import load_model
    from focuslab.quality import psnr
    from focuslab.refocusing import Engine, RefocusRequest, refocus_steps
    from focuslab.samples import sample as make

    make_folder(folder)
    stack, truth = make(sample)
    source = write(folder / f"{sample}.ome.tif", stack, overwrite=True)
    began = time.monotonic()
    stack = read(source)
    engine = Engine(load_model("default"), device)
    target = folder / f"{sample}_refocused.ome.tif"
    with StackWriter(target, stack, overwrite=True) as writer:
        request = RefocusRequest(sharpest=True, focus_plane=0)
        writer.provenance = follow("refocusing", refocus_steps(stack, request, engine, writer.array))
    seconds = time.monotonic() - began
    result, sharp = read(target), truth.plane().astype(float)
    low, high = np.percentile(sharp, PERCENTILES)
    table = Table(
        "plane",
        "defocus",
        "blur radius",
        "PSNR before",
        "PSNR after",
        title=f"{sample}, sharpest, level from z",
    )
    for record in writer.provenance["planes"]:
        index = tuple(record["index"])
        before, after = (psnr(s.plane(index), sharp, data_range=high - low) for s in (stack, result))
        table.add_row(
            str(index[0]),
            f"{record['level_um']:.1f} um",
            f"{record['level_px']:.1f} px",
            f"{before:.1f} dB",
            f"{after:.1f} dB",
        )
    out.print(table)
    middle = (stack.size("Z") // 2 + 1,)
    picture = folder / f"{sample}_before_after_truth.png"
    titles = (f"plane {middle[0]}, as taken", "refocused", "truth")
    _picture(picture, [stack.plane(middle), result.plane(middle), sharp], titles, low, high)
    out.print(f"{target}\n{picture}\nThe job itself took {seconds:.1f} s on {engine.device}.", markup=False)


def _picture(path: Path, images: list[NDArray[Any]], titles: tuple[str, ...], low: float, high: float) -> None:
    """Write images side by side, same grey scale, with a title above each."""
    from PIL import Image, ImageDraw

    bar, gap = 24, 6
    height, width = images[0].shape
    canvas = Image.new("L", (len(images) * (width + gap) - gap, height + bar), 255)
    draw = ImageDraw.Draw(canvas)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        grey = (np.clip((image.astype(float) - low) / (high - low), 0, 1) ** 0.7 * 255).astype(np.uint8)
        canvas.paste(Image.fromarray(grey), (i * (width + gap), bar))
        draw.text((i * (width + gap) + 4, 6), title, fill=0)
    canvas.save(path)
