"""Random states by a place in a run, and batches that are loaded under them."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import get_worker_info

# So that a step and the loading of its batch draw different numbers.
STEP, _DATA = 0, 1


class SeededBatches:
    """Loads the samples of a batch under random states that depend on its place, and leaves the process's own as they were.

    Args:
        dataset: The dataset.
        run: Seed and rank.
    """

    def __init__(self, dataset, run: tuple[int, int]) -> None:
        self.dataset = dataset
        self.run = run
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # seen by the workers
        self._seen, self._count = None, 0

    def __call__(self, indices: Sequence[int]) -> list:
        """The samples of the dataset with these indices."""
        epoch = int(self.epoch)
        if epoch != self._seen:
            self._seen, self._count = epoch, 0
        worker = get_worker_info()  # the loader deals batches out in turn
        number = self._count if worker is None else self._count * worker.num_workers + worker.id
        self._count += 1
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        seed_cpu(seed_of(_DATA, *self.run, epoch, number))
        try:
            return [self.dataset[index] for index in indices]
        finally:
            for restore, state in zip((random.setstate, np.random.set_state, torch.set_rng_state), before):
                restore(state)


def seed_of(*place: int) -> int:
    """One number for a place in a run; neighbouring places have unrelated ones."""
    return int(np.random.SeedSequence(place).generate_state(1)[0])


def seed_cpu(seed: int) -> None:
    """Set the states of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
