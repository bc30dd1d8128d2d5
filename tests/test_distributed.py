"""Several processes, by the tools that start them. There is no GPU in a test: the processes exchange data by gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO, make_voc
from mmengine.registry import init_default_scope
from probe import ADDABLE, PROBED
from tiny import OBJECTS, student_cfg, teacher_file, write_configs

from mmilmil.registry import MODELS
from mmilmil.stock import stock_model_cfg

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='the processes would ask for a GPU each')

# In place of Slurm's own: one machine, on which each task is a process.
SRUN = r"""#!/usr/bin/env bash
for argument in "$@"; do case $argument in --ntasks=*) export SLURM_NTASKS=${argument#*=} ;; esac; done
while [[ $1 == -* ]]; do shift; done
export SLURM_NODELIST=here
for ((i = 0; i < SLURM_NTASKS; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || status=1; done
exit "${status:-0}"
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A teacher, a student in two versions, and stand-ins for Slurm's commands in ``bin``."""
    folder = tmp_path_factory.mktemp('distributed')
    teacher = teacher_file(folder / 'teacher.pth')
    write_configs(folder, make_voc(folder / 'data', OBJECTS), teacher=str(teacher))
    (folder / 'addable.py').write_text(ADDABLE)
    (folder / 'probed.py').write_text(PROBED)
    (folder / 'bin').mkdir()
    for name, text in dict(srun=SRUN, scontrol='#!/bin/sh\necho 127.0.0.1\n').items():
        (folder / 'bin' / name).write_text(text)
        (folder / 'bin' / name).chmod(0o755)
    return folder


def script(name, *args, cwd, **variables) -> subprocess.CompletedProcess:
    """Run one of tools/*.sh as a user would, with this Python first on the path."""
    path = os.pathsep.join([str(cwd / 'bin'), str(Path(sys.executable).parent), os.environ['PATH']])
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    env = dict(os.environ, PYTHONPATH=f'{REPO}{os.pathsep}{REPO / "tests"}', OMP_NUM_THREADS='1', PATH=path, PORT=port,
               MASTER_PORT=port, **variables)
    return subprocess.run(['bash', str(REPO / 'tools' / name), *map(str, args)], cwd=cwd, env=env, capture_output=True,
                          text=True, check=False)


@pytest.fixture(scope='module')
def trained(folder):
    """The method as it is, trained in two processes by torchrun."""
    done = script('dist_train.sh', 'probed.py', 2, '--work-dir', folder / 'two', cwd=folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    ranks = [torch.load(folder / f'two/rank{rank}.pth') for rank in (0, 1)]
    return SimpleNamespace(work_dir=folder / 'two', ranks=ranks, told=done.stdout + done.stderr)


def test_both_processes_end_with_equal_weights(trained):
    first, second = (rank['state_dict'] for rank in trained.ranks)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    start, end = (trained.ranks[0]['weights'][index]['backbone.conv1.weight'] for index in (0, -1))
    assert not torch.equal(start, end)
    # They did see different images.
    assert trained.ranks[0]['losses'] != trained.ranks[1]['losses']


def test_batch_norm_statistics_are_those_of_all_processes(trained):
    names = [name for name in trained.ranks[0]['state_dict'] if name.endswith('running_var')]
    assert len(names) > 10  # and equal, by the test above
    start = torch.load(trained.work_dir.parent / 'teacher.pth')['state_dict']
    assert not any(torch.equal(trained.ranks[0]['state_dict'][name], start[name]) for name in names)


def test_the_teacher_is_in_no_bucket(trained):
    init_default_scope('mmilmil')
    stock = MODELS.build(stock_model_cfg(student_cfg('unused.pth')))
    for rank in trained.ranks:
        assert rank['bucketed'] == sorted(name for name, _ in stock.named_parameters())
        assert rank['teachers'] == 0


def test_only_the_first_process_writes(trained):
    written, by_the_second = (rank['written'] for rank in trained.ranks)
    assert {'final.pth', 'stock_config.py', 'metrics_val.json'} <= set(written)
    assert by_the_second == []
    assert not list(trained.work_dir.rglob('*.part'))
    final = torch.load(trained.work_dir / 'final.pth', weights_only=True)['state_dict']
    assert all(torch.equal(value, final[name]) for name, value in trained.ranks[0]['state_dict'].items())


def test_gloo_is_told(trained):
    assert "{'backend': 'gloo'}" in (next(trained.work_dir.glob('*/*.log'))).read_text()


def test_figures_are_those_of_one_process(trained, tool):
    config, final = trained.work_dir.parent / 'student.py', trained.work_dir / 'final.pth'
    done = script('dist_test.sh', config, final, 2, '--work-dir', trained.work_dir, cwd=trained.work_dir.parent)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    two = json.loads((trained.work_dir / 'metrics.json').read_text())
    assert tool('test.py', config, final, '--work-dir', trained.work_dir).status == 0
    assert two == json.loads((trained.work_dir / 'metrics.json').read_text())
    assert two['images'] == 4 and two['all'] > 0


def test_losses_are_those_of_one_process_on_the_whole_batch(folder, tool):
    """By Slurm's launcher: in every iteration the mean over the processes is the loss of the batch; the weights are equal."""
    done = script('slurm_train.sh', 'gpu', 'job', 'addable.py', folder / 'shares', '--cfg-options',
                  'train_dataloader.batch_size=1', cwd=folder, GPUS='2')
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert tool('train.py', folder / 'addable.py', '--work-dir', folder / 'whole').status == 0
    shares = [torch.load(folder / f'shares/rank{rank}.pth') for rank in (0, 1)]
    whole = torch.load(folder / 'whole/rank0.pth')
    assert len(whole['losses']) == len(shares[0]['losses']) == 4
    for one, two, both in zip(shares[0]['losses'], shares[1]['losses'], whole['losses']):
        assert one['loss'] != pytest.approx(two['loss'], rel=1e-3)
        assert {'loss_cls', 'loss_kd_feature', 'loss_kd_rpn_cls', 'loss_kd_rpn_reg', 'loss_kd_roi_cls'} < both.keys()
        for name, value in both.items():
            assert (one[name] + two[name]) / 2 == pytest.approx(value, rel=1e-3, abs=1e-5), name
    for name, value in whole['state_dict'].items():
        assert torch.allclose(value, shares[0]['state_dict'][name], rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize('name, args', [
    ('dist_train.sh', ['config.py']),
    ('dist_test.sh', ['config.py', 'final.pth']),
    ('slurm_train.sh', ['gpu', 'job', 'config.py']),
    ('slurm_test.sh', ['gpu', 'job', 'config.py']),
])
def test_usage_is_told(tmp_path, name, args):
    done = script(name, *args, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ''
    assert done.stderr.startswith('usage: ') and name in done.stderr and len(done.stderr.splitlines()) == 1


def test_what_srun_gets(tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin/srun').write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / 'bin/srun').chmod(0o755)
    done = script('slurm_test.sh', 'gpu', 'a job', 'config.py', 'final.pth', '--out', 'a b.pkl', cwd=tmp_path, GPUS='16',
                  SRUN_ARGS='--qos=high --time=1:00')
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        '--partition=gpu', '--job-name=a job', '--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8', '--cpus-per-task=5',
        '--kill-on-bad-exit=1', '--qos=high', '--time=1:00', 'python', '-u', str(REPO / 'tools/test.py'), 'config.py',
        'final.pth', '--launcher', 'slurm', '--out', 'a b.pkl']
