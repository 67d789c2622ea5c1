"""A model for other programs: one network that takes a plane to its sharpest, packed for the BioImage Model Zoo.

`Sharpest` is what the engine does to a single plane, as a plain `torch.nn.Module`: planes come normalised (0.5th
percentile 0, 99.9th 1, which the zoo's description can say), what lies beyond their border is found, their level is
estimated unless it was fixed at export, and they are drawn at focus. It takes whole planes: noise and the dark are
measured on what it is given, and a pixel depends on others 22 blur radii away.

References
----------
.. [1] W. Ouyang et al., "BioImage Model Zoo", bioRxiv (2022), doi 10.1101/2022.06.07.495102.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import focuslab
from focuslab.errors import OutputError, RequestError, lacking
from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.bundle import Model
from focuslab.models.copying import copied, measured
from focuslab.models.estimator import EstimatorConfig, LevelEstimator, safest_level
from focuslab.models.evidence import gather_evidence
from focuslab.models.frontend import LADDER, exact_rungs, front_end
from focuslab.models.latent import along_line
from focuslab.models.networks import AutoencoderConfig
from focuslab.optics import Optics, crop, mirror_pad
from focuslab.pixels import PERCENTILES
from focuslab.refocusing.levels import SURE
from focuslab.samples import sample

__all__ = ["Sharpest", "export_bioimageio"]

_STRIDE = 8
_SIDE = 256  # px of the test image
_SMALLEST = 64


class Sharpest(nn.Module):
    """Planes to their sharpest.

    Parameters
    ----------
    autoencoder, estimator
        Sizes of the networks, as in a model card.
    optics
        The microscope, as the fields of `Optics`; nominal if None.
    level_px
        Blur level of all planes, px; estimated for each if None.
    """

    def __init__(
        self,
        autoencoder: dict[str, Any],
        estimator: dict[str, Any],
        optics: dict[str, Any] | None = None,
        level_px: float | None = None,
    ) -> None:
        super().__init__()
        self.autoencoder = LinearLatentAutoencoder(AutoencoderConfig.model_validate(autoencoder))
        self.estimator = LevelEstimator(EstimatorConfig.model_validate(estimator))
        self.optics = Optics.nominal() if optics is None else Optics(**optics)
        self.level_px = level_px

    @torch.no_grad()
    def forward(self, planes: Tensor) -> Tensor:
        """Planes (B, 1, Y, X), normalised, to pictures of the same size."""
        return torch.cat([self._one(plane[None]) for plane in planes])

    def _one(self, plane: Tensor) -> Tensor:
        level, doubt = self._level(plane[0, 0])
        network, rungs = self.autoencoder, exact_rungs([level, 0.0])
        maker = front_end(self.optics, network.config.copies)
        margin = maker.radius(level, rungs)
        edge = margin + network.halo
        height, width = plane.shape[-2:]
        more = (-height % _STRIDE, -width % _STRIDE)
        padded = mirror_pad(plane, edge + _STRIDE)
        bottom, right = (n - _STRIDE + some for n, some in zip(padded.shape[-2:], more, strict=True))
        padded = padded[..., _STRIDE:bottom, _STRIDE:right]
        conditions = measured(plane, self.optics, level, doubt)
        recorded = (slice(edge, edge + height), slice(edge, edge + width))
        seen = copied(padded, recorded, conditions, maker, rungs, margin, network.halo)
        code, direction = network.encode(seen.plane, seen.copies, seen.condition, margin=network.encoder_halo)
        picture = crop(network.decode(along_line(code, direction, -level)), network.decoder_halo)
        return picture[..., :height, :width]

    def _level(self, plane: Tensor) -> tuple[float, float]:
        """Level of a plane and its doubt."""
        if self.level_px is not None:
            return self.level_px, 0.0
        scores, odds = self.estimator(gather_evidence(plane, self.optics))
        if float(torch.sigmoid(odds)) <= SURE:
            return 0.0, 0.0
        level, _, doubt = safest_level(scores, self.optics)
        return min(float(level), min(plane.shape) / 2, LADDER[-1]), float(doubt)


def export_bioimageio(
    model: Model, path: str | Path, *, optics: Optics | None = None, level_px: float | None = None
) -> Path:
    """Write a model as a package of the BioImage Model Zoo [1]_, format 0.5, with its test images.

    Parameters
    ----------
    model
        What to export.
    path
        Of the new zip file.
    optics
        The microscope whose images it will get; nominal if not given.
    level_px
        Blur level of all its images, px; estimated from each if not given.

    Raises
    ------
    RequestError
        If the package bioimageio.core is missing, or the path does not end in .zip.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".zip":
        raise RequestError(f"A package of the BioImage Model Zoo is a .zip file, got {path.name!r}.")
    try:
        from bioimageio.spec import save_bioimageio_package
    except ModuleNotFoundError as error:
        raise lacking("Export", "bioimageio.core", "bioimageio") from error
    card = model.card
    arguments: dict[str, Any] = {
        "autoencoder": card.autoencoder,
        "estimator": card.estimator,
        "optics": optics.model_dump() if optics else None,
        "level_px": level_px,
    }
    network = Sharpest(**arguments)
    network.autoencoder.load_state_dict(model.autoencoder.state_dict())
    network.estimator.load_state_dict(model.estimator.state_dict())
    stack, _ = sample()
    plane = stack.plane((3,))[:_SIDE, :_SIDE].astype(np.float32)
    low, high = np.percentile(plane, PERCENTILES)
    with torch.no_grad():
        normal = torch.from_numpy(((plane - low) / (high - low + 1e-6)).astype(np.float32))
        made = network.eval()(normal[None, None])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        torch.save(network.state_dict(), folder / "weights.pt")
        np.save(folder / "test_input.npy", plane[None, None])
        np.save(folder / "test_output.npy", made.numpy())
        (folder / "README.md").write_text(_readme(model, optics, level_px), encoding="utf-8")
        _cover(plane, made[0, 0].numpy(), folder / "cover.png")
        try:
            save_bioimageio_package(_description(model, arguments, folder), output_path=path)
        except OSError as error:
            raise OutputError(f"The package {path} cannot be written: {error.strerror or error}.") from error
    return path


def _description(model: Model, arguments: dict[str, Any], folder: Path) -> Any:
    from bioimageio.spec.model import v0_5 as zoo

    card = model.card
    size = zoo.ParameterizedSize(min=_SMALLEST, step=_STRIDE)
    taken: list[Any] = [
        zoo.BatchAxis(),
        zoo.ChannelAxis(channel_names=[zoo.Identifier("fluorescence")]),
        *(zoo.SpaceInputAxis(id=zoo.AxisId(a), size=size) for a in "yx"),
    ]
    given: list[Any] = [
        zoo.BatchAxis(),
        zoo.ChannelAxis(channel_names=[zoo.Identifier("sharpest")]),
        *(
            zoo.SpaceOutputAxis(
                id=zoo.AxisId(a), size=zoo.SizeReference(tensor_id=zoo.TensorId("plane"), axis_id=zoo.AxisId(a))
            )
            for a in "yx"
        ),
    ]
    scale = zoo.ScaleRangeKwargs(
        axes=[zoo.AxisId(a) for a in ("channel", "y", "x")],
        min_percentile=PERCENTILES[0],
        max_percentile=PERCENTILES[1],
    )
    return zoo.ModelDescr(
        name=f"FocusLab {card.name}",
        description=card.description[:1000] or "Deblurs an out-of-focus plane of widefield fluorescence.",
        authors=[zoo.Author(name="The FocusLab developers")],
        cite=[zoo.CiteEntry(text="Mazilu et al., CAIP 2023", doi=zoo.Doi("10.1007/978-3-031-44240-7_20"))],
        license=zoo.LicenseId(card.licence),
        documentation=zoo.FileDescr(source=folder / "README.md"),
        covers=[zoo.FileDescr(source=folder / "cover.png")],
        tags=["deblurring", "defocus", "fluorescence-light-microscopy", "2d", "pytorch"],
        version=zoo.Version(card.version),
        inputs=[
            zoo.InputTensorDescr(
                id=zoo.TensorId("plane"),
                axes=taken,
                test_tensor=zoo.FileDescr(source=folder / "test_input.npy"),
                preprocessing=[zoo.ScaleRangeDescr(kwargs=scale)],
                data=zoo.IntervalOrRatioDataDescr(type="float32"),
            )
        ],
        outputs=[
            zoo.OutputTensorDescr(
                id=zoo.TensorId("sharpest"),
                axes=given,
                test_tensor=zoo.FileDescr(source=folder / "test_output.npy"),
                data=zoo.IntervalOrRatioDataDescr(type="float32"),
            )
        ],
        weights=zoo.WeightsDescr(
            pytorch_state_dict=zoo.PytorchStateDictWeightsDescr(
                source=folder / "weights.pt",
                pytorch_version=zoo.Version(torch.__version__.split("+")[0]),
                architecture=zoo.ArchitectureFromLibraryDescr(
                    import_from=__name__, callable=zoo.Identifier("Sharpest"), kwargs=arguments
                ),
            )
        ),
    )


def _readme(model: Model, optics: Optics | None, level_px: float | None) -> str:
    card = model.card
    level = "estimated from each plane" if level_px is None else f"{level_px:g} px"
    microscope = "nominal (sampling 0.6)" if optics is None else optics.model_dump_json()
    data = "".join(f"- {line}\n" for line in card.data)
    return f"""# FocusLab {card.name}, edition {card.version}

{card.description}

Takes a widefield fluorescence plane to focus. Needs the Python package FocusLab, {focuslab.__version__} or newer.
Optics: {microscope}. Blur level: {level}. Give whole planes: level, noise and the dark are those of a plane, not of a
tile. Large images: `focuslab refocus`, which cuts them into tiles that agree.

## Training data
{data}
## Validation
Compare with a plane in focus of the same field, or blur the result again by its level and compare it with the input.
The report of `focuslab evaluate` shows both for any focal stacks, beside classical methods.
"""


def _cover(plane: Any, made: Any, path: Path) -> None:
    from PIL import Image

    low, high = np.percentile(plane, PERCENTILES)
    pair = np.concatenate([(plane - low) / (high - low), made], 1)
    Image.fromarray((255 * np.clip(pair, 0, 1)).astype(np.uint8)).save(path)
