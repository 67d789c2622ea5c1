"""Augmentation of microscopy images: defocus as the microscope makes it, and what to compare it with."""

from focuslab.augment.blur import BlurParameters, RandomDisc, RandomGaussian
from focuslab.augment.dataset import FocalDataset
from focuslab.augment.defocus import DefocusParameters, RandomDefocus
from focuslab.augment.frequency import (
    AmplitudePhaseRecombination,
    FourierBasisNoise,
    RecombinationParameters,
    WaveParameters,
)
from focuslab.augment.transform import RandomTransform

__all__ = [
    "AmplitudePhaseRecombination",
    "BlurParameters",
    "DefocusParameters",
    "FocalDataset",
    "FourierBasisNoise",
    "RandomDefocus",
    "RandomDisc",
    "RandomGaussian",
    "RandomTransform",
    "RecombinationParameters",
    "WaveParameters",
]
