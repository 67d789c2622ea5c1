"""Recorded stacks and simulated planes in turn."""

import numpy as np

from focuslab_training.data.batches import PlaneBatch
from focuslab_training.data.copies import PlaneSource

__all__ = ["Replay"]


class Replay:
    """Batches of recorded planes, and in a share of the steps simulated ones: who sees a few stacks alone forgets.

    Rehearsal [1]_: the simulator draws what the model learned from before.

    Parameters
    ----------
    recorded, simulated
        Make the batches.
    share
        Of the steps that are simulated.
    seed
        The same seed takes turns alike, in all processes.

    References
    ----------
    .. [1] A. Robins, Connection Science 7, 123 (1995), doi 10.1080/09540099550039318.
    """

    def __init__(self, recorded: PlaneSource, simulated: PlaneSource, share: float, seed: int) -> None:
        self.recorded, self.simulated, self.share, self.seed = recorded, simulated, share, seed

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[PlaneBatch, ...]:
        """Batches of a step, or the share of one of `world` processes."""
        drawn = np.random.default_rng([self.seed, step, 5]).random()
        return (self.simulated if drawn < self.share else self.recorded).batch(step, rank, world)
