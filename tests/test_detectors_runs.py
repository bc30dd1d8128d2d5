"""Whole runs of detectors other than Faster R-CNN: stopped and resumed, in two processes, what they leave, and what is refused."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
import torch
from conftest import REPO, make_voc
from probe import PROBED
from tiny import KINDS, OBJECTS, detector_file, write_coco, write_configs

RUNS = ('cascade', 'maskrcnn', 'gfl', 'rtmdet')
runs = pytest.mark.parametrize('kind', RUNS)


@pytest.fixture(scope='module')
def stage_of(tmp_path_factory):
    """``stage_of(kind)`` is the folder of a student's stage with its teacher, made once; not to be written to."""
    folder, made = tmp_path_factory.mktemp('stages'), {}
    data = write_coco(make_voc(folder / 'data', OBJECTS))

    def make(kind):
        if kind not in made:
            made[kind] = folder / kind
            made[kind].mkdir()
            teacher = detector_file(made[kind] / 'teacher.pth', kind)
            write_configs(made[kind], data, teacher=str(teacher), kind=kind)
        return made[kind]

    return make


# In a process without mmilmil: the run's files as a user of stock MMDetection takes them.
STOCK = """
import sys, torch
from mmdet.apis import inference_detector, init_detector
folder, image = sys.argv[1:]
detector = init_detector(f'{folder}/final_stock.py', f'{folder}/final.pth', palette='random', device='cpu')
assert 'mmilmil' not in sys.modules
torch.save(inference_detector(detector, image).pred_instances.to_dict(), f'{folder}/stock.pth')
"""


@runs
def test_resumed_run_ends_like_an_unbroken_one(kind, stage_of, tool, tmp_path):
    """Stopped after its first epoch; bit for bit."""
    whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
    keep = ('--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=-1')
    done = tool('train.py', stage_of(kind) / 'student.py', '--work-dir', whole, *keep)
    assert done.status == 0, done.err[-3000:]
    resumed.mkdir()
    shutil.copy(whole / 'epoch_1.pth', resumed)
    done = tool('train.py', stage_of(kind) / 'student.py', '--work-dir', resumed, '--resume', *keep)
    assert done.status == 0 and 'resumed epoch: 1' in done.out + done.err, done.err[-3000:]
    first, one, two = (torch.load(path) for path in (whole / 'epoch_1.pth', whole / 'epoch_2.pth', resumed / 'epoch_2.pth'))
    for name, weight in one['state_dict'].items():
        assert torch.equal(weight, two['state_dict'][name]), name
    assert any(not torch.equal(weight, first['state_dict'][name]) for name, weight in one['state_dict'].items())
