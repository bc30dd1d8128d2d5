"""How one of several processes tells the one that started them all why it failed: by a file in a folder of that one."""

import os
from pathlib import Path
from typing import Optional

FOLDER = 'MMILMIL_FAILURES'
"""Environment variable: the folder, set by who wants to know (:mod:`mmilmil.engine.processes`)."""


def leave(message: str) -> bool:
    """Leave a message for the process that started this one.

    Args:
        message: One line.

    Returns:
        Whether it is kept; otherwise nobody asked for it, and it belongs on stderr.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return False
    try:
        # torchrun's name for the number of a process, then Slurm's.
        Path(folder, os.environ.get('RANK') or os.environ.get('SLURM_PROCID', '0')).write_text(message, encoding='utf-8')
    except OSError:
        return False
    return True


def another_failed() -> bool:
    """Whether another process has left a message: what this one meets now is most often that the other is gone."""
    folder = os.environ.get(FOLDER)
    return bool(folder) and Path(folder).is_dir() and any(Path(folder).iterdir())


def first(folder: Path) -> Optional[tuple[int, str]]:
    """The number of the process that left its message first, and the message; ``None`` where none did."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    return (int(files[0].name), files[0].read_text(encoding='utf-8')) if files else None
