"""Values as the text of a config file, laid out as a person would."""

import keyword
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 120


class Code(str):
    """Text that stands in a config as it is, such as the name of a variable."""


def comment(text: str) -> str:
    """A text as lines of comment."""
    return textwrap.fill(text[0].upper() + text[1:], WIDTH, initial_indent='# ', subsequent_indent='# ',
                         break_long_words=False, break_on_hyphens=False)


def statement(name: str, value: Any) -> str:
    """``name = value``, over several lines where one is too short."""
    return f'{name} = {call(value, len(name) + 3)}'


def call(value: Any, before: int = 0, indent: int = 0) -> str:
    """A value as code.

    Args:
        value: Dicts with texts for keys, lists and tuples of values, and what ``repr`` tells.
        before: Characters before it in its first line.
        indent: Blanks before that line.
    """
    line = _line(value)
    if len(line) + before + indent < WIDTH or not isinstance(value, (Mapping, list, tuple)):  # a comma may follow
        return line
    inner = indent + 4
    blanks = ' ' * inner
    if isinstance(value, Mapping) and _as_arguments(value):
        parts = [f'{key}={call(item, len(key) + 1, inner)}' for key, item in _type_first(value)]
        rows = _filled(parts, WIDTH - inner)
        return 'dict(' + ','.join(f'\n{blanks}{row}' for row in rows) + ')'
    if isinstance(value, Mapping):
        opening, closing = '{}'
        rows = [f'{key!r}: {call(item, len(repr(key)) + 2, inner)}' for key, item in value.items()]
    else:
        opening, closing = '[]' if isinstance(value, list) else '()'
        rows = [call(item, 0, inner) for item in value]
    return opening + ''.join(f'\n{blanks}{row},' for row in rows) + f'\n{" " * indent}{closing}'


def _as_arguments(value: Mapping) -> bool:
    return all(isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) for key in value)


def _type_first(value: Mapping) -> list[tuple[str, Any]]:
    return sorted(value.items(), key=lambda item: item[0] != 'type')


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """Parts in rows with commas between them, each as full as it may be; one of several lines has its own."""
    rows: list[str] = []
    for part in parts:
        if rows and '\n' not in rows[-1] + part and len(rows[-1]) + len(part) + 3 < width:
            rows[-1] += f', {part}'
        else:
            rows.append(part)
    return rows


def _line(value: Any) -> str:
    if isinstance(value, Code):
        return value
    if isinstance(value, Mapping):
        if _as_arguments(value):
            return f'dict({", ".join(f"{key}={_line(item)}" for key, item in _type_first(value))})'
        return '{' + ', '.join(f'{key!r}: {_line(item)}' for key, item in value.items()) + '}'
    if isinstance(value, list):
        return f'[{", ".join(map(_line, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(_line, value))}{", " if len(value) == 1 else ""})'
    return repr(value) if not isinstance(value, float) or math.isfinite(value) else f"float('{value}')"


def tuple_of_names(name: str, values: Sequence[str]) -> str:
    """``name = ('one', 'two')``, with as many names in a line as it holds."""
    if len(values) == 1:
        return f'{name} = ({values[0]!r}, )'
    first = f'{name} = ('
    lines, line = [], first
    for index, value in enumerate(values):
        item = f'{value!r}' + (', ' if index < len(values) - 1 else ')')
        if len(line + item) > WIDTH:
            lines.append(line.rstrip())
            line = ' ' * len(first)
        line += item
    return '\n'.join([*lines, line])
