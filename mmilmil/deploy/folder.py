"""A folder that is written whole, or not at all."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..runtime.detector import INT8_FILE, MODEL_FILE
from .report import REPORT

OURS = {MODEL_FILE, INT8_FILE, f'{REPORT}.json', f'{REPORT}.md'}
"""What an exported folder holds."""


def check_replaceable(out: Path, option: str) -> None:
    """Stop where a folder holds what an export does not write.

    Raises:
        InputError: names it.
    """
    others = sorted(path.name for path in out.iterdir() if path.name not in OURS) if out.is_dir() else []
    if others:
        raise InputError(f'{option} {out} holds other files, such as {others[0]}: name a new folder, or that of an earlier '
                         'export')


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``out`` at the end, in the place of an earlier one.

    Where the block raises, ``out`` is as it was before.
    """
    out = out.absolute()
    made = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Beside it, as a rename is atomic only within one file system.
        with tempfile.TemporaryDirectory(prefix=f'.{out.name}-', dir=out.parent) as work:
            new, old = Path(work) / 'new', Path(work) / 'old'
            new.mkdir()
            yield new
            if out.exists():
                out.rename(old)
            new.rename(out)
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
