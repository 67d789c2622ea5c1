"""Defocus inside the pipelines of torchvision, MONAI and albumentations, whichever of them is installed."""

from importlib.util import find_spec

import numpy as np
import torch

from focuslab.augment import RandomDefocus
from focuslab.optics import phantom

image = (100 + 900 * phantom("nuclei", (128, 128), seed=1)).astype(np.uint16)


def in_torchvision() -> torch.Tensor:
    """Tensors (C, Y, X) of any dtype: a transform is a callable."""
    from torchvision.transforms import v2

    pipeline = v2.Compose([v2.RandomHorizontalFlip(), v2.Lambda(RandomDefocus((0.5, 6.0), seed=1))])
    return pipeline(torch.from_numpy(image.astype(np.float32))[None])


def in_monai() -> torch.Tensor:
    """Dictionaries of arrays (C, Y, X): the image is changed, its label is not."""
    from monai.transforms import Compose, Lambdad, RandFlipd

    pipeline = Compose([
        RandFlipd(["image", "label"], prob=0.5, spatial_axis=1),
        Lambdad("image", RandomDefocus((0.5, 6.0), seed=1)),
    ])  # fmt: skip
    return pipeline({"image": image[None].astype(np.float32), "label": image[None] > 400})["image"]


def in_albumentations() -> np.ndarray:
    """Arrays (Y, X, C): masks pass through unchanged."""
    import albumentations as A

    defocus = RandomDefocus((0.5, 6.0), seed=1, channels_last=True)

    def defocused(pixels: np.ndarray, **_: object) -> np.ndarray:
        return defocus(pixels)

    pipeline = A.Compose([A.HorizontalFlip(p=0.5), A.Lambda(image=defocused, p=1.0)])
    return pipeline(image=image[..., None], mask=(image > 400).astype(np.uint8))["image"]


for name, run in (("torchvision", in_torchvision), ("monai", in_monai), ("albumentations", in_albumentations)):
    if find_spec(name) is None:
        print(f"{name} is not installed")
    else:
        blurred = run()
        print(f"{name}: {tuple(blurred.shape)} {blurred.dtype}, mean {float(np.asarray(blurred).mean()):.0f}")
