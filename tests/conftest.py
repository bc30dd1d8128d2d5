"""Fixtures that several test files share."""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from mmdet.visualization import DetLocalVisualizer
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

# Here and in every process that a test starts: with another number of threads sums have another order, and other last digits.
os.environ['OMP_NUM_THREADS'] = '1'
torch.set_num_threads(1)

REPO = Path(__file__).resolve().parents[1]
# Real sets to measure on; see `data/README.md` of the project's shared notes.
DATA_ROOT = Path(os.environ.get('MMILMIL_TEST_DATA', REPO.parent / 'shared' / 'data'))

# Files that take a minute or more. They begin the suite, so that its two processes end together.
LONG = ('test_tools.py', 'test_first_stages.py', 'test_processes.py', 'test_several_sets.py', 'test_new_student.py',
        'test_demo.py', 'test_pruning_tools.py', 'test_resume.py', 'test_new_split.py', 'test_distributed.py',
        'test_training_options.py', 'test_coco_metric.py', 'test_learning.py', 'test_detectors_runs.py', 'test_published.py',
        'test_notebook.py')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files of ``LONG`` to the front, in that order; the others stay in theirs."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def make_voc(root: Path, images: Mapping[str, Sequence[tuple]], size: tuple[int, int] = (64, 64),
             splits: Mapping[str, Sequence[str]] | None = None, extension: str = '.jpg') -> Path:
    """Write a tiny VOC-style set.

    Args:
        root: Folder to make.
        images: Objects of each image by name, as ``(class, x1, y1, x2, y2)`` or ``(..., difficult)``, 1-based as in
            VOC.
        size: Width and height of the images in pixels.
        splits: Image names by split; by default all of them in ``train`` and in ``test``.
        extension: Of the image files.

    Returns:
        ``root``.
    """
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    width, height = size
    rng = np.random.default_rng(0)
    for name, objects in images.items():
        cv2.imwrite(str(root / 'JPEGImages' / f'{name}{extension}'), rng.integers(0, 255, (height, width, 3), np.uint8))
        lines = ['<annotation>', f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>']
        for label, x1, y1, x2, y2, *difficult in objects:
            lines.append(f'<object><name>{escape(label)}</name><difficult>{int(any(difficult))}</difficult><bndbox>'
                         f'<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>')
        (root / 'Annotations' / f'{name}.xml').write_text('\n'.join([*lines, '</annotation>']))
    for split, names in (splits or {'train': list(images), 'test': list(images)}).items():
        (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names))
    return root


@pytest.fixture
def voc_set(tmp_path):
    """``voc_set(images, size=..., splits=...)`` writes a tiny set into the test's folder; see ``make_voc``."""
    return partial(make_voc, tmp_path / 'voc')


@pytest.fixture
def real_data():
    """``real_data(name)`` is the folder of a real set; the test is skipped where it is missing."""

    def folder(name: str) -> Path:
        if not (DATA_ROOT / name).is_dir():
            pytest.skip(f'no {DATA_ROOT / name}: set MMILMIL_TEST_DATA to the folder of the real sets to run this test')
        return DATA_ROOT / name

    return folder


def run_tool(*args, cwd: Path, **kwargs) -> subprocess.CompletedProcess:
    """Run a command with this Python, in ``cwd``, as a user would; output is captured as text."""
    env = dict(os.environ, PYTHONPATH=str(REPO))
    return subprocess.run(
        [sys.executable, *map(str, args)], cwd=cwd, env=env, capture_output=True, text=True, check=False, **kwargs)


@pytest.fixture(scope='session')
def chain(tmp_path_factory, worker_id):
    """A first and a second stage on a tiny set, trained and tested by one call of tools/train_chain.py; not to be written to.

    The suite's processes share it: the first to ask makes it.
    """
    import tiny
    base_temp = tmp_path_factory.getbasetemp()
    folder = (base_temp if worker_id == 'master' else base_temp.parent) / 'chain'
    output = folder / 'output.txt'
    with FileLock(f'{folder}.lock'):
        if not output.is_file():
            data = make_voc(folder / 'data', tiny.OBJECTS)
            _, student = tiny.write_configs(folder, data)
            done = run_tool(REPO / 'tools/train_chain.py', student, '--work-dir', folder / 'runs', cwd=folder)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
            output.write_text(done.stdout)
    return SimpleNamespace(folder=folder, data=folder / 'data', base=folder / 'base.py', student=folder / 'student.py',
                           runs=folder / 'runs', output=output.read_text())


@pytest.fixture
def tool(monkeypatch, capfd):
    """``tool('train.py', *args)`` runs a tool in this process as ``python tools/train.py`` does.

    Returns:
        ``status``, and ``out`` and ``err``: what it and its processes wrote.
    """

    def run(name, *args):
        # A run is named by its config and the second it starts in; two in one second would share a closed log.
        for kind in (MMLogger, MessageHub, Visualizer, DetLocalVisualizer, DefaultScope):
            kind._instance_dict.clear()
        monkeypatch.setenv('PYTHONPATH', str(REPO))
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        capfd.readouterr()
        status = 0
        try:
            runpy.run_path(str(REPO / 'tools' / name), run_name='__main__')
        except SystemExit as exit:
            status = exit.code
        captured = capfd.readouterr()
        return SimpleNamespace(status=status, err=captured.err, out=captured.out)

    return run
