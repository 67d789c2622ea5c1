import math

import numpy as np
import pytest
import torch
from scipy.special import j1

from focuslab.errors import CalibrationError
from focuslab.optics import Camera, Optics, camera_otf, convolve, defocus, defocus_volume, mirror_pad, otf, phantom, psf
from focuslab.optics.pupil import zernike


def test_in_focus_psf_is_the_airy_disc() -> None:
    optics = Optics(na=0.5, wavelength_um=0.5, pixel_size_um=0.02)  # fine enough to ignore the pixel's size
    found = psf(optics, 0.0, size=400)[0].double().numpy()
    y, x = np.indices(found.shape) - 200
    v = 2 * np.pi * optics.na / optics.wavelength_um * np.hypot(y, x) * optics.pixel_size_um
    airy = np.where(v > 0, (2 * j1(np.maximum(v, 1e-9)) / np.maximum(v, 1e-9)) ** 2, 1.0)
    inside = np.hypot(y, x) < 150
    assert np.abs(found / found.max() - airy)[inside].max() < 0.005


@pytest.mark.parametrize("na,pixel", [(0.3, 0.65), (0.5, 0.645), (0.75, 0.325), (0.9, 0.2)])
def test_every_plane_carries_the_same_energy(na: float, pixel: float) -> None:
    optics = Optics(na=na, wavelength_um=0.52, pixel_size_um=pixel)
    light = torch.zeros(1, 301, 301)
    light[0, 150, 150] = 1.0
    distances = [optics.defocus_um(r) for r in (0.0, 5.0, 15.0, 40.0)]
    # A wide grid holds what the narrower one is normalised to: nothing is cut off.
    narrow, wide = (psf(optics, distances, size=s) for s in (160, 300))
    share = wide[:, 70:230, 70:230].sum((-2, -1))
    assert float((share.max() - share.min()) / share.max()) < 0.01
    assert torch.allclose(narrow.sum((-2, -1)), torch.ones(4), atol=1e-5)
    assert torch.allclose(convolve(light, wide).sum((-2, -1)), torch.ones(4), atol=1e-3)


def test_defocus_is_even_without_aberration_and_not_with() -> None:
    plain = Optics(na=0.6, wavelength_um=0.52, pixel_size_um=0.3)
    above, below = psf(plain, [4.0, -4.0])
    assert torch.allclose(above, below, atol=1e-6)
    above, below = psf(plain.replace(zernike_waves={11: 0.1}), [4.0, -4.0])
    assert float((above - below).abs().max() / above.max()) > 0.1


@pytest.mark.parametrize("radius", [12.0, 25.0, 40.0])
def test_far_from_focus_the_psf_is_the_geometric_disc(radius: float) -> None:
    optics = Optics(na=0.4, wavelength_um=0.52, pixel_size_um=0.65)
    found = psf(optics, optics.defocus_um(radius), size=160)[0].numpy()
    y, x = np.indices(found.shape) - 80
    distance = np.hypot(y, x)
    half_light = next(r for r in np.arange(0, 80, 0.1) if found[distance <= r].sum() >= 0.5)
    inner = 0.4 / np.sqrt(2)  # half of the light passes the inner half of the pupil's area
    expected = optics.defocus_um(radius) * inner / np.sqrt(1 - inner**2) / optics.pixel_size_um
    assert half_light == pytest.approx(expected, rel=0.04)
    assert found[distance < radius + 1].sum() > 0.93


def test_more_defocus_is_more_blur(optics: Optics) -> None:
    sharp = torch.from_numpy(np.random.default_rng(0).random((96, 96), np.float32))
    spread = defocus(sharp, optics, [0.0, 2.0, 4.0, 8.0, 16.0]).std((-2, -1))
    assert torch.all(spread[1:] < spread[:-1])


def test_psf_is_differentiable_in_defocus(optics: Optics) -> None:
    distance = torch.tensor([6.0], requires_grad=True)
    psf(optics, distance)[0].max().backward()
    assert torch.isfinite(distance.grad).all() and float(distance.grad) < 0


def test_a_thick_specimen_is_the_sum_of_its_slices(optics: Optics) -> None:
    volume = torch.zeros(5, 64, 64)
    volume[1, 20, 20] = volume[3, 40, 40] = 1.0
    image = defocus_volume(volume, optics, z_step_um=3.0, focus_um=3.0)[0]
    assert image.sum() == pytest.approx(2.0, rel=1e-3)
    assert image[20, 20] > 3 * image[40, 40]  # the first is in focus, the second 6 um away


@pytest.mark.parametrize("away_um", [0.0, 5.0, 14.0])
def test_a_thickness_is_that_of_slices_that_are_alike(optics: Optics, away_um: float) -> None:
    thick, slices = optics.replace(thickness_um=12.0), 48
    volume = torch.zeros(slices, 129, 129)
    volume[:, 64, 64] = 1 / slices
    middle = 12.0 * (slices - 1) / slices / 2
    image = defocus_volume(volume, optics, z_step_um=12.0 / slices, focus_um=middle + away_um)[0]
    found = convolve(volume.sum(0, keepdim=True), psf(thick, away_um))[0]
    assert float((found - image).abs().sum()) < 0.02
    by_rings = camera_otf(thick, [optics.radius_px(away_um)], (128, 128))[0]
    assert torch.allclose(by_rings, otf(psf(thick, away_um, size=128)[0], (128, 128)).real, atol=0.02)
    assert thick.thin == optics and optics.thin is optics and len(optics.slices_um) == 1
    assert thick.widest_px(3.0) == pytest.approx(3.0 + optics.radius_px(6.0))


def test_zernike_terms_are_orthonormal() -> None:
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, 801),) * 2, indexing="ij")
    rho, theta = torch.hypot(y, x), torch.atan2(y, x)
    inside = rho <= 1
    terms = torch.stack([zernike(n, rho.clamp(max=1), theta)[inside] for n in range(1, 16)])
    gram = terms @ terms.T / inside.sum()
    assert torch.allclose(gram, torch.eye(15), atol=0.02)


@pytest.mark.parametrize("margin", [3, 40, 300])
def test_mirror_pad_agrees_with_numpy(margin: float) -> None:
    image = np.random.default_rng(0).random((17, 33)).astype(np.float32)
    assert np.array_equal(mirror_pad(torch.from_numpy(image), margin).numpy(), np.pad(image, margin, mode="reflect"))


def test_um_and_px_convert_back_and_forth(optics: Optics) -> None:
    assert optics.radius_px(4.0) == pytest.approx(3.58, abs=0.01)
    assert optics.radius_px(-4.0) == optics.radius_px(4.0)
    assert optics.shift_px(-4.0) == -optics.shift_px(4.0) == -optics.radius_px(4.0)
    assert optics.defocus_um(optics.radius_px(7.3)) == pytest.approx(7.3)
    assert optics.sampling == pytest.approx(0.5 * 0.645 / 0.461)
    assert Optics.nominal().sampling == pytest.approx(0.6)


@pytest.mark.parametrize(
    "change,word",
    [
        ({"na": -0.5}, "positive"),
        ({"na": 1.0}, "below the immersion index"),
        ({"pixel_size_um": 0.0}, "positive"),
        ({"wavelength_um": float("nan")}, "positive"),
        ({"index": "glass"}, "number"),
        ({"thickness_um": -1.0}, "thin specimen"),
        ({"wavelength_um": 520.0}, "520 nm are 0.52 um"),
        ({"pixel_size_um": 645.0}, "in um in the specimen"),
        ({"colour": "red"}, "not permitted"),
    ],
)
def test_unphysical_optics_are_refused_in_words(optics: Optics, change: dict, word: str) -> None:
    with pytest.raises(CalibrationError, match=word):
        optics.replace(**change)


def test_camera_counts_photons_with_the_right_noise() -> None:
    camera = Camera(gain=2.0, read_noise=3.0, offset=100.0, bits=12)
    counts = camera.expose(torch.full((400, 400), 200.0), generator=torch.Generator().manual_seed(0))
    assert float(counts.mean()) == pytest.approx(500.0, rel=0.01)
    assert float(counts.var()) == pytest.approx(4 * 200 + 9, rel=0.05)
    assert float(camera.expose(torch.tensor([1e6])).max()) == 4095


def test_a_phantom_can_be_imaged_as_it_is(optics: Optics) -> None:
    assert defocus(phantom("nuclei", (64, 64), seed=1), optics, 4.0).shape == (1, 64, 64)


def test_measured_bead_is_reproduced(shared_data) -> None:
    """Widefield bead, NA 0.85: centre, focus and a bead-size blur are fitted, the rest is the pupil model."""
    import tifffile
    from scipy import ndimage, optimize

    path = shared_data / "psf_bead" / "psf_wl520nm_z300nm_x130nm_na0.85_n1.0.tif"
    stack = tifffile.imread(path).astype(np.float64)
    stack -= np.median(stack)
    peak = np.unravel_index(ndimage.gaussian_filter(stack, 1).argmax(), stack.shape)
    half = 40
    stack = stack[:, peak[1] - half : peak[1] + half, peak[2] - half : peak[2] + half]
    optics = Optics(na=0.85, wavelength_um=0.52, pixel_size_um=0.13)
    z = (np.arange(len(stack)) - peak[0]) * 0.3
    near = np.abs(z) <= 3.0

    def model(parameters: np.ndarray) -> np.ndarray:
        focus, dy, dx, blur = parameters
        planes = (
            psf(optics, torch.from_numpy(z[near] - focus), size=256)[
                :, 128 - half : 128 + half, 128 - half : 128 + half
            ]
            .double()
            .numpy()
        )
        blurred = ndimage.gaussian_filter(planes, (0, blur / 0.13, blur / 0.13))
        return ndimage.shift(blurred, (0, dy, dx), order=1)

    def loss(parameters: np.ndarray) -> float:
        if not 0 <= parameters[3] <= 0.15:
            return 1.0
        return 1 - float(np.corrcoef(model(parameters).ravel(), stack[near].ravel())[0, 1])

    start = np.array([0.0, 0.0, 0.0, 0.1])
    simplex = np.vstack([start, start + np.diag([0.3, 0.5, 0.5, 0.04])])
    options = {"maxfev": 100, "initial_simplex": simplex}
    best = optimize.minimize(loss, start, method="Nelder-Mead", options=options)
    assert 1 - best.fun >= 0.95


@pytest.mark.parametrize("c", [0.15, 0.25, 0.6, 1.2, 3.4])
def test_in_focus_the_otf_is_that_of_a_circular_pupil_and_its_pixels(c: float) -> None:
    """2 / pi (acos v - v sqrt(1 - v^2)) times the pixel's sinc, folded back by every whole cycle per pixel."""
    optics, shape, orders = Optics(na=0.05, wavelength_um=0.5, pixel_size_um=10 * c), (96, 80), range(-8, 9)
    fy, fx = torch.fft.fftfreq(shape[0]).double()[:, None], torch.fft.rfftfreq(shape[1]).double()
    theory = torch.zeros(shape[0], shape[1] // 2 + 1, dtype=torch.float64)
    for y, x in ((fy + a, fx + b) for a in orders for b in orders):
        v = (torch.hypot(y, x) / (2 * c)).clamp(max=1)
        theory += 2 / math.pi * (v.arccos() - v * (1 - v * v).sqrt()) * torch.sinc(y) * torch.sinc(x)
    assert (camera_otf(optics, (0.0,), shape)[0] - theory).abs().max() < 0.01
    assert (otf(psf(optics, 0.0, size=80)[0], shape) - theory).abs().max() < 0.025, "whose tails are cut"
    assert camera_otf(optics, (0.0, 1.0), shape).abs().max() < 1 + 1e-4, "no light is not negative and sharpens"


@pytest.mark.parametrize("bins, level", [(1, 2.0), (1, 6.0), (2, 9.0), (4, 30.0)])
@pytest.mark.parametrize(
    "optics",
    [
        Optics(na=0.5, wavelength_um=0.461, pixel_size_um=0.645),
        Optics(na=1.3, index=1.515, wavelength_um=0.52, pixel_size_um=0.15),
        Optics(na=1.4, index=1.515, wavelength_um=0.52, pixel_size_um=0.065),  # frequencies far beyond the objective's
        Optics(na=0.3, wavelength_um=0.52, pixel_size_um=0.2),
    ],
)
def test_the_radial_otf_is_that_of_the_psf(optics: Optics, bins: int, level: float) -> None:
    coarse = optics.replace(pixel_size_um=bins * optics.pixel_size_um)
    kernel = psf(coarse, coarse.defocus_um(level / bins), size=120)[0]
    found = camera_otf(optics, (level, 1.5 * level), (128, 120), bins)
    assert found.shape == (2, 128, 61)
    gap = (found[0] - otf(kernel, (128, 120))).abs()
    assert float(gap.square().mean().sqrt()) < 0.012 and float(gap.max()) < 0.03
