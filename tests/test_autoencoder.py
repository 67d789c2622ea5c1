import pytest
import torch

from focuslab.models.autoencoder import LinearLatentAutoencoder, ladder_at, worth_mixing
from focuslab.models.frontend import COPIES, PhysicsCopies
from focuslab.models.latent import LatentCode, along_line
from focuslab.models.networks import AutoencoderConfig, Encoder, conditions
from focuslab.models.reference import ReferenceAutoencoder
from focuslab.optics import Optics


def inputs(batch: int = 2, size: int = 64) -> tuple[torch.Tensor, PhysicsCopies, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    plane = torch.rand(batch, 1, size, size, generator=g)
    copies = PhysicsCopies(
        torch.rand(batch, COPIES, size, size, generator=g).split(1, 1),
        torch.rand(batch, 3, size, size, generator=g),
        (0.0, 4.8, 7.0),
        plane,
    )
    return plane, copies, torch.tensor([[6.0, 0.7, 0.01, 5.0, 0.05]]).repeat(batch, 1)


def network() -> LinearLatentAutoencoder:
    torch.manual_seed(0)
    net = LinearLatentAutoencoder(AutoencoderConfig(widths=(8, 12), blocks=(1, 1), code_widths=(4, 4)))
    torch.nn.init.normal_(net.decoder.leave.weight, std=0.1)
    return net


def test_shift_zero_is_the_plane_whatever_the_weights() -> None:
    plane, copies, condition = inputs()
    net = network()
    code, direction = net.encode(plane, copies, condition)
    assert torch.allclose(net.decode(along_line(code, direction, 0.0)), plane, atol=1e-6)


def test_a_float64_plane_keeps_a_float64_remainder() -> None:
    plane, copies, condition = inputs()
    net = network()
    with torch.no_grad():
        code, direction = net.encode(plane.double(), copies, condition)
        again = net.decode(along_line(code, direction, 0.0))
    assert float((again - plane.double()).abs().max()) < 1e-14


def test_gradients_reach_every_parameter_and_are_finite() -> None:
    plane, copies, condition = inputs()
    net = network()
    code, direction = net.encode(plane, copies, condition)
    (net.decode(along_line(code, direction, -6.0)) - plane).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    ("what", "level", "noise", "radius", "doubt", "taken"),
    [
        ("in focus there is nothing to mix", 0.0, 0.02, 1.0, 0.0, 0.0),
        ("in noise all of it", 4.0, 0.01, 3.7, 0.0, 1.0),
        ("in little noise little", 4.0, 0.0005, 3.7, 0.0, 0.01),
        ("and in between what the variance says", 4.0, 0.0025, 3.7, 0.0, 0.25),
        ("of a plane that is filtered all of it", 1.9, 0.0005, 1.8, 0.0, 0.97),
        ("of a wide blur too", 16.0, 0.0005, 14.0, 0.0, 1.0),
        ("and where the level is in doubt", 4.0, 0.0005, 3.7, 0.2, 1.0),
    ],
)
def test_the_less_noise_the_less_is_mixed(
    what: str, level: float, noise: float, radius: float, doubt: float, taken: float
) -> None:
    condition = torch.tensor([[level, 0.6, noise, radius, doubt]])
    assert float(worth_mixing(condition)) == pytest.approx(taken, abs=0.01), what


def test_the_sharp_end_is_a_mean_of_copies(optics: Optics) -> None:
    torch.manual_seed(1)
    encoder = Encoder(AutoencoderConfig())
    torch.nn.init.normal_(encoder.mix.weight)
    images = [torch.rand(2, 1, 64, 64) for _ in range(1 + COPIES)]
    mix = encoder(images, images[-1], conditions(optics, 8.0, 0.01).expand(2, -1))[2]
    assert mix.shape == (2, 1 + COPIES, 16, 16)
    assert mix.min() == 0 and mix.max() > 0.1
    assert mix.sum(1).max() <= 1 + 1e-6


def test_codes_know_how_far_the_level_is_to_be_doubted() -> None:
    plane, copies, condition = inputs()
    net = network()
    doubts = [0.0, 0.3, 0.9]
    with torch.no_grad():
        sure, doubtful, more = (
            net.encode(plane, copies, torch.cat([condition[:, :4], torch.full((2, 1), d)], 1))[0].features[0]
            for d in doubts
        )
    assert not torch.allclose(sure, doubtful)
    assert torch.equal(doubtful, more), "no doubt is greater than that of training"


def test_a_batch_gives_what_its_members_give() -> None:
    plane, copies, condition = inputs(3)
    net = network()
    with torch.no_grad():
        code, direction = net.encode(plane, copies, condition)
        together = net.decode(along_line(code, direction, -2.0))
        for i in range(3):
            own = plane[i : i + 1]
            deconvolved = tuple(copy[i : i + 1] for copy in copies.deconvolved)
            one = PhysicsCopies(deconvolved, copies.ladder[i : i + 1], copies.rungs, own)
            code, direction = net.encode(own, one, condition[i : i + 1])
            alone = net.decode(along_line(code, direction, -2.0))
            assert torch.allclose(alone, together[i : i + 1], atol=1e-5)


def test_the_receptive_field_fits_the_halo() -> None:
    net = network()
    size = 2 * net.halo + 64
    plane, copies, condition = inputs(1, size)
    plane.requires_grad_(True)
    code, direction = net.encode(plane, copies, condition)
    middle = slice(size // 2 - 4, size // 2 + 4)
    net.decode(along_line(code, direction, -6.0))[..., middle, middle].sum().backward()
    reached = plane.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert size // 2 - 4 - int(reached.min()) <= net.halo
    assert int(reached.max()) - (size // 2 + 3) <= net.halo


def test_a_tile_is_coded_without_what_only_the_encoder_needs() -> None:
    net = network()
    margin = net.encoder_halo
    plane, copies, condition = inputs(1, 2 * margin + 64)
    with torch.no_grad():
        whole, narrow = (net.encode(plane, copies, condition, margin=m)[0] for m in (0, margin))
        picture = net.decode(narrow)
    assert narrow.features[0].shape[-1] == 16 and narrow.features[1].shape[-1] == 8
    assert torch.equal(
        narrow.features[0], whole.features[0][..., margin // 4 : -margin // 4, margin // 4 : -margin // 4]
    )
    assert torch.allclose(picture, plane[..., margin:-margin, margin:-margin], atol=1e-6)


def test_a_code_without_remainder_draws_the_same_sharpest_picture() -> None:
    net, (plane, copies, condition) = network(), inputs()
    with torch.no_grad():
        pictures = [
            net.decode(along_line(*net.encode(plane, copies, condition, remainder=r), -6.0)) for r in (True, False)
        ]
    assert torch.equal(*pictures)


def test_the_correction_draws_no_grid() -> None:
    net = network()
    features = tuple(torch.ones(1, 4, n, n) for n in (32, 16))
    with torch.no_grad():
        correction = net.decoder(features, torch.full((1, 1, 128, 128), 0.3))[0, 0, 40:-40, 40:-40]
    assert float(correction.std()) < 1e-5, "flat features and a flat picture ask for a flat correction"


@pytest.mark.parametrize(
    "level,expected", [(-1.0, 0), (0.0, 0), (2.5, 8), (5.0, 16), (7.0, 16 + 24 / 75 * 9), (12.0, 25)]
)
def test_the_ladder_is_linear_in_the_level_to_the_first_rung_then_in_its_square(level: float, expected: float) -> None:
    rungs = torch.stack([torch.full((8, 8), float(v)) for v in (0, 16, 25)])[None]
    code = LatentCode((), rungs, torch.full((1, 1, 1, 1), level), None, (0.0, 5.0, 10.0))
    assert float(ladder_at(code).mean()) == pytest.approx(expected, abs=1e-4)


def test_the_reference_is_the_published_network() -> None:
    net = ReferenceAutoencoder().eval()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(12.6e6, rel=0.005)
    with torch.no_grad():
        plane = torch.rand(1, 1, 128, 128)
        assert net.encode(plane).shape == (1, 1024, 4, 4)
        assert net(plane).shape == plane.shape and float(net(plane).min()) >= 0 and float(net(plane).max()) <= 1
