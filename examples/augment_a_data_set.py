"""Defocus on the fly: what a training loop sees of four images in two epochs."""

import numpy as np
from torch.utils.data import DataLoader

from focuslab.augment import FocalDataset, RandomDefocus
from focuslab.optics import phantom

images = [(100 + 900 * phantom("nuclei", (128, 128), seed=s)).astype(np.uint16) for s in range(4)]
masks = [image > 400 for image in images]
data = FocalDataset(images, RandomDefocus((0.5, 6.0), way="optics", p=0.8), targets=masks, seed=1)

for epoch in range(2):
    data.set_epoch(epoch)
    for index, (image, mask) in enumerate(DataLoader(data, batch_size=None)):
        drawn = data.parameters(index)
        blur = 0.0 if drawn is None else drawn.blur_px
        print(f"epoch {epoch}, image {index}: blur {blur:.1f} px, mean {float(image.float().mean()):.0f}, {mask.shape}")
