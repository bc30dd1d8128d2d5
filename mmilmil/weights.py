"""Weights that a config names by URL: where they are kept, and how they are known to be the right ones."""

import contextlib
import http.client
import os
import re
import socket
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlparse

import torch
from filelock import FileLock
from mmengine.logging import print_log

from .checksums import sha256
from .errors import InputError

FOLDER_VARIABLE = 'MMILMIL_WEIGHTS'
"""Environment variable that names a folder of weights by file name, taken as they are."""

_TIMEOUT = 60.  # seconds without a byte
_CHUNK = 1 << 20
# As torch.hub and OpenMMLab name files: the first digits of the SHA-256 sum before the ending. Eight digits that are a date
# are none.
_HASH = re.compile(r'-(?!(?:19|20)\d{6}\.)([0-9a-f]{8,64})\.\w+$')


def is_url(path: str) -> bool:
    """Whether a checkpoint is named by its URL (``http://`` or ``https://``), not by a path."""
    return str(path).startswith(('http://', 'https://'))


def may_exist(path: str) -> bool:
    """Whether a checkpoint is there, as far as that is known without fetching it."""
    return is_url(path) or Path(path).is_file()


def local_file(url: str) -> Path:
    """The file of these weights on this machine, downloaded where it is not there yet.

    It is looked for in the folder that ``MMILMIL_WEIGHTS`` names, whose files are the user's own and taken as they are; then
    in torch's cache, ``checkpoints`` in ``torch.hub.get_dir()``, where downloads go. Where the file's name holds its SHA-256
    sum (``resnet50-0676ba61.pth``), a file in the cache is checked by it, each time. A name without one, as OpenMMLab's of
    RTMDet's backbones, is told as it is downloaded: what comes is taken as it is. Of several processes one downloads.

    Args:
        url: Where the file is published.

    Raises:
        InputError: no network, no such file, or a wrong checksum; the message names the URL, the file and its folder.
    """
    name = Path(urlparse(url).path).name
    if not name:
        raise InputError(f'the URL {url} names no file: give that of a .pth file')
    own = os.environ.get(FOLDER_VARIABLE)
    if own:
        if not Path(own).is_dir():
            raise InputError(f'{FOLDER_VARIABLE}={own} is no folder: name one that holds {name}, or unset it')
        if (path := Path(own) / name).is_file():
            print_log(f'{url}: taken from {path} ({FOLDER_VARIABLE})', logger='current')
            return path
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    by_hand = (f'get {name} elsewhere and put it into {path.parent}, or into a folder of your own that {FOLDER_VARIABLE} '
               'names, and run this again')
    if not path.is_file():
        _download(url, path, by_hand)
    wanted = _HASH.search(name)
    if wanted:
        status = path.stat()
        found = _known_sha256(path, status.st_size, status.st_mtime_ns)
        if not found.startswith(wanted[1]):
            raise InputError(f'{path} has the SHA-256 sum {found[:len(wanted[1])]}..., not {wanted[1]} as the file of {url}: '
                             f'it is damaged, cut off or another one. Remove it and run this again, or {by_hand}')
    return path


def _download(url: str, path: Path, by_hand: str) -> None:
    wanted = _HASH.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{path}.lock'), _timeout():
            if path.is_file():  # another process was first
                return
            print_log(f'{url} -> {path}', logger='current')
            torch.hub.download_url_to_file(url, str(path), wanted and wanted[1], progress=sys.stderr.isatty())
            if not wanted:
                print_log(f'{path.name} has no SHA-256 sum in its name, so it is taken as it came', logger='current')
    except RuntimeError as error:  # torch's word for another checksum
        raise InputError(f'{url} did not come as the file with the SHA-256 sum {wanted[1]}: it was cut off, or is a page that '
                         f'a proxy put in its place, and is not kept. Run this again, or {by_hand}') from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, 'reason', None) or error
        raise InputError(f'{url} cannot be fetched to {path} ({" ".join(str(reason).split())}): {by_hand}') from error


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    """Give up on a silent server, which torch's download waits for without end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@lru_cache
def _known_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """The sum of a file that has not changed since; VGG16's is asked for twice and has half a gigabyte."""
    return sha256(path)
