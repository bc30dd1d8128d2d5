"""A folder that is written whole, or not at all."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from ..arguments import check_folder, one_line
from ..checksums import CHECKSUMS
from ..errors import InputError
from ..runtime.detector import INT8_FILE, MODEL_FILE
from .report import REPORT

OURS = {MODEL_FILE, INT8_FILE, CHECKSUMS, f'{REPORT}.json', f'{REPORT}.md'}
"""What an exported folder holds."""


def check_replaceable(out: Path, option: str) -> None:
    """Stop where another folder cannot be put into the place of this one, or where it holds what an export does not write.

    Raises:
        InputError: names it.
    """
    real = out.resolve()
    if real == Path.cwd():
        raise InputError(f'{option} {out} is the working directory, and an export replaces its whole folder: name another, '
                         f'such as {out / "onnx"}')
    if os.path.ismount(real):
        raise InputError(f'{option} {out} is a mount point, and an export replaces its whole folder: name one in it, such as '
                         f'{out / "onnx"}')
    check_folder(real.parent, f'the folder of {option}')
    others = sorted(path.name for path in real.iterdir() if path.name not in OURS) if real.is_dir() else []
    if others:
        raise InputError(f'{option} {out} holds other files, such as {others[0]}: name a new folder, or that of an earlier '
                         'export')


@contextlib.contextmanager
def whole_folder(out: Path, option: str) -> Iterator[Path]:
    """A folder to write into, which becomes ``out`` at the end, in the place of an earlier one; a link to one stays a link.

    Where the block raises, or the process is interrupted or terminated, ``out`` is as it was before.

    Args:
        out: The folder.
        option: What names it, for messages, as ``--out``.

    Raises:
        InputError: ``out`` cannot be replaced, at the start or by what came into it since; see :func:`check_replaceable`.
    """
    check_replaceable(out, option)
    given, out = out, out.resolve()
    made = [folder for folder in out.parents if not folder.exists()]
    with _terminated_as_interrupted():
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            # Beside it, as a rename is atomic only within one file system.
            work = Path(tempfile.mkdtemp(prefix=f'.{out.name}-', dir=out.parent))
            new, old = work / 'new', work / 'old'
            try:
                new.mkdir()
                yield new
                check_replaceable(given, option)
                _replace(out, new, old, option)
            except BaseException:
                if _is_half_done(new, old):
                    _put_back(out, old, option)
                raise
            finally:
                if not _is_half_done(new, old):
                    shutil.rmtree(work, ignore_errors=True)
        except BaseException:
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise


def _replace(out: Path, new: Path, old: Path, option: str) -> None:
    try:
        if out.exists():
            out.rename(old)
        new.rename(out)
    except OSError as error:
        raise InputError(f'{option} {out} cannot be replaced ({one_line(error)}): name another folder') from error


def _is_half_done(new: Path, old: Path) -> bool:
    """Whether the earlier folder is away and the new one not in its place."""
    return old.exists() and new.exists()


def _put_back(out: Path, old: Path, option: str) -> None:
    try:
        old.rename(out)
    except OSError as error:
        raise InputError(f'{option} {out} cannot be replaced, nor put back ({one_line(error)}): the earlier export is {old} '
                         'now, move it') from error


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the process by an exception, so that what is half done is taken back."""
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: it was set outside Python
