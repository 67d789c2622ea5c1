import os
from pathlib import Path

import numpy as np
import pytest
import torch

from focuslab.models.autoencoder import LinearLatentAutoencoder
from focuslab.models.bundle import Model, ModelCard
from focuslab.models.estimator import EstimatorConfig, LevelEstimator
from focuslab.models.networks import AutoencoderConfig
from focuslab.models.zoo import load_model
from focuslab.optics import Optics, defocus, phantom

THREADS = max((os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)), 1)
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))  # of processes that tests start

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real images for development are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def optics() -> Optics:
    return Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)


@pytest.fixture(scope="session")
def default_model() -> Model:
    return load_model("default")


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    """Random weights, none of them zero: contracts must hold whatever the network says."""
    torch.manual_seed(0)
    config = AutoencoderConfig(widths=(8, 12), blocks=(1, 1), code_widths=(4, 4))
    autoencoder = LinearLatentAutoencoder(config)
    torch.nn.init.normal_(autoencoder.decoder.leave.weight, std=0.05)
    estimator = LevelEstimator(EstimatorConfig(width=4, context=4))
    card = ModelCard(name="tiny", autoencoder=config.model_dump(), estimator=estimator.config.model_dump())
    return Model(card, autoencoder, estimator)


@pytest.fixture(scope="session")
def blurred(optics: Optics) -> np.ndarray:
    """Nuclei 10 um out of focus, uint16 counts with noise, an odd size."""
    specimen = torch.from_numpy(phantom("nuclei", (203, 181), seed=5, scale_px=14))
    light = defocus(specimen, optics, 10.0)[0].numpy()
    rng = np.random.default_rng(0)
    counts = 100 + 1500 * light + rng.normal(0, 8, light.shape)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)
