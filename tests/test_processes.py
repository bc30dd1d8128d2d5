"""A chain in several processes, by torchrun and by Slurm: how it starts, what it tells, and that nothing of it outlives it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO, make_voc
from mmengine.config import Config
from tiny import OBJECTS, write_configs

from mmilmil import InputError
from mmilmil.engine import failures, launch, processes
from mmilmil.engine.chain import check_finished
from mmilmil.engine.chain_stages import stages_of
from mmilmil.engine.cli import user_errors
from mmilmil.engine.launch import use_launcher
from mmilmil.engine.processes import ONE_PROCESS, Start, start_by

# The second process does what the config says, in its second step; both leave their number.
TROUBLE = """
import os
import signal
import time
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook

from mmilmil import InputError
from mmilmil.registry import HOOKS


@HOOKS.register_module()
class TroubleHook(Hook):

    def __init__(self, kind):
        self.kind = kind

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        Path(f'{runner.work_dir}/{get_rank()}.pid').write_text(str(os.getpid()))
        if self.kind == 'wait':
            time.sleep(1000)
        if get_rank() == 0 or runner.iter == 0:
            return
        if self.kind == 'input':
            raise InputError('the lamp is dark:\\n change it')
        if self.kind == 'fault':
            raise KeyError('lamp')
        os.kill(os.getpid(), signal.SIGKILL)
"""
CONFIG = """
_base_ = './base.py'
custom_imports = dict(imports=['mmilmil', 'trouble'])
custom_hooks = [dict(type='TroubleHook', kind='{kind}')]
"""
# In place of Slurm's own: one machine, on which each task is a process. As the real one it passes SIGTERM on, and ends the
# others where one fails (--kill-on-bad-exit).
SRUN = """#!{python}
import os, signal, subprocess, sys, time
tasks = int(next(argument for argument in sys.argv if argument.startswith('--ntasks=')).partition('=')[2])
command = sys.argv[1:]
while command[0].startswith('-'):
    command = command[1:]
running = [subprocess.Popen(command, env=dict(os.environ, SLURM_PROCID=str(task), SLURM_LOCALID=str(task),
                                              SLURM_NTASKS=str(tasks), SLURM_NODELIST='here')) for task in range(tasks)]
def stop(*_):
    for process in running:
        process.terminate()
signal.signal(signal.SIGTERM, stop)
while None in [process.poll() for process in running]:
    if any(process.poll() for process in running):
        time.sleep(1)
        stop()
    time.sleep(.1)
sys.exit(max(abs(process.wait()) for process in running))
"""
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='the processes would ask for a GPU each')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A first stage in which all is well, and one for each trouble; stand-ins for Slurm's commands in ``bin``."""
    folder = tmp_path_factory.mktemp('processes')
    write_configs(folder, make_voc(folder / 'data', OBJECTS))
    (folder / 'trouble.py').write_text(TROUBLE)
    for kind in ('wait', 'input', 'fault', 'kill'):
        (folder / f'{kind}.py').write_text(CONFIG.format(kind=kind))
    (folder / 'bin').mkdir()
    for name, text in dict(srun=SRUN.format(python=sys.executable), scontrol='#!/bin/sh\necho 127.0.0.1\n').items():
        (folder / 'bin' / name).write_text(text)
        (folder / 'bin' / name).chmod(0o755)
    return folder


def start(folder: Path, *args, **variables) -> subprocess.Popen:
    """`train_chain.py` in ``folder``, as in a shell; its output goes into two files there."""
    env = dict(os.environ, PYTHONPATH=f'{REPO}{os.pathsep}{folder}', OMP_NUM_THREADS='1', **variables)
    command = [sys.executable, REPO / 'tools/train_chain.py', *args]
    with open(folder / 'out', 'w') as out, open(folder / 'err', 'w') as err:
        # A suite that runs in the background of a shell ignores Ctrl-C, and so would what it starts.
        return subprocess.Popen(list(map(str, command)), cwd=folder, env=env, stdout=out, stderr=err,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def chain_run(folder: Path, *args, **variables) -> SimpleNamespace:
    status = start(folder, *args, **variables).wait(500)
    return SimpleNamespace(status=status, out=(folder / 'out').read_text(), err=(folder / 'err').read_text())


def in_slurm(folder: Path) -> dict[str, str]:
    return dict(SLURM_JOB_ID='7', SLURM_NTASKS='2', PATH=os.pathsep.join([str(folder / 'bin'), os.environ['PATH']]))


# Whole chains


@on_cpu
@pytest.mark.parametrize('by', ['torchrun', 'slurm'])
def test_two_processes_train_and_test(folder, by):
    args, variables = (('--gpus', 2), {}) if by == 'torchrun' else (('--launcher', 'slurm'), in_slurm(folder))
    done = chain_run(folder, 'base.py', *args, '--work-dir', by, '--auto-scale-lr', **variables)
    assert done.status == 0, done.err[-3000:]
    assert ('--gpus 2: this machine has no GPU, so 2 processes train and test on CPU' in done.out) == (by == 'torchrun')
    assert torch.load(folder / by / 'base/final.pth')['meta']['world_size'] == 2
    log = (folder / by / 'base/output.log').read_text()
    assert "{'backend': 'gloo'}" in log and 'the current batch size is 4' in log
    assert '| base ' in done.out and 'Epoch(train)' not in done.out
    assert not list((folder / by).rglob('.failures_*'))
    again = chain_run(folder, 'base.py', '--work-dir', by, '--auto-scale-lr')
    assert again.status == 0 and 'base: already trained' in again.out and 'testing' not in again.out  # in one process too


@on_cpu
@pytest.mark.parametrize(('kind', 'by', 'told'), [
    ('input', 'torchrun', 'input: process 1: the lamp is dark: change it'),
    ('input', 'slurm', 'input: process 1: the lamp is dark: change it'),
    ('fault', 'torchrun', "fault: process 1: KeyError: 'lamp', by a fault of the program, see its traceback"),
    ('kill', 'torchrun', 'kill: process 1: it was ended by SIGKILL, as the system does where memory runs out: call the chain '
     'again to go on'),
])
def test_the_process_that_failed_is_told(folder, tmp_path, kind, by, told):
    """In one last line; what the others meet then is not."""
    args, variables = (('--gpus', 2), {}) if by == 'torchrun' else (('--launcher', 'slurm'), in_slurm(folder))
    done = chain_run(folder, f'{kind}.py', *args, '--work-dir', tmp_path, **variables)
    assert done.status == 1
    assert done.err.splitlines()[-1] == f'error: {told}'
    assert done.err.count('error: ') == 1 and 'ChildFailedError' not in done.err
    assert kind != 'input' or 'Traceback' not in done.err
    for rank in (0, 1):
        assert not Path(f'/proc/{(tmp_path / kind / f"{rank}.pid").read_text()}').exists()


@on_cpu
@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere a process does not hear of the end of its starter')
@pytest.mark.parametrize(('by', 'number', 'status'), [
    ('torchrun', signal.SIGKILL, -signal.SIGKILL), ('torchrun', signal.SIGINT, 130),
    ('slurm', signal.SIGKILL, -signal.SIGKILL)])
def test_all_processes_end_with_the_chain(folder, tmp_path, by, number, status):
    args, variables = (('--gpus', 2), {}) if by == 'torchrun' else (('--launcher', 'slurm'), in_slurm(folder))
    running = start(folder, 'wait.py', *args, '--work-dir', tmp_path, **variables)
    files = [tmp_path / f'wait/{rank}.pid' for rank in (0, 1)]
    while not all(file.is_file() and file.read_text() for file in files):
        assert running.poll() is None, (folder / 'err').read_text()
        time.sleep(0.1)
    running.send_signal(number)
    assert running.wait(60) == status
    limit = time.monotonic() + 30
    while any(alive(int(file.read_text())) for file in files):
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert number != signal.SIGINT or (folder / 'err').read_text().splitlines()[-1].startswith('stopped by Ctrl-C')


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie has no command line."""
    try:
        return bool(Path(f'/proc/{pid}/cmdline').read_text())
    except OSError:
        return False


# How many


@pytest.mark.parametrize(('gpus', 'there', 'start'), [
    (None, 0, ONE_PROCESS), (None, 8, ONE_PROCESS), (1, 0, ONE_PROCESS), (1, 2, ONE_PROCESS), (2, 2, Start(2, 'pytorch')),
    (2, 8, Start(2, 'pytorch')), (3, 0, Start(3, 'pytorch'))])
def test_number_of_processes(monkeypatch, capsys, gpus, there, start):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: there)
    assert start_by('none', gpus) == start
    assert ('3 processes train and test on CPU' in capsys.readouterr().out) == (gpus == 3)


def test_more_than_there_are(monkeypatch, tool, folder):
    """One line before anything is read."""
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    done = tool('train_chain.py', folder / 'base.py', '--gpus', 4)
    assert done.status == 1 and done.out == ''
    assert done.err == ('error: --gpus 4: this machine has 2 GPUs (torch.cuda.device_count()): give --gpus 2 or less, or '
                        'correct CUDA_VISIBLE_DEVICES\n')


def test_no_gpus_at_all(tool, folder):
    done = tool('train_chain.py', folder / 'base.py', '--gpus', 0)
    assert done.status == 2 and "'0': give a whole number of 1 or more" in done.err


@pytest.mark.parametrize(('variables', 'told'), [
    ({}, 'this is no allocation of Slurm'),
    (dict(SLURM_JOB_ID='7', PATH='/nowhere'), 'there is no srun on the PATH'),
    (dict(SLURM_JOB_ID='7'), 'give --gpus N, or --ntasks=N to sbatch'),
])
def test_no_slurm(monkeypatch, folder, variables, told):
    monkeypatch.delenv('SLURM_JOB_ID', raising=False)
    monkeypatch.delenv('SLURM_NTASKS', raising=False)
    monkeypatch.setenv('PATH', f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=told) as error:
        start_by('slurm')
    assert '\n' not in str(error.value)


def test_what_srun_gets(tmp_path, monkeypatch):
    (tmp_path / 'srun').write_text('#!/bin/sh\nprintf "%s\\n" "$@" $MASTER_PORT > "$0.txt"\nexit 3\n')
    (tmp_path / 'srun').chmod(0o755)
    variables = dict(SLURM_JOB_ID='123456', SLURM_CPUS_PER_TASK='5', SRUN_ARGS='--gres=gpu:2 --comment="a b"',
                     PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', SLURM_NTASKS='8')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert start_by('slurm') == Start(8, 'slurm')
    with pytest.raises(InputError, match='^stage: `srun .*train.py a b --launcher slurm` failed with status 3: see its'):
        start_by('slurm', 2)('stage', tmp_path / 'work', Path('train.py'), 'a b')
    assert (tmp_path / 'srun.txt').read_text().splitlines() == [
        '--ntasks=2', '--kill-on-bad-exit=1', '--cpus-per-task=5', '--gres=gpu:2', '--comment=a b', sys.executable, '-u',
        'train.py', 'a b', '--launcher', 'slurm', '23456']


@pytest.mark.parametrize(('launcher', 'told'), [
    ('pytorch', 'RANK is not set: start this by torchrun'), ('slurm', 'SLURM_PROCID is not set: start this by srun'),
    ('mpi', 'OMPI_COMM_WORLD_RANK is not set: start this by mpirun')])
def test_a_launcher_that_did_not_start_it(monkeypatch, launcher, told):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=f'--launcher {launcher}: {told}'):
        use_launcher(Config(), launcher)


def test_a_process_without_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('RANK', '3')
    monkeypatch.setenv('LOCAL_RANK', '1')
    use_launcher(Config(), 'pytorch')
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(InputError, match='process 2 of this machine has no GPU of its own, of 2 that it sees'):
        use_launcher(Config(), 'pytorch')


# Who failed


def failure(exitcode: int, timestamp: int = 100) -> SimpleNamespace:
    return SimpleNamespace(exitcode=exitcode, timestamp=timestamp)


@pytest.mark.parametrize(('found', 'told', 'words'), [
    ({1: failure(1), 0: failure(-signal.SIGTERM)}, {1: 'dark'}, 'process 1: dark'),
    ({1: failure(1), 0: failure(-signal.SIGABRT)}, {1: 'dark'}, 'process 1: dark'),
    ({1: failure(1), 0: failure(-signal.SIGKILL, 130)}, {1: 'dark'}, 'process 1: dark'),  # torchrun lost its patience
    ({0: failure(1), 2: failure(-signal.SIGSEGV)}, {0: 'connection lost'}, 'process 2: it was ended by SIGSEGV: call'),
    ({0: failure(-signal.SIGTERM, 101), 1: failure(2)}, {}, 'process 1: it failed with status 2: see its message above'),
])
def test_first_failure(tmp_path, found, told, words):
    for rank, message in told.items():
        (tmp_path / str(rank)).write_text(message)
    assert processes._first_failure(found, tmp_path).startswith(words)


def test_a_message_is_left_or_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(failures.FOLDER, str(tmp_path))
    monkeypatch.setenv('RANK', '3')
    with pytest.raises(SystemExit), user_errors():
        raise InputError('dark')
    assert failures.first(tmp_path) == (3, 'dark') and capsys.readouterr().err == ''
    monkeypatch.setenv('RANK', '4')
    with pytest.raises(SystemExit) as end, user_errors():
        raise RuntimeError('Connection closed by peer')  # a consequence
    assert end.value.code == 1 and not (tmp_path / '4').exists() and capsys.readouterr().err == ''
    monkeypatch.setenv(failures.FOLDER, str(tmp_path / 'gone'))
    with pytest.raises(SystemExit), user_errors():
        raise InputError('dark')
    assert capsys.readouterr().err == 'error: dark\n'


# Flags of train.py


def test_flags_are_passed_on(folder, monkeypatch, tool):
    made = []

    def record(self, name, work_dir, tool, *args):
        made.append((self, tool.name, *args))
        raise InputError('enough')

    monkeypatch.setattr(Start, '__call__', record)
    done = tool('train_chain.py', folder / 'base.py', '--gpus', 2, '--amp', '--auto-scale-lr', '--work-dir', folder / 'flags')
    assert done.status == 1 and 'error: enough' in done.err
    assert made == [(Start(2, 'pytorch'), 'train.py', str(folder / 'base.py'), '--amp', '--auto-scale-lr', '--work-dir',
                     str(folder / 'flags/base'))]
    done = tool('train_chain.py', folder / 'base.py', '--gpus', 2, '--work-dir', folder / 'flags')
    assert '2 processes: a step sees 2 times the batch_size of the config; --auto-scale-lr would scale' in done.out


def test_a_finished_stage_was_trained_by_these_flags(chain):
    stage, _ = stages_of(str(chain.student), str(chain.runs))
    check_finished(stage)
    with pytest.raises(InputError, match='finished stage base .*optim_wrapper.type: .* -> .*Amp'):
        check_finished(stage, flags=['--amp'])
    with pytest.raises(InputError, match='finished stage base .*auto_scale_lr'):
        check_finished(stage, flags=['--auto-scale-lr'])
    with pytest.raises(InputError, match='has no auto_scale_lr.enable'):
        check_finished(stage, ('auto_scale_lr._delete_=True', 'auto_scale_lr.x=1'), flags=['--auto-scale-lr'])
