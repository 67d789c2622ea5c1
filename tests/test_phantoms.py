import numpy as np
import pytest

from focuslab.errors import RequestError
from focuslab.optics import PHANTOMS, phantom


@pytest.mark.parametrize("kind", PHANTOMS)
def test_phantoms_are_light_with_structure_and_repeat(kind: str) -> None:
    image = phantom(kind, (96, 130), seed=3)
    assert image.shape == (96, 130) and image.dtype == np.float32
    assert np.isfinite(image).all() and image.min() >= 0
    assert 0.2 < np.percentile(image, 99.9) < 10
    assert image.std() > 0.005
    assert np.array_equal(image, phantom(kind, (96, 130), seed=3))
    assert not np.array_equal(image, phantom(kind, (96, 130), seed=4))


def test_scale_is_the_size_of_structures() -> None:
    from scipy.ndimage import label

    sizes = []
    for scale in (6.0, 20.0):
        mask = phantom("nuclei", (400, 400), seed=1, scale_px=scale) > 0.2
        sizes.append(mask.sum() / label(mask)[1])
    assert sizes[1] > 4 * sizes[0]


def test_unknown_phantoms_are_refused() -> None:
    with pytest.raises(RequestError, match="nuclei"):
        phantom("unicorns")
    with pytest.raises(RequestError, match="8 x 8"):
        phantom("nuclei", (4, 4))
