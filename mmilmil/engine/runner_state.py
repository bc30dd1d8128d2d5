"""What hooks ask a runner."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def bare_model(runner: Runner) -> nn.Module:
    """The runner's model without the wrapper of a run in several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def is_training(runner: Runner) -> bool:
    """Whether the runner trains. Until it does, its loop is the config's."""
    return is_built(runner._train_loop)


def is_built(loop) -> bool:
    """Whether a loop of the runner is there, not its config nor nothing."""
    return loop is not None and not isinstance(loop, dict)
