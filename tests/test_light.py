import numpy as np
import torch

from focuslab.models.light import light_copies
from focuslab.optics import Optics, crop, defocus, phantom

OPTICS = Optics(na=0.75, wavelength_um=0.52, pixel_size_um=0.2)
SIDE, MARGIN = 192, 96


def test_what_is_wrong_beyond_the_border_does_not_keep_an_iteration_going() -> None:
    light = torch.from_numpy(phantom("puncta", (SIDE, SIDE), seed=800_001))
    light, noise = light / float(np.percentile(light, 99.9)), 0.002
    plane = torch.full((1, 1, SIDE + 2 * MARGIN, SIDE + 2 * MARGIN), 0.3)  # nothing of the sort
    inside = slice(MARGIN, -MARGIN)
    blurred = defocus(light, OPTICS, OPTICS.defocus_um(4.0))[0]
    grain = torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    plane[..., inside, inside] = blurred + noise * grain
    truth, near = defocus(light, OPTICS, 0.0)[0], 24  # px at the rim where nothing is to be had
    truth = crop(truth[None, None], near)[0, 0]

    def wrong_by(rows: slice, columns: slice) -> float:
        white = light_copies(OPTICS, plane, 4.0, noise, 0.0, (rows, columns)).white
        return float((crop(white, MARGIN + near)[0, 0] - truth).square().mean())

    right, wrong = wrong_by(inside, inside), wrong_by(slice(None), slice(None))
    assert right < 0.7 * wrong
