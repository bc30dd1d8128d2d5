"""Weights by URL: fetched once, checked, taken from a folder of one's own, and every failure one line."""

import hashlib
import io
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmilmil import InputError
from mmilmil.checkpoint import load_checkpoint_file
from mmilmil.weights import is_url, local_file


def content(value: float = 1.) -> bytes:
    buffer = io.BytesIO()
    torch.save({'weight': torch.full((2, 3), value), 'bias': torch.zeros(2)}, buffer)
    return buffer.getvalue()


RIGHT = content()
NAME = f'net-{hashlib.sha256(RIGHT).hexdigest()[:8]}.pth'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch's, and no folder of one's own."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.delenv('MMILMIL_WEIGHTS', raising=False)
    return tmp_path / 'torch/hub/checkpoints'


@pytest.fixture
def server():
    """A web server: ``files`` by name, the names that were ``asked`` for, and its ``url``."""
    state = SimpleNamespace(files={NAME: RIGHT}, asked=[], cut=0)

    class Handler(BaseHTTPRequestHandler):

        def do_GET(self):
            name = self.path.rpartition('/')[2].partition('?')[0]
            state.asked.append(name)
            if name not in state.files:
                self.send_error(404)
                return
            body = state.files[name]
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body[:len(body) - state.cut])

        def log_message(self, *args):
            pass

    web = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=web.serve_forever, args=(0.01, ), daemon=True).start()
    state.url = f'http://127.0.0.1:{web.server_port}/models'
    yield state
    web.shutdown()
    web.server_close()


def test_fetched_once_by_threads_that_ask_at_once(cache, server):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(local_file, [f'{server.url}/{NAME}?x=1'] * 4))
    assert paths == {cache / NAME} and server.asked == [NAME]
    assert load_checkpoint_file(f'{server.url}/{NAME}')['state_dict']['weight'].tolist() == [[1.] * 3] * 2
    assert server.asked == [NAME] and (cache / NAME).read_bytes() == RIGHT
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize('scheme', ['http', 'torchvision', 'open-mmlab'])
def test_every_way_to_name_weights_goes_there(cache, server, monkeypatch, scheme):
    """MMEngine's own schemes too; torchvision is not installed."""
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    url = f'{server.url}/{NAME}'
    name = {'http': url, 'torchvision': 'torchvision://resnet50', 'open-mmlab': 'open-mmlab://net'}[scheme]
    monkeypatch.setattr('mmengine.load', lambda path: dict(resnet50=url))
    monkeypatch.setattr('mmengine.runner.checkpoint.get_external_models', lambda: dict(net=url))

    class Net(BaseModule):

        def __init__(self):
            super().__init__(dict(type='Pretrained', checkpoint=name))
            self.layer = nn.Linear(3, 2)
            self.weight, self.bias = self.layer.weight, self.layer.bias

    net = Net()
    net.init_weights()
    assert net.weight.eq(1).all() and server.asked == [NAME]


def test_torchvisions_names_without_torchvision(cache, monkeypatch):
    monkeypatch.setattr('mmilmil.compat.load_from_http', lambda url, location: url)
    load = CheckpointLoader.load_checkpoint
    assert load('torchvision://vgg16') == 'https://download.pytorch.org/models/vgg16-397923af.pth'
    with pytest.raises(InputError, match='torchvision://vgg99 is not among .*, vgg16, .*https://download.pytorch.org/models'):
        load('torchvision://vgg99')


def told(error, cache, url, name=NAME):
    """One line with the URL, the file and the folders to put it into."""
    message = str(error.value)
    assert '\n' not in message
    assert all(part in message for part in (url, f'get {name} elsewhere', f'put it into {cache}', 'MMILMIL_WEIGHTS'))
    return message


def test_no_network(cache):
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))  # and does not listen
        url = f'http://127.0.0.1:{unused.getsockname()[1]}/{NAME}'
        with pytest.raises(InputError) as error:
            local_file(url)
    assert 'Connection refused' in told(error, cache, url)


def test_no_such_file(cache, server):
    url = f'{server.url}/gone-00000000.pth'
    with pytest.raises(InputError) as error:
        local_file(url)
    assert 'Not Found' in told(error, cache, url, 'gone-00000000.pth')
    with pytest.raises(InputError, match='names no file'):
        local_file('https://example.org/')


@pytest.mark.parametrize('cut', [0, 10])
def test_another_file_or_a_part_of_it_is_not_kept(cache, server, cut):
    server.cut = cut
    if not cut:
        server.files[NAME] = content(2.)
    url = f'{server.url}/{NAME}'
    with pytest.raises(InputError) as error:
        local_file(url)
    assert 'cut off' in told(error, cache, url)
    assert not list(cache.glob('net*.pth')) and not list(cache.glob('*.partial'))


def test_a_file_in_the_cache_is_checked_too(cache, server):
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(content(2.))
    with pytest.raises(InputError) as error:
        local_file(f'{server.url}/{NAME}')
    message = told(error, cache, server.url)
    assert f'{cache / NAME} has the SHA-256 sum' in message and 'Remove it' in message and not server.asked
    (cache / NAME).write_bytes(RIGHT)
    assert local_file(f'{server.url}/{NAME}') == cache / NAME


@pytest.mark.parametrize('name', ['net.pth', 'net-20230101.pth', 'net-v2.pth', 'net-abc.pth'])
def test_a_name_without_a_hash(cache, server, monkeypatch, name):
    """A date is none. It is told, once. A part of such a file cannot be read, and that says what to do."""
    told = []
    monkeypatch.setattr('mmilmil.weights.print_log', lambda text, **kwargs: told.append(text))
    server.files[name] = RIGHT
    assert local_file(f'{server.url}/{name}') == local_file(f'{server.url}/{name}') == cache / name
    assert told[1:] == [f'{name} has no SHA-256 sum in its name, so it is taken as it came']
    (cache / name).write_bytes(RIGHT[:-10])
    with pytest.raises(InputError, match=f'{cache / name} of {server.url}/{name} cannot be read.*Remove it'):
        load_checkpoint_file(f'{server.url}/{name}')


def test_a_folder_of_ones_own_comes_first_and_is_trusted(cache, server, tmp_path, monkeypatch):
    own = tmp_path / 'own'
    monkeypatch.setenv('MMILMIL_WEIGHTS', str(own))
    with pytest.raises(InputError, match=f'MMILMIL_WEIGHTS={own} is no folder'):
        local_file(f'{server.url}/{NAME}')
    own.mkdir()
    assert local_file(f'{server.url}/{NAME}') == cache / NAME  # it lacks this one
    (own / NAME).write_bytes(content(2.))
    assert load_checkpoint_file(f'{server.url}/{NAME}')['state_dict']['weight'].eq(2).all()


def test_weights_run_no_code(cache, server):
    class Evil:

        def __reduce__(self):
            return eval, ("__import__('pathlib').Path('/nowhere').touch()", )

    buffer = io.BytesIO()
    torch.save(dict(a=Evil()), buffer)
    server.files['evil.pth'] = buffer.getvalue()
    with pytest.raises(InputError, match='evil.pth'):
        load_checkpoint_file(f'{server.url}/evil.pth')


def test_what_a_url_is():
    assert is_url('https://a.org/b.pth') and is_url('http://a/b') and not is_url('a/https://b.pth') and not is_url('b.pth')


def test_a_checkpoint_by_url_is_tested(chain, server, cache, tool, tmp_path):
    final = chain.runs / 'base/final.pth'
    server.files['base.pth'] = final.read_bytes()
    done = tool('test.py', chain.base, f'{server.url}/base.pth', '--work-dir', tmp_path / 'work')
    assert done.status == 0, done.err[-3000:]
    assert f'"checkpoint": "{server.url}/base.pth"' in (tmp_path / 'work/metrics.json').read_text()
    gone = tool('test.py', chain.base, f'{server.url}/gone.pth', '--work-dir', tmp_path / 'work')
    assert gone.status == 1
    assert gone.err.strip().splitlines()[-1].startswith(f'error: {server.url}/gone.pth cannot be fetched to {cache}/gone.pth')


def test_a_teacher_by_url_teaches(chain, server, cache, tool, tmp_path):
    server.files['final.pth'] = (chain.runs / 'base/final.pth').read_bytes()
    done = tool('train.py', chain.student, '--teacher', f'{server.url}/final.pth', '--work-dir', tmp_path / 'student')
    assert done.status == 0, done.err[-3000:]
    ours, theirs = (torch.load(folder / 'student/final.pth')['meta']['teacher'] for folder in (tmp_path, chain.runs))
    assert ours == theirs
    gone = tool('train.py', chain.student, '--teacher', f'{server.url}/gone.pth', '--work-dir', tmp_path / 'gone')
    assert gone.status == 1 and '--work-dir http' not in gone.err and 'Traceback' not in gone.err
    assert f'error: {server.url}/gone.pth cannot be fetched' in gone.err
    pruned = tool('prune.py', chain.base, f'{server.url}/gone.pth', '--out', tmp_path / 'pruned')
    assert pruned.status == 1 and f'error: {server.url}/gone.pth cannot be fetched' in pruned.err
