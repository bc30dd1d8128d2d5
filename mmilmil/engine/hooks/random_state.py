"""Random numbers that depend on the place in a run, not on what came before it."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import get_worker_info

from ...registry import HOOKS

# So that a step and the loading of its batch draw different numbers.
_STEP, _DATA = 0, 1


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Sets the random states of Python, numpy and torch before every training step, and around the loading of every batch.

    A step's come from the run's seed and the number of the iteration; a batch's from seed, rank, epoch and its number in the
    epoch. They are thus the same in a run that was stopped and resumed as in an unbroken one, whatever validation, other
    processes or the steps that are not repeated have drawn, with any number of workers, and a checkpoint has no state of them
    to hold.

    In training by iterations MMEngine starts the data workers before any hook, with states that depend on the seed; resuming
    it loads all earlier batches again, which brings them to where they were.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Give the training data random states of their own."""
        loader = runner.train_dataloader
        # A run without a seed draws one and, resumed, has it back, but only after its sampler was built.
        sampler = loader.batch_sampler.sampler
        if hasattr(sampler, 'seed') and not runner._randomness_cfg.get('diff_rank_seed'):
            sampler.seed = runner.seed
        self._batches = SeededBatches(loader.dataset, (runner.seed, get_rank()))
        if hasattr(loader.dataset, '__dict__'):  # a list takes no attribute, and draws nothing
            # What torch's loader asks, where it is there, for the samples of a batch.
            loader.dataset.__getitems__ = self._batches

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the workers, which may live for many epochs, which one begins."""
        self._batches.epoch.fill_(runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Set the states that the step draws from."""
        seed = _seed(_STEP, runner.seed, runner.iter)
        _seed_cpu(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)


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
        _seed_cpu(_seed(_DATA, *self.run, epoch, number))
        try:
            return [self.dataset[index] for index in indices]
        finally:
            for restore, state in zip((random.setstate, np.random.set_state, torch.set_rng_state), before):
                restore(state)


def _seed(*place: int) -> int:
    """One number for a place in a run; neighbouring places have unrelated ones."""
    return int(np.random.SeedSequence(place).generate_state(1)[0])


def _seed_cpu(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
