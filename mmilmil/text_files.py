"""Writing several text files that belong together, or none of them."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import InputError


def write_all(files: Mapping[Path, str], check: Callable[[], None] = lambda: None) -> None:
    """Write files; where that fails, everything is as it was before.

    Args:
        files: Content by path. Folders are made where they lack.
        check: Called when all are written; what it raises undoes that.

    Raises:
        InputError: a file cannot be written.
    """
    undo: list[Callable[[], object]] = []
    try:
        for path, text in files.items():
            try:
                for folder in reversed([folder for folder in path.parents if not folder.exists()]):
                    folder.mkdir()
                    undo.append(folder.rmdir)
                before = path.read_bytes() if path.exists() else None
                undo.append(path.unlink if before is None else lambda path=path, before=before: path.write_bytes(before))
                path.write_text(text, encoding='utf-8')
            except OSError as error:
                raise InputError(f'{path} cannot be written ({error.strerror}), so nothing is: correct the folder or its '
                                 'permissions, or free disk space') from None
        check()
    except BaseException:
        for step in reversed(undo):
            with contextlib.suppress(OSError):  # what could not be made cannot be taken away
                step()
        raise
