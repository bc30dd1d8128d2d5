"""Checks of what a user sets in the model: told with the setting's name before anything is trained."""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..config import building_error, told
from ..errors import InputError


def check_names(given: Mapping, known: Iterable[str], where: str, former: Mapping[str, str] = MappingProxyType({})) -> None:
    """Every key is a setting.

    Args:
        given: Settings, without ``type``.
        known: Names that are settings.
        where: What they belong to, for the message, as ``model.merging``.
        former: By a name that a setting had once, its name of now.

    Raises:
        InputError: names the unknown key and the nearest one.
    """
    known = list(known)
    for name in given:
        if name in former:
            raise InputError(f'{where} has no setting {name} any more: it is called {former[name]} now')
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f'did you mean {near[0]}? It' if near else 'it'
            raise InputError(f'{where} has no setting {name}: {hint} has {", ".join(known)}')


def settings_of(kind: Callable) -> list[str]:
    """Names of the arguments that a class is built with."""
    return [name for name, parameter in inspect.signature(kind).parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)]


def check_number(value: Any, where: str, low: float, high: float = math.inf, whole: bool = False) -> None:
    """A finite number in [low, high].

    Raises:
        InputError: names the setting, the value and the range.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or not low <= value <= high:
        limits = f'from {low:g} to {high:g}' if high < math.inf else f'of {low:g} or more'
        raise InputError(f'{where} = {value!r}: give a {"whole " if whole else ""}number {limits}')


def check_switch(value: Any, where: str) -> bool:
    """True or False, and nothing that only passes for one.

    Raises:
        InputError: names the setting and the value.
    """
    if not isinstance(value, bool):
        raise InputError(f'{where} = {value!r}: give True or False')
    return value


def check_indices(values: Any, where: str) -> tuple[int, ...]:
    """A list of whole numbers, none of them twice.

    Returns:
        The list as a tuple.

    Raises:
        InputError: names the setting and the value.
    """
    listed = isinstance(values, (list, tuple)) and all(type(value) is int for value in values)
    if listed and len(set(values)) == len(values):
        return tuple(values)
    raise InputError(f'{where} = {values!r}: give a list of different whole numbers, such as [0, 1]')


def built(build: Callable, cfg: Any, where: str) -> Any:
    """What ``build`` makes of ``cfg``.

    Raises:
        InputError: it names no module, or one that does not take these settings.
    """
    try:
        return build(cfg)
    except InputError:
        raise
    except Exception as error:  # a constructor can fail in any way
        raise InputError(f'{where} cannot be built: {building_error(error) or told(error)}') from error
