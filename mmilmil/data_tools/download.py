"""Fetches the public sets of the full-size configs, checks them and puts them where these configs look.

A download that broke off is resumed where it stopped, which an archive of 19 GB needs and neither torch.hub's download nor
MMEngine's HTTP backend does.
"""

import hashlib
import http.client
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import InputError
from ..progress_bar import progress_bar, tracked

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_PAUSE = 1.  # seconds before a broken connection is made again


@dataclass(frozen=True)
class Archive:
    """One file on a set's official server.

    Args:
        url: Its address.
        size: Bytes of the file.
        md5: Checksum of the file.
        unpacked: Bytes of its contents on disk, about.
        folders: Folders of the set that its contents go to.
    """

    url: str
    size: int
    md5: str
    unpacked: int
    folders: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rpartition('/')[2]


@dataclass(frozen=True)
class PublicSet:
    """A set and the place where the configs look for it.

    Args:
        variable: Environment variable that names its folder.
        default: Its folder where the variable is not set.
        prefix: Folder inside the archives whose contents make up the set.
        archives: What to fetch.
    """

    variable: str
    default: str
    prefix: str
    archives: tuple[Archive, ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the complete set."""
        return tuple(dict.fromkeys(folder for archive in self.archives for folder in archive.folders))


_VOC_URL = 'http://host.robots.ox.ac.uk/pascal/VOC/voc2007'
_VOC_FOLDERS = ('JPEGImages', 'Annotations', 'ImageSets')
_COCO_URL = 'http://images.cocodataset.org'
# Sizes are what the servers tell. VOC's sums are those in torchvision's datasets/voc.py. COCO publishes none; these are in
# PaddleDetection's ppdet/utils/download.py and agree with what many others measured.
SETS = {
    'voc07': PublicSet('MMILMIL_VOC_ROOT', 'data/VOCdevkit/VOC2007', 'VOCdevkit/VOC2007', (
        Archive(f'{_VOC_URL}/VOCtrainval_06-Nov-2007.tar', 460032000, 'c52e279531787c972589f7e41ab4ae64', 460000000,
                _VOC_FOLDERS),
        Archive(f'{_VOC_URL}/VOCtest_06-Nov-2007.tar', 451020800, 'b6e924de25625d8de591ea690078ad9f', 450000000,
                _VOC_FOLDERS),
    )),
    'coco17': PublicSet('MMILMIL_COCO_ROOT', 'data/coco', '', (
        Archive(f'{_COCO_URL}/annotations/annotations_trainval2017.zip', 252907541, 'f4bbac642086de4f52a3fdda2de5fa2c',
                850000000, ('annotations', )),
        Archive(f'{_COCO_URL}/zips/val2017.zip', 815585330, '442b8da7639aecaf257c1dceb8ba8c80', 830000000, ('val2017', )),
        Archive(f'{_COCO_URL}/zips/train2017.zip', 19336861798, 'cced6f7f71b7629ddf16f17bbcfab6b2', 19600000000,
                ('train2017', )),
    )),
}


def default_root(name: str) -> Path:
    """Folder of the set ``name``: where its configs look for it."""
    return Path(os.environ.get(SETS[name].variable, SETS[name].default))


def download(name: str, root: str | Path | None = None, delete_archives: bool = False) -> Path:
    """Fetch, check and unpack a set. What is there already, whole or in part, is not done again.

    Args:
        name: Key of :data:`SETS`.
        root: Folder of the set, by default :func:`default_root`. Archives go to ``archives`` in it.
        delete_archives: Remove each archive once it is unpacked.

    Returns:
        Folder of the set.

    Raises:
        InputError: no network, too little disk space, a file that cannot be written, or a wrong checksum; the message says
            what to do by hand.
    """
    public = SETS[name]
    root = Path(root or default_root(name))
    folder = root / 'archives'
    by_hand = (f'to do it by hand, get {" ".join(archive.url for archive in public.archives)} elsewhere, put the files into '
               f'{folder} and run this again, or unpack them so that {root} holds {", ".join(public.folders)}')
    try:
        _check_space(root, sum(_bytes_needed(archive, root) for archive in public.archives))
        for archive in public.archives:
            path = folder / archive.name
            if not _is_unpacked(archive, root):
                print(f'{archive.url} -> {root} ({archive.size / 1e6:.0f} MB)', flush=True)  # a log has no progress bar
                fetch(archive, path, by_hand)
                unpack(path, root, public.prefix, archive.folders)
                _mark(archive, root).touch()
            if delete_archives:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f'cannot write below {root}: {error}; free disk space or give another folder by --root, then run this '
                         'again: the download is resumed where it stopped') from error
    return root


def fetch(archive: Archive, path: Path, by_hand: str) -> None:
    """Download one archive to ``path``, by way of ``<path>.part``, and check it; a file at ``path`` is only checked.

    As long as the connection breaks off but brings something each time, it is made again.

    Raises:
        InputError: see :func:`download`. A download with a wrong checksum is removed.
        OSError: the file cannot be written.
    """
    if path.is_file():
        if found := _wrong_md5(archive, path):
            raise InputError(f'{path} has the MD5 sum {found}, not {archive.md5}: remove it and run this again; {by_hand}')
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    before = -1
    while (have := _size(part)) != archive.size:
        if have > archive.size:
            part.unlink()
            have = 0
        if have <= before:
            raise InputError(f'{archive.url} broke off after {have} of {archive.size} bytes: run this again, it is resumed '
                             f'from there; {by_hand}')
        if before >= 0:
            time.sleep(_PAUSE)
        before = have
        _fetch_more(archive, part, by_hand)
    if found := _wrong_md5(archive, part):
        part.unlink()
        raise InputError(f'{archive.url} came with the MD5 sum {found}, not {archive.md5}, and was removed: damaged on the '
                         f'way, or no longer the file it was. Run this again; {by_hand}')
    part.replace(path)


def unpack(path: Path, root: Path, prefix: str, folders: tuple[str, ...]) -> None:
    """Unpack a tar or zip archive; a file that is there with the right size is left as it is.

    Args:
        path: The archive.
        root: Folder to unpack into.
        prefix: Folder inside the archive that stands for ``root``.
        folders: Folders below ``prefix`` to unpack; the rest is left out.

    Raises:
        InputError: the archive is damaged, or one of its names leads out of ``root``.
        OSError: a file cannot be written.
    """
    try:
        (_unpack_zip if path.suffix == '.zip' else _unpack_tar)(path, root, _places(path, prefix, folders))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f'{path} cannot be unpacked ({type(error).__name__}: {error}): remove it and run this again'
                         ) from error


def _fetch_more(archive: Archive, part: Path, by_hand: str) -> None:
    """Add to ``part`` what one connection brings."""
    have = _size(part)
    request = urllib.request.Request(archive.url, headers={'User-Agent': 'mmilmil'})
    if have:
        request.add_header('Range', f'bytes={have}-')
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        kept = f'; {have} of {archive.size} bytes are there and stay' if have else ''
        raise InputError(f'cannot fetch {archive.url} ({getattr(error, "reason", None) or error}){kept}: {by_hand}') from error
    with response:
        if response.status == 206:
            key, right = 'Content-Range', f'bytes {have}-{archive.size - 1}/{archive.size}'
        else:  # this server cannot resume
            key, right, have = 'Content-Length', str(archive.size), 0
        if (told := response.headers.get(key, right)) != right:
            raise InputError(f'{archive.url} answers with {key} {told}, not {right}: not the file it was, or a page that a '
                             f'proxy put in its place; {by_hand}')
        with open(part, 'ab' if have else 'wb') as file, _bar(archive.name, archive.size, have) as bar:
            while chunk := _read(response):
                file.write(chunk)
                bar.update(len(chunk))


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; none at the end, be it the right one or not."""
    try:
        return response.read1(_CHUNK)  # what has come: `read` would lose the start of a chunk that breaks off
    except (OSError, http.client.HTTPException):
        return b''


def _wrong_md5(archive: Archive, path: Path) -> str | None:
    """The checksum of ``path`` where it is not the archive's."""
    md5 = hashlib.md5(usedforsecurity=False)
    with open(path, 'rb') as file, _bar(f'check {archive.name}', _size(path)) as bar:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            bar.update(len(chunk))
    return None if md5.hexdigest() == archive.md5 else md5.hexdigest()


def _bar(title: str, total: int, done: int = 0) -> AbstractContextManager:
    return progress_bar(title, total, 'B', done, unit_scale=True)


def _unpack_tar(path: Path, root: Path, place_of: Callable[[str], str | None]) -> None:
    with tarfile.open(path) as tar:
        for member in tracked(tar.getmembers(), f'unpack {path.name}', unit='file'):
            place = place_of(member.name)
            if place and member.isfile() and _size(root / place, -1) != member.size:
                _write(tar.extractfile(member), root / place)


def _unpack_zip(path: Path, root: Path, place_of: Callable[[str], str | None]) -> None:
    with zipfile.ZipFile(path) as file:
        for member in tracked(file.infolist(), f'unpack {path.name}', unit='file'):
            place = place_of(member.filename)
            if place and not member.is_dir() and _size(root / place, -1) != member.file_size:
                _write(file.open(member), root / place)


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, open(path, 'wb') as file:
        shutil.copyfileobj(content, file)


def _places(path: Path, prefix: str, folders: tuple[str, ...]) -> Callable[[str], str | None]:
    """From a name in the archive ``path`` to its place below the root; None for what is left out."""
    start = PurePosixPath(prefix).parts

    def place_of(name: str) -> str | None:
        parts = PurePosixPath(name.replace('\\', '/')).parts
        if '..' in parts or parts[:1] == ('/', ):
            raise InputError(f'{path} holds {name!r}, which leads out of the folder to unpack into: not the official archive, '
                             'remove it')
        inside = parts[len(start):]
        return '/'.join(inside) if parts[:len(start)] == start and inside[:1] and inside[0] in folders else None

    return place_of


def _bytes_needed(archive: Archive, root: Path) -> int:
    """Disk space that an archive still takes; none where it has come: how much of it is unpacked is not known."""
    path = root / 'archives' / archive.name
    if path.is_file() or _is_unpacked(archive, root):
        return 0
    return max(archive.size - _size(_part(path)), 0) + archive.unpacked


def _check_space(root: Path, needed: int) -> None:
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(f'{there} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are needed for archives and '
                         'contents: free disk space, or give a folder on another disk by --root')


def _is_unpacked(archive: Archive, root: Path) -> bool:
    return _mark(archive, root).is_file() and all((root / folder).is_dir() for folder in archive.folders)


def _mark(archive: Archive, root: Path) -> Path:
    """An empty file that says that the archive is unpacked, as the archive itself may be gone."""
    return root / 'archives' / f'{archive.name}.unpacked'


def _part(path: Path) -> Path:
    return path.with_name(f'{path.name}.part')


def _size(path: Path, missing: int = 0) -> int:
    return path.stat().st_size if path.is_file() else missing
