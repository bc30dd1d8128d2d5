"""Values as the text of a config file, laid out as a person would."""

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
    if len(line) + before + indent <= WIDTH - 1:  # a comma may follow
        return line
    inner = indent + 4
    blanks = ' ' * inner
    if isinstance(value, Mapping):
        parts = [f'{key}={call(item, len(key) + 1, inner)}' for key, item in value.items()]
        opening, closing = 'dict(', ')'
    elif isinstance(value, (list, tuple)):
        parts = [call(item, 0, inner) for item in value]
        opening, closing = '[]' if isinstance(value, list) else '()'
    else:
        return line
    rows = _filled(parts, WIDTH - inner)
    return opening + ''.join(f'\n{blanks}{row}' for row in rows) + (',' if closing != ')' or opening == '(' else '') + closing


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """Parts in rows, each as full as it may be; one of several lines has its own."""
    rows: list[str] = []
    for index, part in enumerate(parts):
        text = part + (',' if index < len(parts) - 1 else '')
        alone = '\n' in part or rows and '\n' in rows[-1]
        if rows and not alone and len(rows[-1]) + 1 + len(text) < width:
            rows[-1] += f' {text}'
        else:
            rows.append(text)
    return rows


def _line(value: Any) -> str:
    if isinstance(value, Code):
        return value
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return f'dict({", ".join(f"{key}={_line(item)}" for key, item in value.items())})'
        return '{' + ', '.join(f'{key!r}: {_line(item)}' for key, item in value.items()) + '}'
    if isinstance(value, list):
        return f'[{", ".join(map(_line, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(_line, value))}{", " if len(value) == 1 else ""})'
    return repr(value)


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
