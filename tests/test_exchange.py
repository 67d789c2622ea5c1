"""Models for other programs: the package of the BioImage Model Zoo passes the zoo's own test."""

import gc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import focuslab
from focuslab.errors import RequestError
from focuslab.models.bundle import Model
from focuslab.optics import Optics
from focuslab.refocusing.exchange import Sharpest, export_bioimageio


def sharpest_of(model: Model, **fixed: object) -> Sharpest:
    network = Sharpest(model.card.autoencoder, model.card.estimator, **fixed)  # type: ignore[arg-type]
    network.autoencoder.load_state_dict(model.autoencoder.state_dict())
    network.estimator.load_state_dict(model.estimator.state_dict())
    return network.eval()


def test_the_packed_network_does_what_refocus_does(default_model: Model, blurred: np.ndarray, optics: Optics) -> None:
    low, high = np.percentile(blurred, (0.5, 99.9))
    normal = torch.from_numpy(((blurred - low) / (high - low)).astype(np.float32))
    made = sharpest_of(default_model, optics=optics.model_dump(), level_px=9.0)(normal[None, None])[0, 0].numpy()
    own = focuslab.refocus(blurred.astype(np.float32), sharpest=True, level_px=9.0, optics=optics, model=default_model)
    assert np.abs(made * (high - low) + low - own).max() < 0.02 * (high - low)


def test_the_level_is_estimated_unless_fixed(default_model: Model, blurred: np.ndarray) -> None:
    normal = torch.from_numpy((blurred / blurred.max()).astype(np.float32))[None, None]
    blind, fixed = (sharpest_of(default_model, level_px=level)(normal) for level in (None, 3.0))
    assert blind.shape == normal.shape and not torch.allclose(blind, fixed)


# The zoo's package leaves its files for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_the_package_passes_the_test_of_the_zoo(tiny_model: Model, tmp_path: Path, optics: Optics) -> None:
    path = export_bioimageio(tiny_model, tmp_path / "tiny.zip", optics=optics, level_px=5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages
        from bioimageio.core import test_model as judge

        summary = judge(path)
    assert summary.status == "passed", summary.display()
    gc.collect()
    with pytest.raises(RequestError, match=r"\.zip"):
        export_bioimageio(tiny_model, tmp_path / "tiny.pt")
