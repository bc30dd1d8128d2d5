"""Files that are either complete or not there, and the latest checkpoint to resume from among them."""

import contextlib
import io
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import torch

from ..errors import InputError


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
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def save_atomically(content: dict, path: Path) -> None:
    """Save ``content`` by torch as :func:`write_atomically` does."""
    # Not straight to the file: torch's writer hides what the system says of a full disk.
    with io.BytesIO() as buffer:
        torch.save(content, buffer)
        write_atomically(buffer.getvalue(), path)


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


def latest_checkpoint(work_dir: str | Path) -> Optional[str]:
    """The checkpoint to resume a stopped run from.

    That is the one which MMEngine's ``last_checkpoint`` names, looked for in ``work_dir``, as the folder may have been moved or
    copied. Where it names none that is complete, the newest complete ``epoch_*.pth`` or ``iter_*.pth`` there, and last the one
    that it names elsewhere.

    Args:
        work_dir: Folder of the run.

    Returns:
        Its path, or ``None`` where there is none.
    """
    work_dir = Path(work_dir)
    found = sorted((path for path in work_dir.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+', path.stem)),
                   key=lambda path: (path.stat().st_mtime_ns, int(path.stem.rpartition('_')[2])), reverse=True)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        named = Path((work_dir / 'last_checkpoint').read_text().strip())
        found = [work_dir / named.name, *found, named]
    # Of what torch writes, a zip archive, the table of contents is the end.
    return next((str(path) for path in found if path.is_file() and zipfile.is_zipfile(path)), None)
