"""Random transforms: parameters apart from applying, layouts and dtypes, what each does to an image."""

import multiprocessing
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import focuslab
from focuslab.augment import (
    AmplitudePhaseRecombination,
    FocalDataset,
    FourierBasisNoise,
    RandomDefocus,
    RandomDisc,
    RandomGaussian,
    RandomTransform,
)
from focuslab.errors import ImageError, RequestError
from focuslab.optics import Optics, phantom, psf
from focuslab.quality import psnr
from focuslab.quality.classical import convolved
from focuslab.stack import FocalStack

OPTICS = Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645)
LIGHT = phantom("nuclei", (96, 112), seed=3, scale_px=12)
IMAGE = (200 + 4000 * convolved(LIGHT, psf(OPTICS, 0.0)[0])).astype(np.uint16)
POOL = [np.random.default_rng(i).normal(size=IMAGE.shape) for i in range(30)]
KINDS = [
    lambda **more: RandomDefocus((2.0, 6.0), **more),
    lambda **more: RandomGaussian((2.0, 6.0), **more),
    lambda **more: RandomDisc((2.0, 6.0), **more),
    lambda **more: AmplitudePhaseRecombination(**{"p": 1.0, **more}),
    lambda **more: AmplitudePhaseRecombination(POOL, **{"p": 1.0, **more}),
    lambda **more: FourierBasisNoise(**{"p": 1.0, **more}),
]
NAMES = ["defocus", "gaussian", "disc", "recombined, view", "recombined, pool", "waves"]


@pytest.fixture(params=KINDS, ids=NAMES)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_sampling_is_apart_from_applying(kind: Any) -> None:
    transform: RandomTransform[Any] = kind(seed=5)
    parameters = transform.sample(np.random.default_rng(1))
    assert parameters == kind(seed=9).sample(np.random.default_rng(1))
    made = transform.apply(IMAGE, parameters)
    assert np.array_equal(made, transform.apply(IMAGE, parameters)) and not np.array_equal(made, IMAGE)
    assert np.array_equal(kind(seed=5)(IMAGE), kind(seed=5)(IMAGE))
    assert not np.array_equal(transform(IMAGE), transform(IMAGE))
    again = pickle.loads(pickle.dumps(transform))  # as for a worker
    assert np.array_equal(again.apply(IMAGE, parameters), made)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_dtypes_and_layouts_are_kept(kind: Any, dtype: type) -> None:
    image = (IMAGE / 20 if dtype is np.uint8 else IMAGE).astype(dtype)
    transform = kind(seed=2)
    parameters = transform.sample()
    flat = transform.apply(image, parameters)
    assert flat.shape == image.shape and flat.dtype == dtype
    channels = transform.apply(np.stack([image, image]), parameters)
    assert np.array_equal(channels[1], flat) or isinstance(transform, FourierBasisNoise)
    last = kind(seed=2, channels_last=True).apply(np.stack([image, image], -1), parameters)
    if not getattr(transform, "pool", ()):
        assert np.allclose(last, np.moveaxis(channels, 0, -1), atol=1 if image.dtype.kind in "ui" else 1e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float32])
def test_tensors_and_batches(kind: Any, dtype: torch.dtype) -> None:
    image = torch.from_numpy((IMAGE / 20).astype(np.float32)).to(dtype)
    made = kind(seed=4)(torch.stack([image[None]] * 3))
    assert isinstance(made, torch.Tensor) and made.dtype == dtype and made.shape == (3, 1, *IMAGE.shape)
    assert not torch.equal(made[0], made[1])  # each in its own way


def test_defocus_is_that_of_the_microscope() -> None:
    blurred = 200 + 4000 * convolved(LIGHT, psf(OPTICS, 6.0)[0])
    gaussian = psnr(RandomGaussian((5.4, 5.4))(IMAGE).astype(float), blurred, data_range=4000)
    for way in ("model", "optics"):
        defocus = RandomDefocus((6.0, 6.0), unit="um", optics=OPTICS, way=way)  # type: ignore[arg-type]
        parameters = defocus.sample()
        assert parameters is not None and parameters.blur_px == pytest.approx(OPTICS.radius_px(6.0))
        assert psnr(defocus.apply(IMAGE, parameters).astype(float), blurred, data_range=4000) > gaussian + 5
    ways = {RandomDefocus(seed=0).sample(np.random.default_rng(i)).way for i in range(9)}  # type: ignore[union-attr]
    assert ways == {"model", "optics"}
    assert np.array_equal(RandomDefocus()(np.full((32, 32), 7, np.uint8)), np.full((32, 32), 7, np.uint8))
    holed = np.random.default_rng(0).random((48, 48), np.float32)
    holed[3, 5] = np.nan
    made = RandomDefocus((6.0, 6.0), way="optics", level_px=0.0)(holed)
    assert np.isnan(made[3, 5]) and np.nanstd(made) < 0.5 * np.nanstd(holed), "blurred all the same"


def test_the_level_of_an_image_can_be_read() -> None:
    blurred = FocalStack((200 + 4000 * convolved(LIGHT, psf(OPTICS, 6.0)[0])).astype(np.uint16), "YX")
    further = OPTICS.defocus_um(OPTICS.radius_px(6.0) + 3.0)
    truth = 200 + 4000 * convolved(LIGHT, psf(OPTICS, further)[0])
    read, sharp = (
        psnr(
            RandomDefocus((3.0, 3.0), optics=OPTICS, way="model", level_px=level)(blurred.plane()),
            truth,
            data_range=4000,
        )
        for level in (None, 0.0)
    )
    assert read > 37 and read > sharp + 4  # bfloat16 of other processors: 39 to 41


def test_waves_and_recombination_do_what_they_say() -> None:
    noise = FourierBasisNoise(0.1, p=1.0)
    parameters = noise.sample(np.random.default_rng(0))
    wave = noise.apply(IMAGE.astype(np.float64), parameters) - IMAGE
    power = np.abs(np.fft.rfft2(wave)) ** 2
    assert power.max() > 0.2 * power.sum()  # one wave
    assert np.abs(wave).max() <= parameters.strength[0] * np.ptp(IMAGE)  # type: ignore[union-attr]
    pool = [np.random.default_rng(1).normal(size=IMAGE.shape)]
    made = AmplitudePhaseRecombination(pool, p=1.0)(IMAGE.astype(np.float64))
    assert made.mean() == pytest.approx(IMAGE.mean()) and made.std() == pytest.approx(IMAGE.std())
    inner = (slice(1, None), slice(1, 40))
    phases = [np.angle(np.fft.rfft2(a)[inner]) for a in (made, IMAGE.astype(np.float64))]
    assert np.abs(np.exp(1j * phases[0]) - np.exp(1j * phases[1])).max() < 1e-6


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one processor
def test_a_data_set_does_not_depend_on_its_workers(tmp_path: Path) -> None:
    focuslab.write(tmp_path / "a.tif", FocalStack(IMAGE, "YX"))
    images = [IMAGE, tmp_path / "a.tif", IMAGE[::-1].copy(), IMAGE.T.copy().T]
    data = FocalDataset(images, RandomDisc((1.0, 4.0), p=0.9), targets=list("abcd"), seed=3)

    def read(workers: int) -> list[Any]:
        return [item for item in DataLoader(data, batch_size=None, num_workers=workers, collate_fn=lambda x: x)]

    assert np.array_equal(data[-1][0], data[3][0])
    alone, shared = read(0), read(2)
    assert [t for _, t in alone] == list("abcd") == [t for _, t in shared]
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(alone, shared, strict=True))
    data.set_epoch(1)
    assert not all(np.array_equal(a, b) for (a, _), (b, _) in zip(alone, read(0), strict=True))
    with pytest.raises(RequestError, match="give one for each"):
        FocalDataset(images, RandomDisc(), targets=["a"])
    focuslab.write(tmp_path / "stack.tif", FocalStack(np.stack([IMAGE] * 3), "ZYX"))
    with pytest.raises(ImageError, match="take"):
        FocalDataset([tmp_path / "stack.tif"], RandomDisc())[0]


def test_refusals() -> None:
    for wrong in ((3.0, 1.0), (-1.0, 2.0), (0.0, float("inf"))):
        with pytest.raises(RequestError, match="ascending"):
            RandomDefocus(wrong)
        with pytest.raises(RequestError, match="ascending"):
            RandomDisc(wrong)
    with pytest.raises(RequestError, match="um needs the optics"):
        RandomDefocus(unit="um")
    with pytest.raises(RequestError, match="mixed"):
        RandomDefocus(way="magic")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="probability"):
        RandomDisc(p=1.2)
    with pytest.raises(RequestError, match="positive share"):
        FourierBasisNoise(0.0)
    with pytest.raises(ImageError, match="real numbers"):
        RandomDisc()(np.zeros((4, 4), bool))
    with pytest.raises(ImageError, match="channels"):
        AmplitudePhaseRecombination([np.zeros((3, 8, 8))], p=1.0)(np.zeros((2, 8, 8)))


def test_what_is_not_known_stays_where_it_is(kind: Any) -> None:
    image = np.random.default_rng(1).uniform(100, 900, (48, 48)).astype(np.float32)
    image[5, 7] = np.nan
    made = kind(seed=2)(image)
    assert np.array_equal(np.isnan(made), np.isnan(image)) and not np.allclose(made, image, equal_nan=True)


def test_files_of_channels_where_channels_are_last(tmp_path: Path) -> None:
    channels = np.random.default_rng(1).integers(100, 900, (2, 32, 40)).astype(np.uint16)
    focuslab.write(tmp_path / "a.ome.tif", FocalStack(channels, "CYX"))
    blur = RandomGaussian((1.0, 2.0), channels_last=True)
    made = FocalDataset([tmp_path / "a.ome.tif"], blur)[0]
    assert np.array_equal(made, FocalDataset([np.moveaxis(channels, 0, -1)], blur)[0])


def test_auto_is_the_cpu_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process cannot use CUDA, and the workers of a loader would all want the same card."""
    defocus = RandomDefocus()
    before = defocus.engine
    assert defocus.engine is before
    monkeypatch.setattr("focuslab.augment.defocus.os.getpid", lambda: -1)
    monkeypatch.setattr("focuslab.augment.defocus.get_worker_info", lambda: SimpleNamespace(seed=0))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert defocus.engine is not before and defocus.engine.device.type == "cpu"


class Looked(Dataset[int]):
    """What a worker sees of the epoch of a data set."""

    def __init__(self, data: FocalDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return self.data.epoch


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_that_live_on_hear_of_an_epoch() -> None:
    data = FocalDataset([IMAGE], RandomDisc((1.0, 4.0)))
    loader = DataLoader(Looked(data), batch_size=None, num_workers=1, persistent_workers=True)
    seen = []
    for epoch in range(3):
        data.set_epoch(epoch)
        seen.append({int(e) for e in loader})
    assert seen == [{0}, {1}, {2}]


def drawn(transform: Any) -> float:
    return float(transform.sample().radius_px)


def test_processes_draw_by_their_number_and_ranks_by_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    here = drawn(RandomDisc((1.0, 9.0), seed=1))
    monkeypatch.setenv("RANK", "1")
    assert drawn(RandomDisc((1.0, 9.0), seed=1)) != here
    monkeypatch.setattr(multiprocessing.current_process(), "_identity", (3,))
    third = drawn(RandomDisc((1.0, 9.0), seed=1))
    assert third != here and third == drawn(RandomDisc((1.0, 9.0), seed=1)), "not by the number of the process"


def test_aberrations_are_drawn_too() -> None:
    plain = Optics(na=0.5, wavelength_um=0.5, pixel_size_um=0.4)
    odd = plain.replace(zernike_waves={11: 0.25, 6: 0.2})
    made = [RandomDefocus((4.0, 4.0), optics=optics, way="optics", device="cpu")(IMAGE) for optics in (plain, odd)]
    assert not np.array_equal(*made)
    with pytest.raises(RequestError, match="'um' or in 'px'"):
        RandomDefocus((1.0, 2.0), unit="µm", optics=plain)
    with pytest.raises(RequestError, match="needs the optics"):
        RandomDefocus((1.0, 2.0), unit="um", optics=[])


def test_what_is_not_known_of_the_pool_spoils_nothing() -> None:
    spoilt = IMAGE.astype(np.float32)
    spoilt[3, 3] = np.nan
    made = AmplitudePhaseRecombination(pool=[spoilt], p=1.0, seed=2)(IMAGE)
    assert np.isfinite(made).all()
