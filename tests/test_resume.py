"""A run that is stopped, by whatever and whenever, is resumed as if nothing had happened, or says why it cannot."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPO, make_voc, run_tool
from mmdet.visualization import DetLocalVisualizer
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from tiny import OBJECTS, teacher_file, write_configs
from torch.utils.data import DataLoader, Dataset

import mmilmil.engine  # noqa: F401
from mmilmil import InputError
from mmilmil.atomic_write import write_atomically
from mmilmil.checkpoint import config_values
from mmilmil.engine.atomic_file import latest_checkpoint, save_atomically
from mmilmil.engine.cli import read_config
from mmilmil.engine.hooks import ResumeCheckHook
from mmilmil.engine.hooks.work_dir_lock import LOCK_FILE
from mmilmil.engine.random_place import SeededBatches
from mmilmil.engine.resume_check import FREE_IN_RESUMING, TESTING, differences, saved_settings
from mmilmil.engine.student_settings import FIRST_DEFAULTS, completed, defaults_now, first_defaults
from mmilmil.models.hashes import weights_hash

# Three epochs of two steps with schedules of both kinds, and a validation after each.
SCHEDULE = """
train_cfg = dict(max_epochs=3, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=3, T_max=3, convert_to_iter_based=True),
]
"""


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """A first stage and a distilling student, trained without a stop."""
    folder = tmp_path_factory.mktemp('unbroken')
    data = make_voc(folder / 'data', OBJECTS)
    teacher = teacher_file(folder / 'teacher.pth')
    base, student = write_configs(folder, data, teacher=str(teacher))
    base.write_text(base.read_text() + SCHEDULE)
    runners = {}
    for config in (base, student):
        forget_runs()
        cfg = read_config(str(config), work_dir=str(folder / config.stem))
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        runners[config.stem] = Runner.from_cfg(cfg)
        runners[config.stem].train()
    return SimpleNamespace(folder=folder, data=data, teacher=teacher, runners=runners)


def forget_runs():
    """A run is named by its config and the second it starts in; two in one second would share a closed log."""
    for kind in (MMLogger, MessageHub, Visualizer, DetLocalVisualizer, DefaultScope):
        kind._instance_dict.clear()


@pytest.fixture
def stopped_run(unbroken, tmp_path):
    """``stopped_run('student', epoch=1)`` is the work dir of a run that was stopped after that epoch."""

    def make(stage, epoch=1):
        work = tmp_path / stage
        work.mkdir()
        shutil.copy(unbroken.folder / stage / f'epoch_{epoch}.pth', work)
        return work

    return make


def equal_runs(work, other):
    """Weights, optimizer and schedules are equal bit for bit."""
    one, two = (torch.load(folder / 'epoch_3.pth') for folder in (work, other))
    finals = [torch.load(folder / 'final.pth')['state_dict'] for folder in (work, other)]
    return all(same(one[key], two[key]) for key in ('state_dict', 'optimizer', 'param_schedulers')) and same(*finals)


def same(one, two):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


# Killed and resumed

# Runs a tool that kills itself by SIGKILL at a given moment.
KILLED = """
import os, runpy, signal, sys
import mmilmil.engine
from mmdet.models import RPNHead

calls = [0]
step, replace = RPNHead.loss_by_feat, os.replace

def kill_in_step(*args, **kwargs):
    calls[0] += 1
    if calls[0] == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*args, **kwargs)

def kill_in_saving(draft, path):
    if os.path.basename(path) == {file!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(draft, path)

RPNHead.loss_by_feat, os.replace = kill_in_step, kill_in_saving
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize('stage, workers, step, file, left', [
    ('base', 1, 4, None, {'epoch_1.pth'}),
    ('student', 0, 0, 'epoch_3.pth', {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth.part'}),
])
def test_killed_run_ends_like_an_unbroken_one(unbroken, tool, tmp_path, stage, workers, step, file, left):
    """`kill -9` in the last step of the second epoch, with a worker that lives on, and while the third is being saved."""
    arguments = [str(unbroken.folder / f'{stage}.py'), '--work-dir', str(tmp_path / stage), '--cfg-options',
                 f'train_dataloader.num_workers={workers}', f'train_dataloader.persistent_workers={workers > 0}']
    done = run_tool('-c', KILLED.format(step=step, file=file, argv=[str(REPO / 'tools/train.py'), *arguments]), cwd=tmp_path)
    assert done.returncode == -9, done.stderr[-3000:]
    work = tmp_path / stage
    assert {path.name for path in work.glob('*.pth*')} == left
    done = tool('train.py', *arguments, '--resume')
    assert done.status == 0, done.err[-3000:]
    assert f'resumed epoch: {len(left - {f"{file}.part"})}' in done.out + done.err
    assert equal_runs(work, unbroken.folder / stage)
    assert not (work / 'epoch_1.pth').exists() and not list(work.glob('*.part'))


def test_one_stays_one_of_each_run(unbroken):
    """What equal_runs compares does depend on the run."""
    assert not same(*(torch.load(unbroken.folder / 'base' / f'epoch_{epoch}.pth')['optimizer'] for epoch in (2, 3)))


def test_resuming_with_what_may_differ(unbroken, stopped_run, tool, tmp_path):
    """Other folders, workers and intervals, the teacher named again, an epoch more: still the same run."""
    work = stopped_run('student', epoch=2)
    data = shutil.copytree(unbroken.data, tmp_path / 'moved')
    teacher = shutil.copy(unbroken.teacher, tmp_path / 'renamed.pth')
    done = tool('train.py', unbroken.folder / 'student.py', '--resume', '--work-dir', work, '--cfg-options',
                f'train_dataloader.dataset.data_root={data}', 'train_dataloader.num_workers=2', 'train_cfg.val_interval=4',
                f'model.teacher.checkpoint={teacher}', 'default_hooks.logger.interval=1', 'train_cfg.max_epochs=4')
    assert done.status == 0, done.err[-3000:]
    ours, theirs = (torch.load(folder / 'epoch_3.pth') for folder in (work, unbroken.folder / 'student'))
    assert all(same(ours[key], theirs[key]) for key in ('state_dict', 'optimizer', 'param_schedulers'))
    assert torch.load(work / 'final.pth')['meta']['epoch'] == 4


def test_second_run_in_a_work_dir(unbroken, tool, tmp_path):
    """It is told at once; when the first one is gone, however it ended, the folder is free."""
    work = tmp_path / 'work'
    work.mkdir()
    code = f"import fcntl, time; file = open({str(work / LOCK_FILE)!r}, 'w'); fcntl.lockf(file, fcntl.LOCK_EX); " \
           "print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == 'held\n'
        fails(tool('train.py', unbroken.folder / 'base.py', '--work-dir', work),
              f'the work dir {work} is in use by another training')
        assert not list(work.glob('*.pth'))
        first.kill()
    assert tool('train.py', unbroken.folder / 'base.py', '--work-dir', work).status == 0
    assert equal_runs(work, unbroken.folder / 'base')


# Random numbers


class Noise(Dataset):
    """Draws a number from each of the generators."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor([random.random(), np.random.rand(), float(torch.rand(1, dtype=torch.float64))], dtype=torch.float64)


def epochs_of(workers, epochs=(0, 1), persistent=False, run=(0, 0)):
    """What a loader draws in these epochs, each (6, 3)."""
    dataset = Noise()
    dataset.__getitems__ = batches = SeededBatches(dataset, run)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, persistent_workers=persistent)
    drawn = []
    for epoch in epochs:
        batches.epoch.fill_(epoch)
        drawn.append(torch.cat(list(loader)))
    return drawn


def test_data_depends_on_the_place_in_the_run_alone():
    first, second = epochs_of(0)
    assert len(torch.unique(torch.cat([first, second]))) == 36  # nothing is drawn twice
    for other in (epochs_of(1, persistent=True), epochs_of(2), epochs_of(2, persistent=True)):
        assert torch.equal(other[0], first) and torch.equal(other[1], second)
    assert torch.equal(epochs_of(1, epochs=(1, ), persistent=True)[0], second)
    assert not torch.equal(epochs_of(0, run=(0, 1))[0], first) and not torch.equal(epochs_of(0, run=(1, 0))[0], first)


def test_data_leaves_the_generators_alone():
    dataset = Noise()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    wanted = dataset[0]
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    SeededBatches(dataset, (0, 0))([0, 1])
    assert torch.equal(dataset[0], wanted)


class Wanderer(BaseModel):
    """Its weight is moved by noise: of the data, and of its own."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, inputs, mode='tensor'):
        return dict(loss=(self.w * (torch.stack(inputs).mean(0) + torch.rand(3) + np.random.rand())).sum())


class NoisyInputs(Noise):

    def __getitem__(self, index):
        return dict(inputs=super().__getitem__(index))


def wander(folder, workers, train_cfg, sampler, seed=0, **kwargs):
    forget_runs()
    runner = Runner(
        Wanderer(), str(folder), train_cfg=train_cfg, optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-1, momentum=0.9)),
        train_dataloader=dict(dataset=NoisyInputs(), batch_size=1, num_workers=workers, persistent_workers=workers > 0,
                              sampler=dict(type=sampler, shuffle=True)),
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=train_cfg['by_epoch'], interval=1)),
        custom_hooks=[dict(type='RandomStateHook'), dict(type='PlainCheckpointHook')], default_scope='mmilmil',
        randomness=dict(seed=seed), **kwargs)
    runner.train()
    return runner


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('train_cfg, length, sampler, start', [
    (dict(by_epoch=True), 'max_epochs', 'DefaultSampler', 'epoch_2.pth'),
    (dict(by_epoch=False), 'max_iters', 'InfiniteSampler', 'iter_2.pth'),
])
def test_any_loop_goes_on(tmp_path, workers, train_cfg, length, sampler, start):
    whole = wander(tmp_path / 'whole', workers, dict(train_cfg, **{length: 4}), sampler)
    resumed = wander(tmp_path / 'resumed', workers, dict(train_cfg, **{length: 4}), sampler, resume=True,
                     load_from=str(tmp_path / 'whole' / start))
    assert resumed.iter == whole.iter
    assert torch.equal(resumed.model.w, whole.model.w)


def test_run_without_a_seed_keeps_the_one_that_it_drew(tmp_path):
    settings = dict(by_epoch=True, max_epochs=3), 'DefaultSampler'
    whole = wander(tmp_path / 'whole', 0, *settings, seed=None)
    np.random.seed(5)  # the next run draws another one
    resumed = wander(tmp_path / 'resumed', 0, *settings, seed=None, resume=True, load_from=str(tmp_path / 'whole/epoch_1.pth'))
    assert resumed.train_dataloader.sampler.seed == whole.seed
    assert torch.equal(resumed.model.w, whole.model.w)


# Files


@contextmanager
def file_size_limit(size):
    """No file may be larger, as on a disk with little room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_without_room(unbroken, stopped_run, tool):
    """Told in one line; nothing is lost, and the run is resumed when there is room."""
    work, arguments = stopped_run('base', epoch=2), ('train.py', unbroken.folder / 'base.py', '--resume', '--work-dir')
    before = (work / 'epoch_2.pth').read_bytes()
    with file_size_limit(1_000_000):
        done = tool(*arguments, work)
    size = (unbroken.folder / 'base/epoch_3.pth').stat().st_size / 1e6
    fails(done, f'{work}/epoch_3.pth cannot be written (File too large)', f'it needs {size:.1f} MB', 'MB are free',
          'free disk space', '--resume')
    assert [path.name for path in work.glob('*.pth*')] == ['epoch_2.pth']
    assert (work / 'epoch_2.pth').read_bytes() == before
    assert tool(*arguments, work).status == 0
    assert equal_runs(work, unbroken.folder / 'base')


def test_file_stays_as_it_was_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    save_atomically(dict(a=1), path)

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(InputError, match=r'a\.pth cannot be written \(No space left on device\): it needs 0\.0 MB'):
        write_atomically(b'new', path)
    assert torch.load(path) == dict(a=1)
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_leaves_no_draft(tmp_path, monkeypatch):
    def stop(number):
        raise KeyboardInterrupt

    (tmp_path / 'a.json').write_bytes(b'old')
    monkeypatch.setattr(os, 'fsync', stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(b'new', tmp_path / 'a.json')
    assert list(tmp_path.iterdir()) == [tmp_path / 'a.json'] and (tmp_path / 'a.json').read_bytes() == b'old'


def test_full_disk_elsewhere_is_told(unbroken, tool, tmp_path, monkeypatch):
    """Logs are written too. There is nothing to resume here."""

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('mmengine.visualization.vis_backend.LocalVisBackend._dump', full)
    done = tool('train.py', unbroken.folder / 'base.py', '--resume', '--work-dir', tmp_path / 'work', '--cfg-options',
                'default_hooks.logger.interval=1')
    assert f'no complete checkpoint in {tmp_path}/work: training starts from the beginning' in done.out
    fails(done, 'No space left on device', 'free disk space', '--resume')


def test_old_checkpoint_goes_when_the_new_one_is_there(tmp_path, monkeypatch):
    replace, seen = os.replace, []

    def watch(draft, path):
        seen.append(sorted(file.name for file in tmp_path.glob('*.pth')))
        replace(draft, path)

    monkeypatch.setattr(os, 'replace', watch)
    forget_runs()
    runner = Runner(
        Wanderer(), str(tmp_path), train_cfg=dict(by_epoch=True, max_epochs=4),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-1)),
        train_dataloader=dict(dataset=NoisyInputs(), batch_size=6, sampler=dict(type='DefaultSampler', shuffle=False)),
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2)),
        default_scope='mmilmil')
    runner.train()
    assert seen == [[], ['epoch_1.pth'], ['epoch_1.pth', 'epoch_2.pth'], ['epoch_2.pth', 'epoch_3.pth']]
    assert sorted(file.name for file in tmp_path.glob('*.pth')) == ['epoch_3.pth', 'epoch_4.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_4.pth')


def test_latest_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None and latest_checkpoint(tmp_path / 'gone') is None
    for number in (1, 2, 10):
        torch.save(dict(epoch=number), tmp_path / f'epoch_{number}.pth')
        os.utime(tmp_path / f'epoch_{number}.pth', (number, number))
    for name in ('final.pth', 'best_all_epoch_1.pth', 'epoch_11.pth.part'):
        torch.save(dict(), tmp_path / name)
    newest, second = str(tmp_path / 'epoch_10.pth'), str(tmp_path / 'epoch_2.pth')
    last = tmp_path / 'last_checkpoint'
    assert latest_checkpoint(tmp_path) == newest  # it was not written yet
    last.write_text(second)
    assert latest_checkpoint(str(tmp_path)) == second
    last.write_text('/moved/from/epoch_2.pth')
    assert latest_checkpoint(tmp_path) == second
    for text in ('', second[:-3], str(tmp_path), str(tmp_path / 'epoch_3.pth')):
        last.write_text(text)
        assert latest_checkpoint(tmp_path) == newest
    last.write_bytes(b'\xff\xfe')
    assert latest_checkpoint(tmp_path) == newest
    last.write_text(newest)
    content = (tmp_path / 'epoch_10.pth').read_bytes()
    (tmp_path / 'epoch_10.pth').write_bytes(content[:len(content) // 2])
    os.utime(tmp_path / 'epoch_10.pth', (10, 10))
    assert latest_checkpoint(tmp_path) == second
    last.write_text(str(tmp_path / 'elsewhere/epoch_3.pth'))
    (tmp_path / 'elsewhere').mkdir()
    torch.save(dict(), tmp_path / 'elsewhere/epoch_3.pth')
    assert latest_checkpoint(tmp_path) == second
    (tmp_path / 'epoch_1.pth').unlink(), (tmp_path / 'epoch_2.pth').unlink()
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'elsewhere/epoch_3.pth')


# Another run


def fails(done, *words):
    assert done.status == 1
    message = done.err.strip().splitlines()[-1]
    assert message.startswith('error: ')
    for word in words:
        assert word in message, (word, message)
    assert 'Traceback' not in done.err + done.out


def test_other_settings(unbroken, stopped_run, tool):
    work = stopped_run('base')
    done = tool('train.py', unbroken.folder / 'base.py', '--resume', '--work-dir', work, '--cfg-options',
                'train_dataloader.batch_size=1', 'optim_wrapper.optimizer.lr=0.5', 'randomness.seed=7',
                'model.backbone.base_channels=4', 'param_scheduler.1.T_max=9')
    fails(done, f'the checkpoint {work}/epoch_1.pth was trained with other settings', 'train_dataloader.batch_size: 2 -> 1',
          'optim_wrapper.optimizer.lr: 0.001 -> 0.5', 'randomness.seed: 0 -> 7', 'model.backbone.base_channels: 8 -> 4',
          'param_scheduler.1.T_max: 3 -> 9', 'another --work-dir')
    assert [path.name for path in work.glob('*.pth')] == ['epoch_1.pth']


def test_other_classes(unbroken, stopped_run, tool, tmp_path):
    config = tmp_path / 'base.py'
    order = 'dict(classes=("ant", "cat", "bee"), split=(3, ))'
    config.write_text((unbroken.folder / 'base.py').read_text() + '\n'.join(
        f"{name}_dataloader['dataset']['metainfo'] = {order}" for name in ('train', 'val', 'test')))
    done = tool('train.py', config, '--resume', '--work-dir', stopped_run('base'))
    fails(done, 'other settings', "train_dataloader.dataset.metainfo.classes: ('ant', 'bee', 'cat') -> ('ant', 'cat', 'bee')")


def test_missing_teacher(unbroken, stopped_run, tool, tmp_path):
    done = tool('train.py', unbroken.folder / 'student.py', '--resume', '--work-dir', stopped_run('student'), '--cfg-options',
                f'model.teacher.checkpoint={tmp_path / "gone.pth"}')
    fails(done, f"the teacher's checkpoint {tmp_path}/gone.pth does not exist", '--cfg-options model.teacher.checkpoint=PATH')


@pytest.fixture
def resume(unbroken, monkeypatch):
    """``resume('student', world_size=2)`` loads a checkpoint of the run whose meta information is changed so; None drops."""

    def load(stage, **meta):
        runner = unbroken.runners[stage]
        monkeypatch.setattr(runner, '_resume', True)
        checkpoint = torch.load(unbroken.folder / stage / 'epoch_1.pth')
        checkpoint['meta'] = {key: value for key, value in (checkpoint['meta'] | meta).items() if value is not None}
        ResumeCheckHook().after_load_checkpoint(runner, checkpoint)

    return load


def test_other_number_of_processes(resume):
    with pytest.raises(InputError, match='base/epoch_3.pth was trained with other settings.*processes: 2 -> 1. .* --work-dir'):
        resume('base', world_size=2)


def test_other_classes_where_configs_cannot_be_compared(resume):
    with pytest.raises(InputError, match=r"classes: \['ant', 'cat', 'bee'\] -> \['ant', 'bee', 'cat'\]"):
        resume('base', cfg='model = build()', dataset_meta=dict(classes=('ant', 'cat', 'bee')))


def test_other_teacher(resume, unbroken):
    resume('student')
    content = torch.load(unbroken.teacher)
    content['state_dict']['rpn_head.rpn_cls.bias'] += 1e-6
    with pytest.raises(InputError, match=r'teacher\.pth has other weights .* by --teacher PATH, or'):
        resume('student', teacher=weights_hash(content['state_dict']))


def test_other_memory(resume):
    """One that was there when the run was stopped and is not any more, or the other way round."""
    resume('student', memory='none')
    with pytest.raises(InputError, match='trained with the feature memory 0123456789ab, and this run has no feature memory, so '
                       'it cannot be resumed: put the memory of then beside the teacher .*teacher.pth'):
        resume('student', memory='0123456789abcdef')


def test_checkpoint_of_an_earlier_version(unbroken, resume):
    """It does not tell its teacher nor the number of processes."""
    meta = torch.load(unbroken.folder / 'student/epoch_1.pth')['meta']
    assert meta['world_size'] == 1
    assert meta['teacher'] == weights_hash(torch.load(unbroken.teacher)['state_dict'])
    resume('student', teacher=None, world_size=None)


OLD = dict(
    model=dict(type='FasterRCNN', distiller=None, teacher=dict(checkpoint='a.pth', max_proposals=128), sizes=(1, 2)),
    train_dataloader=dict(batch_size=4, num_workers=1, dataset=dict(data_root='a/', ann_file='train.txt', pipeline=[
        dict(type='Load', backend_args=None), dict(type='Flip', prob=[0.25, 0.5])])),
    train_cfg=dict(max_epochs=2, val_interval=1), custom_hooks=[dict(type='EMAHook'), dict(type='StageCheckHook')],
    test_evaluator=dict(eval_mode='area'), work_dir='a', load_from='a.pth')


@pytest.mark.parametrize('path, value, found', [
    ('work_dir', 'b', None),
    ('train_dataloader.num_workers', 8, None),
    ('train_dataloader.pin_memory', True, None),
    ('train_dataloader.dataset.data_root', 'b/', None),
    ('train_dataloader.dataset.pipeline.0.backend_args', dict(backend='x'), None),
    ('train_cfg.val_interval', 5, None),
    ('model.teacher.checkpoint', 'b.pth', None),
    ('model.sizes', [1, 2], None),
    ('custom_hooks', [dict(type='RandomStateHook'), dict(type='EMAHook')], None),
    ('test_evaluator.eval_mode', '11points', None),
    ('custom_hooks', [dict(type='WorkDirLockHook'), dict(type='EMAHook')], None),
    ('custom_hooks', [], "custom_hooks: [{'type': 'EMAHook'}] -> []"),
    ('train_cfg.max_epochs', 3, 'train_cfg.max_epochs: 2 -> 3'),
    ('load_from', None, "load_from: 'a.pth' -> None"),
    ('model.distiller', dict(type='X'), "model.distiller: None -> {'type': 'X'}"),
    ('model.merging', None, 'model.merging: not set -> None'),
    ('model.teacher.max_proposals', 64, 'model.teacher.max_proposals: 128 -> 64'),
    ('train_dataloader.dataset.ann_file', 'val.txt', "train_dataloader.dataset.ann_file: 'train.txt' -> 'val.txt'"),
    ('train_dataloader.dataset.pipeline.1.prob', [0.5], 'train_dataloader.dataset.pipeline.1.prob: [0.25, 0.5] -> [0.5]'),
    ('train_dataloader.dataset.pipeline', [], 'train_dataloader.dataset.pipeline: [{'),
])
def test_what_makes_another_run(path, value, found):
    new = torch.utils._pytree.tree_map(lambda leaf: leaf, OLD)  # a copy of its containers
    *folders, name = path.split('.')
    inner = new
    for folder in folders:
        inner = inner[int(folder) if isinstance(inner, list) else folder]
    inner[int(name) if isinstance(inner, list) else name] = value
    told = differences(OLD, new)
    assert len(told) == (found is not None) and all(line.startswith(found) for line in told)


def test_what_may_differ_in_resuming_and_what_counts_in_testing():
    new = dict(OLD, train_cfg=dict(max_epochs=9), load_from='epoch_1.pth', test_evaluator=dict(eval_mode='11points'))
    assert differences(OLD, new, free=FREE_IN_RESUMING) == []
    assert differences(OLD, new, TESTING) == ["test_evaluator.eval_mode: 'area' -> '11points'"]
    assert differences(dict(OLD, resume=True), dict(new, train_cfg=OLD['train_cfg'])) == []
    moved = dict(OLD, test_evaluator=dict(eval_mode='area', ann_file='b/test.json'))
    assert differences(dict(OLD, test_evaluator=dict(eval_mode='area', ann_file='a/test.json')), moved, TESTING) == []


def test_settings_of_our_configs_are_the_same_run_as_themselves():
    cfg = read_config(str(Path(REPO) / 'configs/ilmil/frcnn_voc_15+5.py')).to_dict()
    assert differences(cfg, cfg) == []


# What a student's config leaves to the defaults

STUDENT = dict(type='IncrementalFasterRCNN', teacher=dict(checkpoint='a.pth'))
# The method of the first runs, and what the one of now changes of it (CHANGELOG.md).
METHOD = dict(distiller=dict(type='MFRRKDistiller', **FIRST_DEFAULTS['MFRRKDistiller']),
              merging=FIRST_DEFAULTS['IncrementalFasterRCNN']['merging'])
AS_BEFORE = {'model.merging.rpn': True, 'model.merging.annotated_share': 0.0, 'model.distiller.apart_cls': None,
             'model.distiller.apart_reg': None, 'model.distiller.cross_head': None}
WRITTEN_OUT = dict(
    STUDENT,
    teacher=dict(checkpoint='a.pth', max_proposals=128),
    start='pruned',
    distiller=dict(METHOD['distiller'], type='mmilmil.MFRRKDistiller', neck_levels=[0, 1, 2, 3]),
    merging=METHOD['merging'])


def test_run_tells_its_defaults(unbroken):
    """In its checkpoints and in the config in its work dir."""
    folder = unbroken.folder / 'student'
    for name in ('epoch_1.pth', 'final.pth'):
        model = saved_settings(torch.load(folder / name)['meta'])['model']
        assert model['merging'] == dict(METHOD['merging'], rpn=False, annotated_share=0.5)
        assert model['distiller']['feature'] == dict(type='FeatureNormMSELoss', loss_weight=0.2)
        assert model['distiller']['rpn_reg']['threshold'] == 0.5 and model['teacher']['max_proposals'] == 128
    assert read_config(str(folder / 'student.py')).model.distiller.num_rois == 32
    assert 'distiller' not in saved_settings(torch.load(unbroken.folder / 'base/final.pth')['meta'])['model']


@pytest.mark.parametrize('recorded', [True, False], ids=['recorded', 'of an earlier version'])
@pytest.mark.parametrize('option, value, words', [
    ('distiller.feature.loss_weight', 0.5, 'model.distiller.feature.loss_weight: 0.2 -> 0.5'),
    ('distiller.roi_cls.temperature', 2.0, 'model.distiller.roi_cls.temperature: 1.0 -> 2.0'),
    ('merging.iou_thr', 0.7, 'model.merging.iou_thr: 0.3 -> 0.7'),
])
def test_another_value_is_another_run(unbroken, recorded, option, value, words):
    meta = torch.load(unbroken.folder / 'student/epoch_1.pth')['meta']
    old = saved_settings(meta)
    if not recorded:
        for name in ('distiller', 'merging', 'start', 'teacher_boxes'):
            del old['model'][name]
    new = read_config(str(unbroken.folder / 'student.py'))
    if not recorded:
        assert len(differences(old, new.to_dict())) == len(AS_BEFORE)
        new.merge_from_dict(AS_BEFORE)
    assert differences(old, new.to_dict()) == []
    new.merge_from_dict({f'model.{option}': value})
    assert words in differences(old, new.to_dict())


@pytest.mark.parametrize('old', [
    STUDENT, WRITTEN_OUT, dict(STUDENT, distiller=dict(type='MFRRKDistiller', score=dict(loss_weight=0.02))),
    dict(STUDENT, merging=dict(nms_iou_thr=0.4))])
def test_what_an_earlier_run_left_out_is_the_same_run(old):
    assert differences(dict(model=old), dict(model=WRITTEN_OUT)) == []


def test_completed_settings_are_all_understood():
    """A one-stage teacher has no proposals; the config in the work dir is built again, say for a test."""
    given = dict(STUDENT, distiller=None, merging=None)
    assert completed(given)['teacher'] == dict(checkpoint='a.pth', max_proposals=128)
    assert completed(dict(given, type='IncrementalGFL'))['teacher'] == dict(checkpoint='a.pth')


def test_settings_had_other_names():
    before = "model = dict(type='IncrementalFasterRCNN', teacher=dict(checkpoint='a.pth'), distiller=dict(" \
             "type='MFRRKDistiller', stages=(1, ), levels=[0]))"
    now = dict(WRITTEN_OUT, distiller=dict(WRITTEN_OUT['distiller'], backbone_levels=(1, ), neck_levels=(0, )))
    assert differences(config_values(before), dict(model=now)) == []


@pytest.mark.parametrize('changes, found', [
    (dict(distiller=None), "model.distiller: {'type': 'MFRRKDistiller'"),
    (dict(merging=None), "model.merging: {'score_thr': 0.5"),
    (dict(distiller=dict(METHOD['distiller'], rpn_cls=None)),
     "model.distiller.rpn_cls: {'type': 'RPNObjectnessHingeLoss'"),
    (dict(distiller=dict(METHOD['distiller'], roi_reg=dict(METHOD['distiller']['roi_reg'], beta=2.0))),
     'model.distiller.roi_reg.beta: 1.0 -> 2.0'),
    (dict(distiller=dict(METHOD['distiller'], neck_levels=(0, ))), 'model.distiller.neck_levels: (0, 1, 2, 3) -> (0,)'),
    (dict(merging=dict(METHOD['merging'], score_thr=0.6)), 'model.merging.score_thr: 0.5 -> 0.6'),
    (dict(teacher=dict(max_proposals=64)), 'model.teacher.max_proposals: 128 -> 64'),
])
def test_other_settings_of_the_student_are_another_run(changes, found):
    told = differences(dict(model=STUDENT), dict(model=dict(WRITTEN_OUT, **changes)))
    assert any(line.startswith(found) for line in told)
    assert all(line.startswith(found.partition(':')[0]) or 'checkpoint' in line for line in told)


def test_defaults_of_the_first_runs_are_those_of_now():
    """Not for ever: where one changes, say so in CHANGELOG.md and take it out of this test, not out of FIRST_DEFAULTS."""
    for name in FIRST_DEFAULTS:
        now = defaults_now(name)
        # The method's own stand in an inherited config, and changed since.
        now.update(METHOD if name == 'IncrementalFasterRCNN' else METHOD['distiller'] if name == 'MFRRKDistiller' else {})
        first = first_defaults(name)
        if name == 'IncrementalFasterRCNN':
            now.pop('pruned')
            assert first.pop('distiller') == dict(type=now.pop('distiller')['type'])
        assert {key: value for key, value in now.items() if key != 'type'} == first, name
