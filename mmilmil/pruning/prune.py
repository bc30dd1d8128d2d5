"""Pruning a detector to a static one, by MMRazor's algorithms."""

import difflib
import fnmatch
from collections.abc import Mapping
from typing import Optional

import torch
from mmrazor.models.algorithms import ItePruneAlgorithm
from mmrazor.models.architectures.dynamic_ops import DynamicChannelMixin
from mmrazor.models.mutables import L1MutableChannelUnit, MutableChannelUnit
from mmrazor.registry import MODELS as RAZOR_MODELS
from mmrazor.structures import export_fix_subnet
from torch import Tensor, nn

from ..errors import InputError
from ..models.structure import Structure, compose
from ..table_layout import markdown_table
from .complexity import flops_after


@RAZOR_MODELS.register_module()
class RandomMutableChannelUnit(L1MutableChannelUnit):
    """Ranks channels at random instead of by their norm: what a ranking is to be compared with."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # Drawn once, so that the same channels stay when the number is chosen again.
        self._rank = torch.rand(self.num_channels)

    def _get_unit_norm(self) -> Tensor:
        return self._rank


@RAZOR_MODELS.register_module()
class BatchNormScaleMutableChannelUnit(L1MutableChannelUnit):
    """Ranks channels by the scale of the batch norm behind them (Liu et al. 2017, Network Slimming).

    A batch norm takes away whatever scale the weights before it have, so that the norm of these weights tells nothing there;
    the scale is what a channel is passed on with. Where several batch norms are of one unit, as in a residual stage, it is
    their mean. Units without one are ranked by L1 norm.
    """

    def _get_unit_norm(self) -> Tensor:
        scales = [channel.module.weight.detach()[channel.start:channel.end].abs() for channel in self.output_related
                  if isinstance(channel.module, nn.modules.batchnorm._BatchNorm) and channel.module.affine]
        return torch.stack(scales).mean(0) if scales else super()._get_unit_norm()


UNITS = dict(
    l1='L1MutableChannelUnit', bn_scale='BatchNormScaleMutableChannelUnit', random='RandomMutableChannelUnit')
"""Units by how they rank channels, as ``--rank`` of tools/prune.py names it."""


def even_choices(units: Mapping[str, MutableChannelUnit], ratio: float) -> dict[str, int]:
    """Channels to keep, the same share of every unit and at least one.

    Raises:
        InputError: ``ratio`` is not in (0, 1].
    """
    if not 0 < ratio <= 1:
        raise InputError(f'--ratio {ratio} is not in (0, 1]: it is the share of channels that is kept')
    return {name: max(1, round(ratio * unit.num_channels)) for name, unit in units.items()}


def chosen_channels(units: Mapping[str, MutableChannelUnit], config: Mapping[str, float], source: str) -> dict[str, int]:
    """Channels to keep by a prune config; units that it does not name stay whole.

    Args:
        units: By name; see :func:`prunable_units`.
        config: By name or pattern of units a share in (0, 1] (float) or a number of channels (int). Of several patterns that
            fit a unit the last one counts.
        source: The config's path, for messages.

    Raises:
        InputError: a pattern fits no unit, or a value does not fit its units.
    """
    choices = {}
    for pattern, value in config.items():
        names = fnmatch.filter(units, pattern)
        if not names:
            near = ', '.join(difflib.get_close_matches(pattern, units, n=3, cutoff=0))
            raise InputError(f'{source} names a unit {pattern}, which this detector does not have; the nearest are {near}')
        for name in names:
            choices[name] = _channels(value, units[name].num_channels, name, source)
    return choices


def _channels(value: float, width: int, name: str, source: str) -> int:
    number = isinstance(value, int) and not isinstance(value, bool)
    if number and 1 <= value <= width:
        return value
    if isinstance(value, float) and 0 < value <= 1:
        return max(1, round(value * width))
    raise InputError(f'{source}: {name} = {value!r} is neither a number of channels from 1 to {width} nor a share in (0, 1] '
                     'with a decimal point')


def choices_for_flops(algorithm: ItePruneAlgorithm, units: Mapping[str, MutableChannelUnit], flops: Mapping[str, float],
                      target: float) -> dict[str, int]:
    """The largest even ratio that leaves at most a share of the FLOPs, found by bisection.

    Args:
        algorithm: The algorithm; its choices are changed.
        units: The units that may be pruned.
        flops: Of each layer of the full detector; see :func:`layer_flops`.
        target: Share of their sum, in (0, 1].

    Raises:
        InputError: ``target`` is not in (0, 1], or one channel a unit is still too much.
    """
    if not 0 < target <= 1:
        raise InputError(f'--target-flops {target} is not in (0, 1]: it is a share of the full FLOPs')
    whole = sum(flops.values())

    def share(ratio: float) -> float:
        set_channels(algorithm, units, even_choices(units, ratio))
        return flops_after(flops, current_structure(algorithm), algorithm.architecture) / whole

    low, high = 1e-6, 1.0
    if share(low) > target:
        raise InputError(f'--target-flops {target}: with one channel in every unit {share(low):.3f} of the FLOPs are left, in '
                         'layers that are not pruned: ask for more, or exclude less')
    if share(high) <= target:
        return even_choices(units, high)
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) <= target else (low, middle)
    return even_choices(units, low)


def set_channels(algorithm: ItePruneAlgorithm, units: Mapping[str, MutableChannelUnit], choices: Mapping[str, int]) -> None:
    """Keep so many channels of each unit, the best ones by its ranking; the others stay as they are."""
    algorithm.mutator.set_choices({units[name].name: int(choice) for name, choice in choices.items()})


def current_structure(algorithm: ItePruneAlgorithm) -> Structure:
    """What MMRazor's masks leave, on the channels of the algorithm's architecture."""
    structure = {}
    for name, layer in algorithm.architecture.named_modules():
        if not isinstance(layer, DynamicChannelMixin):
            continue
        masks = {}
        sides = (('inputs', 'in_channels'), ('outputs', 'out_channels'))
        # A normalisation has the same channels on both sides.
        for side, attribute in sides[1:] if hasattr(layer, 'num_features') else sides:
            mutable = layer.get_mutable_attr(attribute)
            if mutable is not None and not mutable.current_mask.all():
                masks[side] = mutable.current_mask.bool().cpu().clone()
        if masks:
            structure[name] = masks
    return structure


def static_detector(algorithm: ItePruneAlgorithm, before: Optional[Structure] = None) -> nn.Module:
    """The detector that MMRazor's masks leave, its weights cut, with its ``structure`` on the full detector's channels.

    Args:
        algorithm: The algorithm with its choices made.
        before: Structure of the algorithm's architecture, if that was a pruned detector already.
    """
    structure = compose(before, current_structure(algorithm))
    _, static = export_fix_subnet(algorithm, export_subnet_mode='mutator', slice_weight=True)
    detector = static.architecture
    detector.structure = structure
    return detector


def channel_table(units: Mapping[str, MutableChannelUnit], choices: Mapping[str, int]) -> str:
    """Units with their channels before and after, in Markdown."""
    rows = [(name, unit.num_channels, choices.get(name, unit.num_channels)) for name, unit in units.items()]
    return markdown_table([('unit', 'channels', 'kept'), *rows])
