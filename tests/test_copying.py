"""From a plane to what the network takes."""

import pytest
import torch

from focuslab.models import copying, frontend
from focuslab.models.copying import PlaneConditions, copied, measured
from focuslab.models.explain import explain
from focuslab.models.frontend import NoFrontEnd, PhysicsFrontEnd
from focuslab.models.light import continued
from focuslab.models.noise import noise_at
from focuslab.optics import Optics, crop, defocus, mirror_pad, phantom

SIDE, HALO, LEVEL, RUNGS = 96, 64, 12.0, (0.0, 2.0)


@pytest.fixture
def plane(optics: Optics) -> torch.Tensor:
    """Two blurred and noisy nuclei fields (2, 1, Y, X)."""
    light = torch.stack([torch.from_numpy(phantom("nuclei", (SIDE, SIDE), seed=i, scale_px=12)) for i in (1, 2)])
    blurred = torch.stack([defocus(one, optics, optics.defocus_um(LEVEL))[0] for one in light])[:, None]
    noise = torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    return blurred + torch.tensor([0.004, 0.02]).view(-1, 1, 1, 1) * noise


def test_noise_and_floor_are_those_of_each_plane(plane: torch.Tensor, optics: Optics) -> None:
    told = measured(plane + 0.1, optics, LEVEL, doubt=0.1)
    assert told.doubt == 0.1 and torch.as_tensor(told.floor).shape == (2, 1, 1, 1)
    for i, one in enumerate(plane + 0.1):
        noise = float(noise_at(one[None], optics, LEVEL))
        alone = explain(one[0], optics, LEVEL, noise)
        assert float(torch.as_tensor(told.noise)[i]) == pytest.approx(noise * alone.surplus, rel=1e-4)
        assert float(torch.as_tensor(told.floor)[i]) == pytest.approx(alone.floor, abs=1e-4)


def test_iterations_end_where_nothing_was_recorded_and_the_copies_stay(
    plane: torch.Tensor, optics: Optics, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = PhysicsFrontEnd(optics)
    margin = maker.radius(LEVEL, RUNGS)
    wide, edge = mirror_pad(plane, margin + HALO), margin + HALO
    recorded = (slice(edge, edge + SIDE), slice(edge, edge + SIDE))
    told, sides, light_copies = PlaneConditions(optics, LEVEL, 0.01), [], frontend.light_copies

    def watched(optics: Optics, light: torch.Tensor, *rest: object) -> object:
        sides.append(light.shape[-1])
        return light_copies(optics, light, *rest)

    monkeypatch.setattr(frontend, "light_copies", watched)
    seen = copied(wide, recorded, told, maker, RUNGS, margin, HALO)
    monkeypatch.setattr(copying, "_grown", lambda *_: tuple(slice(0, n) for n in wide.shape[-2:]))
    whole = copied(wide, recorded, told, maker, RUNGS, margin, HALO)
    assert sides == [SIDE + 2 * (HALO + maker.reach(LEVEL, RUNGS)), SIDE + 2 * (HALO + margin)]
    assert torch.equal(crop(seen.plane, HALO), plane) and torch.equal(seen.condition, whole.condition)
    assert seen.copies.source.shape == whole.copies.source.shape
    for one, other in zip(
        (*seen.copies.deconvolved, seen.copies.ladder), (*whole.copies.deconvolved, whole.copies.ladder), strict=True
    ):
        assert one.shape == other.shape
        assert float((crop(one, HALO) - crop(other, HALO)).abs().max()) < 0.01


def test_without_a_front_end_there_is_the_plane_alone(plane: torch.Tensor, optics: Optics) -> None:
    everything = (slice(None), slice(None))
    seen = copied(
        plane, everything, PlaneConditions(optics, LEVEL, torch.tensor([0.01, 0.02])), NoFrontEnd(), (0.0,), 0
    )
    assert torch.equal(seen.plane, plane) and not seen.copies.deconvolved
    assert seen.condition[:, 2].tolist() == pytest.approx([0.01, 0.02]) and len(seen.condition) == 2


def test_a_window_is_continued_by_its_edges() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    whole = continued(image, (slice(1, 3), slice(2, None)), (4, 5))
    assert whole[0, 0].tolist() == [[0, 0, 0, 1, 2], [0, 0, 0, 1, 2], [3, 3, 3, 4, 5], [3, 3, 3, 4, 5]]
    assert continued(image, (slice(0, 2), slice(0, 3)), (2, 3)) is image
