"""Pruning in the course of training, by MMRazor's algorithms: step by step by L1 norm, and Group Fisher pruning.

Both are models for a runner. When training ends, ``final.pth`` holds the static detector with its structure
(:class:`FinalModelHook`), as after ``tools/prune.py``.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Optional

from mmengine.logging import print_log
from mmrazor.implementations.pruning.group_fisher import GroupFisherAlgorithm
from mmrazor.models.algorithms import ItePruneAlgorithm
from mmrazor.models.algorithms.base import BaseAlgorithm
from mmrazor.utils import RuntimeInfo
from torch import Tensor, nn

from ..checkpoint import load_checkpoint_file
from ..errors import InputError
from ..models.pruned import check_prunable
from ..registry import MODELS
from ..stock import full_model_cfg
from .analysis import analysing, mutator_cfg, prunable_units
from .complexity import flops_after, layer_flops
from .prune import chosen_channels, current_structure, even_choices, static_detector


class _PruningInTraining:
    """What both algorithms share: they start from a trained detector and end in a static one."""

    def init_weights(self) -> None:
        """Take the trained detector's weights.

        Raises:
            InputError: the checkpoint is missing or another detector's.
        """
        content = load_checkpoint_file(self.checkpoint)
        try:
            self.architecture.load_state_dict(content.get('state_dict', content))
        except RuntimeError as error:
            first = ' '.join(str(error).split('\n\t')[1:2]) or str(error)
            raise InputError(f'the checkpoint {self.checkpoint} (model.checkpoint) does not fit the detector to be pruned '
                             f'({first}): give the one that was trained with this config') from error

    def static(self) -> nn.Module:
        """The detector that is left, with its ``structure``."""
        return static_detector(self)


def _full_detector(detector: Mapping) -> nn.Module:
    check_prunable(detector, 'the detector to be pruned (model.detector)')
    return MODELS.build(full_model_cfg(detector))


@MODELS.register_module()
class IterativePruning(_PruningInTraining, ItePruneAlgorithm):
    """L1 pruning in several steps during training (MMRazor's ``ItePruneAlgorithm``, Li et al. 2017).

    Args:
        detector: Config of the full detector.
        checkpoint: Its trained weights.
        ratio: Share of the channels of every unit that is kept in the end.
        channels: Instead of ``ratio``, by name or pattern of units a share or a number of channels.
        exclude: Patterns of unit names that are left whole.
        every: Epochs between two steps; in training by iterations, iterations.
        times: Number of steps, the first one at the start.
    """

    def __init__(self,
                 detector: dict,
                 checkpoint: str,
                 ratio: float = 0.5,
                 channels: Optional[Mapping[str, float]] = None,
                 exclude: Sequence[str] = (),
                 every: int = 1,
                 times: int = 1) -> None:
        architecture = _full_detector(detector)
        unit = dict(type='L1MutableChannelUnit', default_args=dict(choice_mode='number'))
        with analysing(architecture):
            super().__init__(architecture, mutator_cfg=mutator_cfg(unit), step_freq=every, prune_times=times)
        units = prunable_units(self, exclude)
        chosen = even_choices(units, ratio) if channels is None else chosen_channels(units, channels, 'model.channels')
        self.target_pruning_ratio = {units[name].name: count for name, count in chosen.items()}
        self.checkpoint = checkpoint


@MODELS.register_module()
class GroupFisherPruning(_PruningInTraining, GroupFisherAlgorithm):
    """Group Fisher pruning (Liu et al. 2021; MMRazor's ``GroupFisherAlgorithm``).

    Every few iterations the channel goes whose loss would, by its Fisher information, be smallest for what it costs. Once the
    target is reached training goes on without pruning.

    Args:
        detector: Config of the full detector.
        checkpoint: Its trained weights.
        target_flops: Share of the full detector's FLOPs at which pruning stops, in (0, 1).
        size: Height and width in pixels of the input that FLOPs are counted with.
        interval: Iterations between two channels.
        normalization: What a channel's cost is: ``act`` (activations) or ``flops``.
    """

    def __init__(self,
                 detector: dict,
                 checkpoint: str,
                 target_flops: float = 0.5,
                 size: tuple[int, int] = (256, 256),
                 interval: int = 10,
                 normalization: str = 'act') -> None:
        if not 0 < target_flops < 1:
            raise InputError(f'model.target_flops = {target_flops} is not between 0 and 1: it is a share of the full FLOPs')
        architecture = _full_detector(detector)
        flops = layer_flops(architecture, tuple(size))
        unit = dict(type='GroupFisherChannelUnit', default_args=dict(normalization_type=normalization))
        with analysing(architecture):
            super().__init__(architecture, mutator=mutator_cfg(unit, 'GroupFisherChannelMutator'), interval=interval)
        self.flops, self.target_flops = flops, target_flops
        self._reached: Optional[bool] = None  # not known yet: a resumed run may be there already
        self.checkpoint = checkpoint

    def share(self) -> float:
        """Share of the FLOPs that is left."""
        return flops_after(self.flops, current_structure(self), self.architecture) / sum(self.flops.values())

    def static(self) -> nn.Module:
        """The detector that is left; where training ended before the target was reached, that is told."""
        if (share := self.share()) > self.target_flops:
            print_log(f'{share:.3f} of the FLOPs are left, model.target_flops = {self.target_flops} was not reached: train '
                      f'longer, or give a smaller model.interval than {self.interval}', 'current', logging.WARNING)
        return super().static()

    def _train_step(self, data, optim_wrapper) -> dict[str, Tensor]:
        if self._reached is None:
            self._reached = self.share() <= self.target_flops
        if self._reached:
            return BaseAlgorithm.train_step(self, data, optim_wrapper)
        losses = super()._train_step(data, optim_wrapper)
        if RuntimeInfo.iter() % self.interval == 0:  # when a channel went
            self._reached = self.share() <= self.target_flops
        return losses
