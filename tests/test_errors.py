"""How a tool ends: the one line of a user's mistake, wherever it is met; a fault of the program keeps its traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPO, make_voc
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from tiny import OBJECTS
from torch.utils.data import DataLoader

from mmilmil import InputError
from mmilmil.datasets import IncrementalVOCDataset
from mmilmil.engine.cli import TRACEBACK, check_file, check_folder, number, user_errors
from mmilmil.registry import TRANSFORMS


def ended(capsys, error) -> tuple[int, str]:
    """Status and stderr of a tool that ends with ``error``."""
    with pytest.raises(SystemExit) as exit, user_errors():
        raise error
    return exit.value.code, capsys.readouterr().err


@pytest.mark.parametrize('error, told', [
    (InputError('a = 1: give 2'), 'error: a = 1: give 2\n'),
    (InputError('a = 1:\n  give 2'), 'error: a = 1: give 2\n'),
    (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), '/a/b'),
     'error: /a/b: No such file or directory: correct the path, or add what is missing\n'),
    (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), 'aa'),
     'error: aa: File name too long: give it a shorter name\n'),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
     'error: No space left on device: free disk space and run this again, a training with --resume\n'),
    (OSError('the network is down'), 'error: the network is down\n'),
])
def test_one_line(capsys, error, told):
    assert ended(capsys, error) == (1, told)


def test_ctrl_c_is_no_traceback(capsys):
    status, told = ended(capsys, KeyboardInterrupt())
    assert status == 130 and told.startswith('stopped by Ctrl-C') and told.count('\n') == 1


@pytest.mark.parametrize('error', [KeyError('a'), ValueError('b'), RuntimeError('c'), AssertionError()])
def test_faults_of_the_program_are_let_through(error):
    with pytest.raises(type(error)), user_errors():
        raise error


def test_traceback_on_demand(capsys, monkeypatch):
    monkeypatch.setenv(TRACEBACK, '1')
    status, told = ended(capsys, InputError('a = 1: give 2'))
    assert status == 1 and told.startswith('Traceback') and told.endswith('\nerror: a = 1: give 2\n')


def test_closed_pipe_is_quiet():
    """`tool | head -1`: of a short output, which Python keeps back until the end, and of a long one."""
    for lines in (1, 100000):
        read, write = os.pipe()
        os.close(read)
        code = f'from mmilmil.engine.cli import user_errors\nwith user_errors():\n    for _ in range({lines}): print("a" * 70)'
        moved = f'import os; os.dup2(int(os.environ["PIPE"]), 1)\n{code}'
        process = subprocess.Popen([sys.executable, '-c', moved], stderr=subprocess.PIPE, pass_fds=(write, ),
                                   env=dict(os.environ, PYTHONPATH=str(REPO), PIPE=str(write)))
        os.close(write)
        _, told = process.communicate()
        assert (process.returncode, told) == (141, b''), lines


# Images that cannot be read


TRANSFORMS_OF = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), dict(type='PackDetInputs')]


@pytest.fixture
def images(tmp_path):
    """``images(pipeline)`` is a dataset of four images."""
    data = make_voc(tmp_path / 'data', OBJECTS)

    def build(pipeline=TRANSFORMS_OF):
        init_default_scope('mmilmil')
        return IncrementalVOCDataset(
            data_root=str(data), ann_file='ImageSets/Main/train.txt', pipeline=pipeline, test_mode=True,
            metainfo=dict(classes=('ant', 'bee', 'cat', 'dog', 'emu')))

    return build


def cut(path, share):
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])


def folder_in_place_of(path):
    path.unlink()
    path.mkdir()


BROKEN = [
    (lambda path: path.write_bytes(b''), 'the file is empty'),
    (lambda path: cut(path, 0.5), 'failed to load image'),
    (lambda path: cut(path, 0.95), 'failed to load image'),
    (lambda path: path.write_text('<html>404</html>'), 'failed to load image'),
    (folder_in_place_of, 'IsADirectoryError'),
    (Path.unlink, 'FileNotFoundError'),
]


@pytest.mark.parametrize('spoil, reason, workers', [
    *((*case, dict(num_workers=0)) for case in BROKEN),
    (*BROKEN[0], dict(num_workers=1)),
    (*BROKEN[1], dict(num_workers=2, persistent_workers=True)),
])
def test_broken_image_is_named_wherever_it_is_loaded(images, capsys, spoil, reason, workers):
    dataset = images()
    path = Path(dataset.get_data_info(2)['img_path'])
    spoil(path)
    with pytest.raises(SystemExit), user_errors():
        list(DataLoader(dataset, batch_size=2, collate_fn=pseudo_collate, **workers))
    told = capsys.readouterr().err.splitlines()[-1]  # OpenCV may have a word of its own before
    assert told.startswith(f'error: the image {path}: LoadImageFromFile fails ({reason}' if reason == 'the file is empty' else
                           f'error: the image {path}: LoadImageFromFile fails (')
    assert reason in told and f'take it out of {dataset.ann_file}' in told and 'Caught' not in told


@TRANSFORMS.register_module()
class Faulty:
    """A transform with a fault in it."""

    def __call__(self, data):
        return data['no such key']


def test_fault_of_a_transform_is_told_and_chained(images):
    dataset = images([*TRANSFORMS_OF[:2], dict(type='Faulty')])
    with pytest.raises(InputError, match=r"one\.jpg: Faulty fails \(KeyError: 'no such key'\)") as caught:
        dataset[0]
    assert isinstance(caught.value.__cause__, KeyError)


@TRANSFORMS.register_module()
class Dropping:
    """A transform that has no use for an image."""

    def __call__(self, data):
        return None


def test_image_that_a_test_pipeline_drops(images):
    with pytest.raises(InputError, match=r'one\.jpg: Dropping drops it, but an evaluation is of every image'):
        images([*TRANSFORMS_OF[:2], dict(type='Dropping')])[0]


def test_sound_images_come_as_they_are(images):
    dataset = images()
    torch.testing.assert_close(dataset.prepare_data(1)['inputs'], dataset.pipeline(dataset.get_data_info(1))['inputs'])


# Arguments


def test_folders_that_can_be_made(tmp_path):
    for path in (tmp_path, tmp_path / 'a', tmp_path / 'a/b/c'):
        assert check_folder(path, '--out') == path
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('path, told', [
    ('file', 'cannot be a folder: {0}/file is there and is none. Name another'),
    ('file/a/b', 'cannot be a folder: {0}/file is there and is none. Name another'),
    ('link', 'cannot be a folder: {0}/link is there and is none. Name another'),
    ('n' * 300, 'File name too long: give it a shorter name'),
    ('/dev/null/a', 'cannot be a folder: /dev/null is there and is none. Name another'),
])
def test_folders_that_cannot(tmp_path, path, told):
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to(tmp_path / 'gone')
    with pytest.raises(InputError) as caught:
        check_folder(tmp_path / path, '--out')
    assert str(caught.value).startswith(f'--out {tmp_path / path} ') and told.format(tmp_path) in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason='root may write everywhere')
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=f'--out {tmp_path}/a cannot be written: {tmp_path} allows no new files'):
        check_folder(tmp_path / 'a', '--out')


def test_files(tmp_path):
    assert check_file(tmp_path / 'new/a.pkl', '--out') == tmp_path / 'new/a.pkl'
    with pytest.raises(InputError, match=f'--out {tmp_path} is a folder: name a file'):
        check_file(tmp_path, '--out')
    (tmp_path / 'file').touch()
    assert check_file(tmp_path / 'file', '--out')
    with pytest.raises(InputError, match=f'the folder of --out {tmp_path}/file cannot be a folder'):
        check_file(tmp_path / 'file/a.pkl', '--out')


def test_numbers():
    assert number(int, 1)('3') == 3 and number(float, 0, 1)('0.25') == 0.25
    for kind, text in ((int, '0'), (int, '-1'), (int, '1.5'), (int, 'x'), (float, 'nan'), (float, 'inf'), (float, '-1')):
        with pytest.raises(Exception, match=f'{text}.*give a {"whole " * (kind is int)}number of 1 or more'):
            number(kind, 1)(text)
    with pytest.raises(Exception, match='from 0 to 1'):
        number(float, 0, 1)('1.5')
