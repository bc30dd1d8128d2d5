"""Downloads from a server of the test's own: broken off, resumed, wrong, refused; and what is unpacked where."""

import contextlib
import hashlib
import io
import re
import socket
import struct
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from mmilmil import InputError
from mmilmil.data_tools import download as module
from mmilmil.data_tools.download import SETS, Archive, PublicSet, default_root, download, fetch, unpack

FOLDERS = ('JPEGImages', 'Annotations', 'ImageSets')
PREFIX = 'VOCdevkit/VOC2007'
FILES = {
    f'{PREFIX}/JPEGImages/a.jpg': b'picture' * 9000,
    f'{PREFIX}/Annotations/a.xml': b'<annotation/>',
    f'{PREFIX}/ImageSets/Main/train.txt': b'a\n',
    f'{PREFIX}/SegmentationClass/a.png': b'not wanted',
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')


@pytest.fixture
def server(monkeypatch):
    """A server with settings: ``files`` by path, ``ranges``, and ``break_after``: bytes of each answer, one an answer.

    With ``reset`` it breaks off by resetting the connection. ``requests`` are the Range headers that came in.
    """
    monkeypatch.setattr(module, '_PAUSE', 0)
    state = SimpleNamespace(files={}, ranges=True, break_after=[], reset=False, requests=[])

    class Handler(BaseHTTPRequestHandler):

        def do_GET(self):
            state.requests.append(self.headers.get('Range'))
            if self.path not in state.files:
                self.send_error(404)
                return
            content = state.files[self.path]
            asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range') or '')
            start = int(asked[1]) if asked and state.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
            self.send_header('Content-Length', str(len(content) - start))
            self.end_headers()
            end = start + state.break_after.pop(0) if state.break_after else len(content)
            self.wfile.write(content[start:end])
            if state.reset and end < len(content):
                time.sleep(0.2)  # for the client to take what was sent
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                self.connection.close()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        state.url = f'http://127.0.0.1:{http.server_port}'
        yield state
        http.shutdown()
        thread.join()


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def archive_of(content, url, folders=FOLDERS):
    return Archive(url, len(content), hashlib.md5(content).hexdigest(), len(content), folders)


@pytest.fixture
def served(server):
    """``server`` with one tar archive, as ``archive``."""
    server.content = tar_of(FILES)
    server.files['/set.tar'] = server.content
    server.archive = archive_of(server.content, f'{server.url}/set.tar')
    return server


@pytest.fixture
def public(served, monkeypatch):
    """``served`` as the set ``voc07``."""
    monkeypatch.setitem(SETS, 'voc07', PublicSet('MMILMIL_VOC_ROOT', 'data/VOCdevkit/VOC2007', PREFIX, (served.archive, )))
    return served


# Fetching


def test_fetch_whole(served, tmp_path):
    path = tmp_path / 'new' / 'set.tar'
    fetch(served.archive, path, '')
    assert path.read_bytes() == served.content
    assert served.requests == [None] and list(path.parent.iterdir()) == [path]


def test_broken_connections_are_made_again_from_where_they_stopped(served, tmp_path):
    served.break_after = [1000, 500]
    fetch(served.archive, tmp_path / 'set.tar', '')
    assert (tmp_path / 'set.tar').read_bytes() == served.content
    assert served.requests == [None, 'bytes=1000-', 'bytes=1500-']


def test_connection_that_is_reset(served, tmp_path):
    served.reset, served.break_after = True, [1000]
    fetch(served.archive, tmp_path / 'set.tar', '')
    assert (tmp_path / 'set.tar').read_bytes() == served.content
    assert served.requests == [None, 'bytes=1000-']


def test_a_later_run_goes_on_with_the_part(served, tmp_path):
    served.break_after = [1000, 0]
    with pytest.raises(InputError, match=rf'broke off after 1000 of {len(served.content)} bytes: run this again.*; by hand'):
        fetch(served.archive, tmp_path / 'set.tar', 'by hand')
    assert [path.name for path in tmp_path.iterdir()] == ['set.tar.part']
    served.requests.clear()
    fetch(served.archive, tmp_path / 'set.tar', '')
    assert served.requests == ['bytes=1000-']
    assert (tmp_path / 'set.tar').read_bytes() == served.content and not (tmp_path / 'set.tar.part').exists()


def test_complete_part_is_only_checked(served, tmp_path):
    (tmp_path / 'set.tar.part').write_bytes(served.content)
    fetch(served.archive, tmp_path / 'set.tar', '')
    assert (tmp_path / 'set.tar').is_file() and served.requests == []


def test_part_that_is_too_long_is_fetched_again(served, tmp_path):
    (tmp_path / 'set.tar.part').write_bytes(served.content + b'x')
    fetch(served.archive, tmp_path / 'set.tar', '')
    assert (tmp_path / 'set.tar').read_bytes() == served.content and served.requests == [None]


def test_server_without_range_starts_over(served, tmp_path):
    served.ranges = False
    (tmp_path / 'set.tar.part').write_bytes(b'x' * 1000)
    fetch(served.archive, tmp_path / 'set.tar', '')
    assert (tmp_path / 'set.tar').read_bytes() == served.content
    assert served.requests == ['bytes=1000-']


def test_server_without_range_that_always_breaks_off_ends(served, tmp_path):
    served.ranges = False
    served.break_after = [1000] * 5
    with pytest.raises(InputError, match='broke off after 1000 of'):
        fetch(served.archive, tmp_path / 'set.tar', '')
    assert len(served.requests) == 2


def test_wrong_checksum(served, tmp_path):
    served.files['/set.tar'] = wrong = b'x' * len(served.content)
    with pytest.raises(InputError) as caught:
        fetch(served.archive, tmp_path / 'set.tar', 'by hand')
    for part in (f'{served.url}/set.tar', hashlib.md5(wrong).hexdigest(), served.archive.md5, 'by hand'):
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())  # going on with it would never come right


def test_wrong_file_put_there_by_hand_is_told_and_left(served, tmp_path):
    (tmp_path / 'set.tar').write_bytes(b'mine')
    with pytest.raises(InputError, match=f'{tmp_path}/set.tar has the MD5 sum .*, not {served.archive.md5}: remove it'):
        fetch(served.archive, tmp_path / 'set.tar', '')
    assert (tmp_path / 'set.tar').read_bytes() == b'mine'


@pytest.mark.parametrize('have', [0, 100])
def test_a_file_of_another_size_is_not_fetched(served, tmp_path, have):
    served.files['/set.tar'] = b'<html>log in to the network</html>' * 10
    (tmp_path / 'set.tar.part').write_bytes(served.content[:have])
    key = 'Content-Range bytes 100-339/340' if have else 'Content-Length 340'
    with pytest.raises(InputError, match=f'answers with {key}, not '):
        fetch(served.archive, tmp_path / 'set.tar', '')
    assert (tmp_path / 'set.tar.part').read_bytes() == served.content[:have]


def test_missing_on_the_server(served, tmp_path):
    del served.files['/set.tar']
    with pytest.raises(InputError, match=r'cannot fetch http://.*/set.tar \(Not Found\): by hand'):
        fetch(served.archive, tmp_path / 'set.tar', 'by hand')


def free_port():
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


@pytest.mark.parametrize('have', [0, 100])
def test_connection_refused(served, tmp_path, have):
    archive = archive_of(served.content, f'http://127.0.0.1:{free_port()}/set.tar')
    (tmp_path / 'set.tar.part').write_bytes(served.content[:have])
    kept = '; 100 of .* stay' * bool(have)
    with pytest.raises(InputError, match=rf'cannot fetch .*Connection refused\){kept}: by hand'):
        fetch(archive, tmp_path / 'set.tar', 'by hand')
    assert (tmp_path / 'set.tar.part').read_bytes() == served.content[:have]


# Unpacking


def unpacked(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


@pytest.mark.parametrize('pack, name', [(tar_of, 'set.tar'), (zip_of, 'set.zip')])
def test_unpack_what_is_wanted(tmp_path, pack, name):
    (tmp_path / name).write_bytes(pack(FILES))
    root = tmp_path / 'root'
    unpack(tmp_path / name, root, PREFIX, FOLDERS)
    assert unpacked(root) == {path.removeprefix(f'{PREFIX}/'): content for path, content in FILES.items()
                              if 'Segmentation' not in path}
    stamps = {path: path.stat().st_ctime_ns for path in root.rglob('*.xml')}
    (root / 'JPEGImages/a.jpg').write_bytes(b'broken off')
    unpack(tmp_path / name, root, PREFIX, FOLDERS)
    assert (root / 'JPEGImages/a.jpg').read_bytes() == FILES[f'{PREFIX}/JPEGImages/a.jpg']
    assert {path: path.stat().st_ctime_ns for path in root.rglob('*.xml')} == stamps


def test_unpack_without_a_prefix(tmp_path):
    (tmp_path / 'set.zip').write_bytes(zip_of({'val2017/1.jpg': b'one', 'other/2.jpg': b'two'}))
    unpack(tmp_path / 'set.zip', tmp_path / 'root', '', ('val2017', ))
    assert unpacked(tmp_path / 'root') == {'val2017/1.jpg': b'one'}


@pytest.mark.parametrize('pack, name', [(tar_of, 'set.tar'), (zip_of, 'set.zip')])
@pytest.mark.parametrize('member', [f'{PREFIX}/JPEGImages/../../../../out.jpg', '/tmp/out.jpg', '../out.jpg'])
def test_nothing_leaves_the_folder(tmp_path, pack, name, member):
    (tmp_path / name).write_bytes(pack({member: b'bad'}))
    with pytest.raises(InputError, match='leads out of the folder'):
        unpack(tmp_path / name, tmp_path / 'a/b/root', PREFIX, FOLDERS)
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == [name]


def test_links_are_left_out(tmp_path):
    with tarfile.open(tmp_path / 'set.tar', 'w') as tar:
        link = tarfile.TarInfo(f'{PREFIX}/JPEGImages/link')
        link.type, link.linkname = tarfile.SYMTYPE, '../../../etc'
        tar.addfile(link)
    unpack(tmp_path / 'set.tar', tmp_path / 'root', PREFIX, FOLDERS)
    assert not (tmp_path / 'root').exists()


@pytest.mark.parametrize('name', ['set.tar', 'set.zip'])
def test_damaged_archive(tmp_path, name):
    (tmp_path / name).write_bytes(b'no archive at all')
    with pytest.raises(InputError, match=f'{name} cannot be unpacked'):
        unpack(tmp_path / name, tmp_path / 'root', PREFIX, FOLDERS)


# The whole


def test_download_is_done_once(public, tmp_path):
    root = tmp_path / 'VOC2007'
    assert download('voc07', root) == root
    assert {path.name for path in root.iterdir()} == {*FOLDERS, 'archives'}
    download('voc07', root)
    assert len(public.requests) == 1
    download('voc07', root, delete_archives=True)
    assert len(public.requests) == 1 and not (root / 'archives/set.tar').exists()
    download('voc07', root)
    assert len(public.requests) == 1
    (root / 'Annotations/a.xml').unlink()
    (root / 'Annotations').rmdir()
    download('voc07', root)
    assert len(public.requests) == 2 and (root / 'Annotations/a.xml').is_file()


def test_archive_put_there_by_hand(public, tmp_path):
    (tmp_path / 'archives').mkdir()
    (tmp_path / 'archives/set.tar').write_bytes(public.content)
    download('voc07', tmp_path)
    assert public.requests == [] and (tmp_path / 'JPEGImages/a.jpg').is_file()


def test_root_from_the_environment(public, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MMILMIL_VOC_ROOT', raising=False)
    assert default_root('voc07').as_posix() == 'data/VOCdevkit/VOC2007'
    monkeypatch.setenv('MMILMIL_VOC_ROOT', str(tmp_path / 'mine'))
    assert download('voc07') == tmp_path / 'mine'
    assert (tmp_path / 'mine/ImageSets/Main/train.txt').is_file()


def test_too_little_space(public, tmp_path, monkeypatch):
    needed = 2 * len(public.content)
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: SimpleNamespace(free=needed - 1))
    with pytest.raises(InputError, match=rf'{tmp_path} has 0.0 GB free, but .* GB are needed'):
        download('voc07', tmp_path / 'new')
    assert public.requests == [] and not list(tmp_path.iterdir())
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: SimpleNamespace(free=needed))
    download('voc07', tmp_path / 'new')
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: SimpleNamespace(free=0))
    download('voc07', tmp_path / 'new')  # nothing left to do


def test_folder_that_cannot_be_written(public, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=f'cannot write below {tmp_path}/file'):
        download('voc07', tmp_path / 'file')


def test_official_sets():
    for name, root, folders in (('voc07', 'data/VOCdevkit/VOC2007', FOLDERS),
                                ('coco17', 'data/coco', ('annotations', 'val2017', 'train2017'))):
        assert SETS[name].default == root and SETS[name].folders == folders
        assert all(re.fullmatch('[0-9a-f]{32}', archive.md5) and archive.url.endswith(archive.name)
                   for archive in SETS[name].archives)


def test_tool(public, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MMILMIL_VOC_ROOT', raising=False)
    done = tool('download_dataset.py', 'voc07')
    assert done.status == 0 and 'voc07 is in data/VOCdevkit/VOC2007' in done.out and 'export' not in done.out
    assert (tmp_path / 'data/VOCdevkit/VOC2007/JPEGImages/a.jpg').is_file()
    done = tool('download_dataset.py', 'voc07', '--root', 'other', '--delete-archives')
    assert f'export MMILMIL_VOC_ROOT={tmp_path}/other' in done.out
    assert [path.name for path in (tmp_path / 'other/archives').iterdir()] == ['set.tar.unpacked']


def test_tool_without_network(tool, tmp_path, monkeypatch):
    archives = tuple(Archive(f'http://127.0.0.1:{free_port()}/{name}', 1, '0' * 32, 1, FOLDERS) for name in ('one', 'two'))
    monkeypatch.setitem(SETS, 'voc07', PublicSet('MMILMIL_VOC_ROOT', 'data', PREFIX, archives))
    done = tool('download_dataset.py', 'voc07', '--root', tmp_path / 'voc')
    assert done.status == 1
    error = [line for line in done.err.splitlines() if line.startswith('error: ')]
    assert len(error) == 1 and 'Traceback' not in done.err
    for part in (archives[0].url, archives[1].url, f'{tmp_path}/voc/archives', ', '.join(FOLDERS)):
        assert part in error[0]
