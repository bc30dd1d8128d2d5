"""Parts of the student that stay as the teacher's are, and with that need no second pass."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import InputError
from .views import Outputs

PARTS = ('backbone', 'neck', 'rpn_head')
"""Parts that can be frozen, from the image on: each sees what the one before it gives."""


def check_frozen(value: Any, detector: nn.Module) -> tuple[str, ...]:
    """The parts that ``model.frozen`` names, in the order of :data:`PARTS`.

    Raises:
        InputError: it is no list of them, leaves one out in between, or names one that the detector lacks.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise InputError(f'model.frozen = {value!r}: list parts of the detector, such as ["backbone"], or none: []')
    there = [name for name in PARTS if getattr(detector, name, None) is not None]
    for name in value:
        if name not in there:
            raise InputError(f'model.frozen names {name!r}, and a {type(detector).__name__} can freeze {", ".join(there)}')
    if list(dict.fromkeys(value)) != there[:len(value)]:
        raise InputError(f'model.frozen = {list(value)}: what comes before a frozen part is frozen too, so give '
                         f'{" or ".join(str(there[:count + 1]) for count in range(len(there)))}')
    return tuple(value)


def freeze(detector: nn.Module, parts: Sequence[str]) -> None:
    """Take the gradient from the parameters of these parts."""
    for name in parts:
        getattr(detector, name).requires_grad_(False)


def keep_statistics(detector: nn.Module, parts: Sequence[str], everywhere: bool) -> None:
    """Put frozen parts, and with ``everywhere`` every batch norm, into eval mode: their statistics stay as they are."""
    for name in parts:
        getattr(detector, name).eval()
    if everywhere:
        for module in detector.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def same_parts(student: nn.Module, teacher: nn.Module, parts: Sequence[str]) -> bool:
    """Whether these parts have the same weights and statistics in both, so that one pass serves both."""
    for name in parts:
        mine, theirs = getattr(student, name).state_dict(), getattr(teacher, name).state_dict()
        if mine.keys() != theirs.keys():
            return False
        if not all(value.shape == theirs[key].shape and torch.equal(value, theirs[key]) for key, value in mine.items()):
            return False
    return True


@contextmanager
def one_pass(student: nn.Module, knowledge: Outputs, parts: Sequence[str]) -> Iterator[None]:
    """Let these parts of the student return what the teacher's made of the same batch, inside this context.

    Args:
        student: Its forward hooks see the outputs as always.
        knowledge: The teacher's outputs for the batch.
        parts: Frozen parts with the teacher's weights.
    """
    outputs = dict(backbone=lambda *_: tuple(knowledge.backbone_levels), neck=lambda *_: tuple(knowledge.neck_levels),
                   rpn_head=lambda *_: (list(knowledge.rpn_logits), list(knowledge.rpn_deltas)))
    with ExitStack() as stack:
        for name in parts:
            part = getattr(student, name)
            part.forward = outputs[name]  # the instance's, in front of the class's
            stack.callback(delattr, part, 'forward')
        yield
