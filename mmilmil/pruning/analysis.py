"""What of a detector can be pruned, by MMRazor's analysis."""

import contextlib
import copy
import fnmatch
import logging
import traceback
from collections.abc import Sequence

from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmrazor.models.algorithms import ItePruneAlgorithm
from mmrazor.models.mutables import MutableChannelUnit
from torch import nn

from ..errors import InputError
from .demo_input import DetectionDemoInput

ANALYSIS_SIZE = (128, 128)
"""Height and width in pixels of the input that the detector is traced with; it says nothing about the images later on."""


def pruning_algorithm(detector: nn.Module, unit: str = 'L1MutableChannelUnit') -> ItePruneAlgorithm:
    """MMRazor's algorithm around a detector, its layers made prunable.

    Args:
        detector: A two-stage detector; its layers are replaced.
        unit: Registered unit that ranks channels.

    Raises:
        InputError: the detector cannot be traced.
    """
    weights = copy.deepcopy(detector.state_dict())
    unit_cfg = dict(type=unit, default_args=dict(choice_mode='number'))
    with analysing(detector):
        algorithm = ItePruneAlgorithm(detector, mutator_cfg=mutator_cfg(unit_cfg))
    # MMRazor's dynamic layers begin with fresh weights: it expects a checkpoint to be loaded afterwards.
    algorithm.architecture.load_state_dict(weights)
    return algorithm


def mutator_cfg(unit: dict, kind: str = 'ChannelMutator') -> dict:
    """Config of MMRazor's mutator for a detector.

    Args:
        unit: ``channel_unit_cfg``.
        kind: Registered mutator.
    """
    demo = DetectionDemoInput((1, 3, *ANALYSIS_SIZE))
    return dict(
        type=kind, channel_unit_cfg=unit, parse_cfg=dict(type='ChannelAnalyzer', demo_input=demo, tracer_type='FxTracer'))


@contextlib.contextmanager
def analysing(detector: nn.Module):
    """Around everything that lets MMRazor trace a detector.

    Raises:
        InputError: it cannot be traced.
    """
    with DefaultScope.overwrite_default_scope('mmrazor'), _quiet():
        try:
            yield
        except Exception as error:  # the tracer runs the model's own code, which can fail in any way
            first = ' '.join(f'{type(error).__name__}: {error}'.split())[:300]
            place = failing_place(error, detector)
            raise InputError(f'the detector {type(detector).__name__} cannot be traced, it fails in {place} ({first}): '
                             'MMRazor follows channels through what does not branch on values; take the branch out '
                             'there, or prune a detector without that module') from error


def failing_place(error: Exception, detector: nn.Module) -> str:
    """The innermost module of a detector (or of a copy of it) that an error came through, and its line."""
    names: dict[nn.Module, str] = {}
    place = 'the analysis'
    for frame, line in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get('self')
        if type(owner) is type(detector) and not names:  # a copy of it is traced
            names = {module: name for name, module in owner.named_modules()}
        if isinstance(owner, nn.Module) and owner in names:
            code, name = frame.f_code, names[owner] or 'the detector itself'
            place = f'{name}, {type(owner).__name__}.{code.co_name} ({code.co_filename}:{line})'
    return place


@contextlib.contextmanager
def _quiet():
    """Without the notes of MMRazor's graph on every function it passes by; warnings stay."""
    logger = MMLogger.get_current_instance()
    levels = [(handler, handler.level) for handler in (logger, *logger.handlers)]
    for handler, _ in levels:
        handler.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler, level in levels:
            handler.setLevel(level)


def unit_name(unit: MutableChannelUnit) -> str:
    """The first layer whose outputs the unit holds, such as ``backbone.layer1.0.conv1``: what a person calls the unit."""
    return unit.name.rpartition('_(')[0] or unit.name


def prunable_units(algorithm: ItePruneAlgorithm, exclude: Sequence[str] = ()) -> dict[str, MutableChannelUnit]:
    """The units that can be pruned, by :func:`unit_name`.

    Args:
        algorithm: See :func:`pruning_algorithm`.
        exclude: Patterns of unit names, as in a shell, that are left whole.

    Raises:
        InputError: a pattern fits no unit.
    """
    units = {unit_name(unit): unit for unit in algorithm.mutator.mutable_units}
    for pattern in exclude:
        if not fnmatch.filter(units, pattern):
            raise InputError(f'--exclude {pattern} fits no unit; the units are {", ".join(units)}')
    return {name: unit for name, unit in units.items() if not any(fnmatch.fnmatch(name, pattern) for pattern in exclude)}
