"""The file that gets what the tools of a stage write."""

from contextlib import suppress
from pathlib import Path

LOG_FILE = 'output.log'
"""In a stage's work dir: what its tools wrote, all calls one after the other."""

_TAIL = 15  # lines


def log_size(log: Path) -> int:
    """Bytes that are there, 0 of no file; its folder is made."""
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.stat().st_size if log.is_file() else 0


def end_of_log(log: Path, begin: int = 0) -> str:
    """The last lines of what was written behind a byte, each in a line below a message; empty where there is no log."""
    with suppress(OSError), open(log, 'rb') as file:
        file.seek(begin)
        lines = file.read().decode('utf-8', errors='replace').splitlines()[-_TAIL:]
        return ''.join(f'\n    {line}' for line in [f'the end of {log}:', *lines])
    return ''
