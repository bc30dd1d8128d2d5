"""Random numbers that depend on the place in a run, not on what came before it."""

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS
from ..random_place import STEP, SeededBatches, seed_cpu, seed_of


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
        seed = seed_of(STEP, runner.seed, runner.iter)
        seed_cpu(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
