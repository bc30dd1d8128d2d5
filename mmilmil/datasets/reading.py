"""One rule for each kind of value in annotation files, shared by the VOC and the COCO reader.

A value is read by its rule or refused with file, place, value and remedy; nothing is guessed. The rules are told to users in
``docs/own_data.md``.
"""

import json
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn, Protocol

from mmengine.fileio import get

from ..errors import InputError

_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?', re.ASCII)
_INTEGER = re.compile(r'-?\d{1,18}', re.ASCII)
_LARGEST = 2**53  # from here on floats leave integers out
_FLAGS = {'0': 0, '0.0': 0, 'false': 0, '1': 1, '1.0': 1, 'true': 1}
NAME_AS_READ = 'class name read as text without what is blank around it'
LIKE_SHARES = 'box between 0 and 1, as if normalised to the size of the image: coordinates must be pixels'


class Tell(Protocol):
    """Where a reader tells what it finds; each thing has a kind, a few words that many things share, and a text."""

    def error(self, kind: str, text: object) -> None:
        """A mistake; the reader leaves out the entry that has it if this returns."""

    def note(self, kind: str, text: object) -> None:
        """Something that was read by a rule that a user may not expect."""


class StopAtFirst:
    """Raises at the first mistake and counts notes by kind: for training and for tools that write files.

    Attributes:
        notes: Number of notes by kind.
    """

    def __init__(self) -> None:
        self.notes: Counter[str] = Counter()

    def error(self, kind: str, text: object) -> NoReturn:
        """Raise the mistake as an :class:`InputError`."""
        raise text if isinstance(text, InputError) else InputError(str(text))

    def note(self, kind: str, text: object) -> None:
        """Count a note."""
        self.notes[kind] += 1

    def lines(self) -> list[str]:
        """The notes to print."""
        return [f'{kind} ({count})' for kind, count in self.notes.items()]


def read_bytes(path: str, backend_args: dict | None, absent: str) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        backend_args: As in MMDetection's datasets.
        absent: What to say where there is no such file.

    Raises:
        InputError: the file does not exist or cannot be read.
    """
    try:
        return get(path, backend_args=backend_args)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(absent) from None
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}): give a file that can be') from None


def decode(data: bytes, path: str) -> str:
    """Text in UTF-8, or in UTF-16 or UTF-32, with or without a byte order mark (as JSON's own readers take it).

    Raises:
        InputError: the bytes are of none of these.
    """
    return decode_as(data, json.detect_encoding(data), path, 'save it as UTF-8')


def decode_as(data: bytes, encoding: str, path: str, remedy: str) -> str:
    """Text in a given encoding, without its byte order mark.

    Raises:
        InputError: the bytes are not of this encoding.
    """
    try:
        return data.decode(encoding).removeprefix('\ufeff')
    except UnicodeError as error:
        place = f' at byte {error.start}' if isinstance(error, UnicodeDecodeError) else ''
        raise InputError(f'{path} is not a text file in {encoding.removesuffix("-sig").upper()} '
                         f'({getattr(error, "reason", error)}{place}): {remedy}') from None


def text_lines(text: str) -> list[str]:
    """Lines without blanks around them, empty ones left out; ends of lines as Unix, Windows or old Macs write them."""
    return [line.strip() for line in re.split('\r\n?|\n', text) if line.strip()]


def plain_path(name: str) -> str:
    """A path without ``./``, ``//`` and what ``..`` takes back, so that a file has one name; a URL stays as it is."""
    return name if '://' in name else posixpath.normpath(name)


def read_names(path: str) -> list[str]:
    """Class names from a file with one a line.

    Args:
        path: Text as :func:`decode` takes it.

    Raises:
        InputError: the file cannot be read, or a line is no class name.
    """
    text = decode(read_bytes(str(path), None, f'no file {path}: give a file with one class name a line'), str(path))
    try:
        return [class_name(line) for line in text_lines(text)]
    except InputError as error:
        raise InputError(f'{path}: {error}') from None


def class_name(value: object) -> str:
    """A class name: text without the blanks, tabs and line breaks around it; an integer counts as its digits.

    Raises:
        InputError: no text, empty, or with a control character such as a line break inside.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f'the class name is {value!r}, not a text; write it in quotes')
    name = value.strip()
    if not name:
        raise InputError('the class name is empty; give one')
    if has_control(name):
        raise InputError(f'the class name {name!r} has a line break, tab or other control character inside; take it out')
    return name


def has_control(text: str) -> bool:
    """Whether a text has characters that no name can hold: control characters, and halves of a surrogate pair."""
    return any(unicodedata.category(char) in ('Cc', 'Cs', 'Zl', 'Zp') for char in text)


def number(value: object) -> int | float | None:
    """A number, or text that is one in decimal figures; None for everything else: true, false, NaN, what no pixel can be."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
        value = int(value) if value.is_integer() else value
    # Neither a bool, which is an int, nor NaN or infinity.
    return value if type(value) in (int, float) and abs(value) < _LARGEST else None


def is_share(box: Sequence[int | float]) -> bool:
    """Whether a box stands in shares of its image's size: within a pixel of the corner, and not in whole pixels."""
    return all(0 <= value <= 1 for value in box) and any(value != int(value) for value in box)


def identity(value: object, what: str) -> int | str:
    """An id: an integer, written as 1, 1.0, "1" or "001", or any other text.

    Args:
        value: The value.
        what: What it is called, for the message.

    Raises:
        InputError: null, true, false, a fraction, or an empty text.
    """
    if type(value) is int:
        return value
    if isinstance(value, str) and value.strip():
        return int(value) if _INTEGER.fullmatch(value.strip()) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise InputError(f'{what} is {value!r}, which is no id; give an integer or a text')


def flag(value: object, what: str) -> int:
    """0 or 1: these numbers, true or false, the same as text, and null for 0.

    Args:
        value: The value.
        what: What it is called, for the message.

    Raises:
        InputError: anything else.
    """
    if value is None or type(value) is int and value in (0, 1):
        return value or 0
    known = _FLAGS.get(str(value).strip().lower())
    if known is None or not isinstance(value, (bool, int, float, str)):
        raise InputError(f'{what} is {value!r}; give 0 or 1')
    return known


def shortened(value: object, length: int = 200) -> str:
    """A value as code, cut off where it is long, for a message."""
    text = repr(value)
    return text if len(text) <= length else f'{text[:length]}...'
