"""Hashes of files, and lists of them as ``sha256sum`` writes them, by which a file that was changed is told."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from .errors import InputError

CHECKSUMS = 'SHA256SUMS'
"""Name of a list."""

_CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """The SHA-256 sum of a file, 64 digits."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_checksums(files: Iterable[Path]) -> None:
    """Write the list of files beside them; in a shell ``sha256sum -c SHA256SUMS`` checks them.

    Args:
        files: At least one, all in one folder.
    """
    files = list(files)
    lines = ''.join(f'{sha256(path)}  {path.name}\n' for path in files)
    files[0].with_name(CHECKSUMS).write_text(lines, encoding='utf-8')


def check_unchanged(path: Path) -> None:
    """Stop at a file that is not what was written. One whose hash does not stand beside it passes.

    Raises:
        InputError: it was changed, or the list of hashes cannot be read.
    """
    listed = path.with_name(CHECKSUMS)
    if not listed.is_file():
        return
    try:
        lines = [line.split(maxsplit=1) for line in listed.read_text(encoding='utf-8').splitlines()]
        hashes = {name.lstrip('*'): digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise InputError(f'{listed} cannot be read ({error}): it has a SHA-256 and the name of a file in each line; export the '
                         'checkpoint again, or delete it to run what is there') from error
    if path.name in hashes and hashes[path.name] != sha256(path):
        raise InputError(f'{path} is not the file that was exported (its SHA-256 is another than in {listed}): it was changed '
                         'or copied in part; copy the folder or export the checkpoint again')
