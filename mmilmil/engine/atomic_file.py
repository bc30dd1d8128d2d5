"""Checkpoints that are either complete or not there, and the latest to resume from among them."""

import contextlib
import io
import re
import zipfile
from pathlib import Path
from typing import Optional

import torch

from ..atomic_write import write_atomically


def save_atomically(content: dict, path: Path) -> None:
    """Save ``content`` by torch as :func:`~mmilmil.atomic_write.write_atomically` does."""
    # Not straight to the file: torch's writer hides what the system says of a full disk.
    with io.BytesIO() as buffer:
        torch.save(content, buffer)
        write_atomically(buffer.getvalue(), path)


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
