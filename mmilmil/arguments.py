"""Checking what a command line gives, and telling a user's mistake in one line: all that needs no torch."""

import argparse
import contextlib
import errno
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, Union

from .errors import InputError

TRACEBACK = 'MMILMIL_TRACEBACK'
"""Environment variable: set to 1, a tool prints the traceback above its one line."""

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), 'free disk space and run this again, a training with --resume'),
    **dict.fromkeys((errno.EACCES, errno.EPERM), 'correct its permissions, or name another'),
    errno.EROFS: 'name a place that can be written to',
    errno.ENOENT: 'correct the path, or add what is missing',
    errno.ENOTDIR: 'a part of that path is a file, so name another',
    errno.EISDIR: 'name a file',
    errno.EEXIST: 'name another',
    errno.ENAMETOOLONG: 'give it a shorter name',
}


def fail(message: str, status: int, kind: str = 'error: ') -> NoReturn:
    """End the program with a line on stderr."""
    print(f'{kind}{message}', file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def told_in_a_line(fail: Callable[..., None] = fail, stopped: str = 'stopped by Ctrl-C') -> Iterator[None]:
    """Print an :class:`InputError` or what the system refuses (``OSError``) as one line on stderr and exit with status 1.

    Ctrl-C is told in a line too, with a shell's status 130; output that nobody reads any more (``| head``) ends the program
    with status 141 and no word. Every other exception is let through.

    Args:
        fail: Ends the program by message, status and what stands before the message.
        stopped: What Ctrl-C says.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # not when the interpreter is gone, who would tell a closed pipe in lines of its own
    except KeyboardInterrupt:
        fail(stopped, 128 + 2, '')
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)
    except (InputError, OSError) as error:
        if os.environ.get(TRACEBACK) == '1':
            traceback.print_exc()
        fail(one_line(error), 1)


def one_line(error: Exception) -> str:
    """The error in one line; of one that a data loader's process has raised, what it was there."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        where = ' and '.join(str(name) for name in (error.filename, error.filename2) if name is not None)
        remedy = _REMEDIES.get(error.errno)
        text = f'{where}{": " if where else ""}{error.strerror}{": " if remedy else ""}{remedy or ""}'
    elif text.startswith('Caught '):  # torch puts the whole traceback into the message, the error itself last
        kind = f'{type(error).__name__}: '
        text = text.rpartition(kind)[2]
    return ' '.join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__


def number(kind: type, low: float, high: float = math.inf) -> Callable[[str], Union[int, float]]:
    """A ``type`` for ``argparse``: a finite number from ``low`` to ``high``, both included."""
    limits = f'from {low:g} to {high:g}' if high < math.inf else f'of {low:g} or more'
    what = f'give a {"whole " if kind is int else ""}number {limits}'

    def read(text: str) -> Union[int, float]:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'{text!r}: {what}') from None
        if not math.isfinite(value) or not low <= value <= high:
            raise argparse.ArgumentTypeError(f'{text!r}: {what}')
        return value

    return read


def check_folder(path: Union[str, Path], option: str) -> Path:
    """A folder that a tool is to write into, which it may have to make: told before the work, not after it.

    Args:
        path: The folder.
        option: What names it, for the message, as ``--out``.

    Returns:
        The folder; nothing is made.

    Raises:
        InputError: it, or a folder above it, is a file or cannot be written to.
    """
    path = Path(path)
    try:
        above = next(parent for parent in (path, *path.absolute().parents) if parent.exists() or parent.is_symlink())
        is_folder = above.is_dir()
    except OSError as error:  # such as a name that is too long
        raise InputError(f'{option} {path} cannot be a folder: {one_line(error)}') from error
    if not is_folder:
        raise InputError(f'{option} {path} cannot be a folder: {above} is there and is none. Name another')
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f'{option} {path} cannot be written: {above} allows no new files. Name another, or correct its '
                         'permissions')
    return path


def check_file(path: Union[str, Path], option: str) -> Path:
    """A file that a tool is to write, whose folder it may have to make; see :func:`check_folder`."""
    path = Path(path)
    check_folder(path.parent, f'the folder of {option}')
    try:
        if path.is_dir():
            raise InputError(f'{option} {path} is a folder: name a file, such as {path / "out"}{path.suffix}')
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f'{option} {path} cannot be written: correct its permissions, or name another')
    except OSError as error:
        raise InputError(f'{option} {path} cannot be a file: {one_line(error)}') from error
    return path
