"""A file that is either complete or as it was before."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from .errors import InputError


def write_atomically(content: bytes, path: Path) -> None:
    """Write a file so that ``path`` is, at every moment, either complete or as it was before.

    Args:
        content: What to write.
        path: The file; what is written on the way lies beside it, as ``<name>.part``.

    Raises:
        InputError: the disk is full or cannot be written; ``path`` is as it was before.
    """
    draft = path.with_name(f'{path.name}.part')
    with disk_errors(path, len(content)):
        try:
            with open(draft, 'wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else a power failure could keep the new name and lose the content
            os.replace(draft, path)
        except BaseException:  # Ctrl-C too
            draft.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def disk_errors(path: Path, size: Optional[int] = None) -> Iterator[None]:
    """Tell a disk that cannot be written as a user's error.

    Args:
        path: The file to write, for the message.
        size: Its size in bytes, where that is known.
    """
    try:
        yield
    except OSError as error:
        needed = '' if size is None else f'it needs {_megabytes(size)}, '
        free = _megabytes(shutil.disk_usage(path.parent).free)
        raise InputError(f'{path} cannot be written ({error.strerror}): {needed}{free} are free there. What was saved before '
                         'is untouched: free disk space, or correct quota and permissions, and run this again, a training '
                         'with --resume') from error


def _megabytes(size: int) -> str:
    return f'{size / 1e6:.1f} MB'
