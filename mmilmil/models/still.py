"""Parts and stages of the student that stay as the teacher's are, and with that need no second pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import InputError

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


def still_modules(student: nn.Module, teacher: nn.Module) -> list[str]:
    """The largest modules of :data:`PARTS` that stand still in the student and are the teacher's: frozen parts and stages.

    Args:
        student: In training mode, as it is when a loss is computed.
        teacher: Its teacher's detector.

    Returns:
        Their names; none where nothing in them has a weight.
    """
    theirs = dict(teacher.named_modules())
    found = [name for part in PARTS if getattr(student, part, None) is not None
             for name in _still(part, getattr(student, part))
             if name in theirs and _same_weights(student.get_submodule(name), theirs[name])]
    return found if any(student.get_submodule(name).state_dict() for name in found) else []


def _still(name: str, module: nn.Module) -> Iterator[str]:
    trained = any(weight.requires_grad for weight in module.parameters())
    # In training mode a module may count, drop or draw; of these it is known that they do not.
    plain = isinstance(module, (nn.Conv2d, nn.ReLU, nn.MaxPool2d)) or not any(part.training for part in module.modules())
    if plain and not trained:
        yield name
        return
    for child, part in module.named_children():
        yield from _still(f'{name}.{child}', part)


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(
        value.shape == theirs[key].shape and torch.equal(value, theirs[key]) for key, value in mine.items())


@contextmanager
def computed_once(student: nn.Module, teacher: nn.Module, names: Sequence[str], inputs: Tensor) -> Iterator[None]:
    """From the batch on, what these modules of the teacher have made the student takes from them, inside this context.

    A module takes only what its own input has become there, the very same tensor. Behind one that is trained it computes, and
    so it does where another module has overwritten its output since.

    Args:
        student: Its forward hooks see the outputs as always.
        teacher: It is to see the batch before the student does; where it does not, nothing is shared.
        names: Of :func:`still_modules`.
        inputs: The batch, as both are given it.
    """
    reached: dict[int, list[int]] = {id(inputs): _versions(inputs)}
    with ExitStack() as stack:
        for name in names:
            made: dict[int, tuple[Any, Any]] = {}
            mine, theirs = student.get_submodule(name), teacher.get_submodule(name)
            stack.callback(theirs.register_forward_hook(_noting(made, reached)).remove)
            stack.callback(_put_back, mine, vars(mine).get('forward'))
            mine.forward = _taking(made, reached, mine.forward)  # the instance's, in front of the class's
        yield


def _put_back(module: nn.Module, forward: Optional[Callable]) -> None:
    """The ``forward`` that the instance had of its own, if it had one."""
    del module.forward
    if forward is not None:
        module.forward = forward


def _noting(made: dict[int, tuple[Any, Any]], reached: dict[int, list[int]]) -> Callable:
    def note(module: nn.Module, args: tuple, output: Any) -> None:
        if id(args[0]) in reached:
            made[id(args[0])] = args[0], output  # with the input, whose id nothing else can have as long as it is kept
            reached[id(output)] = _versions(output)
    return note


def _taking(made: dict[int, tuple[Any, Any]], reached: dict[int, list[int]], compute: Callable) -> Callable:
    def take(given: Any) -> Any:
        _, output = made.pop(id(given), (None, None))
        return output if output is not None and reached[id(output)] == _versions(output) else compute(given)
    return take


def _versions(value: Any) -> list[int]:
    """How often each tensor in it has been written to."""
    return [value._version] if isinstance(value, Tensor) else [version for part in value for version in _versions(part)]
