"""Starting the tools of a chain: in one process, in several by torchrun, or by Slurm's ``srun``; and how they end."""

import contextlib
import ctypes
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Optional

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..errors import InputError
from . import failures

_BOUND = Path(__file__).with_name('bound_process.py')
_SOON = 5  # seconds: torchrun kills those who do not end by themselves only later
_PATIENCE = 30.  # seconds that srun has to end its processes
# What torchrun takes over while it runs.
_SIGNALS = [getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT') if hasattr(signal, name)]


@dataclass(frozen=True)
class Start:
    """How a tool is started; called, it starts one and waits for its end.

    Attributes:
        processes: How many, one a GPU.
        launcher: ``none`` for one process, ``pytorch`` for several on this machine, ``slurm`` for those of an allocation.
        log: File that gets what they write, behind what is in it; ``None`` where they write as this process does.
    """

    processes: int = 1
    launcher: str = 'none'
    log: Optional[Path] = field(default=None, compare=False)

    def __call__(self, name: str, work_dir: Path, tool: Path, *args: str) -> None:
        """Run a tool.

        Args:
            name: What is run, for messages.
            work_dir: Its work dir, which all its processes see.
            tool: Its file.
            args: Its arguments; the launcher is added.

        Raises:
            InputError: it failed; of several processes with the message of the one that failed first.
        """
        if self.launcher == 'none' and not self.log:
            command = [str(tool), *args]
            status = subprocess.run([sys.executable, *command], check=False, preexec_fn=ending_with_this_process()).returncode
            if status:
                raise InputError(f'`{" ".join(command)}` failed with status {status}: see its message above')
            return
        command = [str(tool), *args]
        run, place = _one_process, None
        if self.launcher != 'none':
            command += ['--launcher', self.launcher]
            run = _torchrun
        if self.launcher == 'slurm':  # several machines see the work dir
            run, place = _srun, work_dir
            work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.failures_', dir=place) as folder:
            failed = run(self.processes, Path(folder), command, self.log)
        if isinstance(failed, signal.Signals):  # our own
            signal.raise_signal(failed)
        if failed:
            if self.log:  # a message that was left is in it as well
                with open(self.log, 'a', encoding='utf-8') as log:
                    log.write(f'error: {failed}\n')
            raise InputError(f'{name}: {failed}')


ONE_PROCESS = Start()


def start_by(launcher: str, gpus: Optional[int] = None) -> Start:
    """How the tools of a chain are started by these flags; what a user should know of it is told.

    Args:
        launcher: ``none`` or ``slurm``.
        gpus: ``--gpus``, the number of processes; by default one, under Slurm the allocation's number of tasks.

    Raises:
        InputError: there are fewer GPUs; this is no allocation of Slurm, or one that does not tell its number of tasks.
    """
    if launcher == 'slurm':
        return Start(_tasks(gpus), launcher)
    if gpus in (None, 1):
        return Start()
    there = torch.cuda.device_count()
    if 0 < there < gpus:
        raise InputError(f'--gpus {gpus}: this machine has {there} GPU{"s" * (there > 1)} (torch.cuda.device_count()): give '
                         f'--gpus {there} or less, or correct CUDA_VISIBLE_DEVICES')
    if not there:
        print(f'--gpus {gpus}: this machine has no GPU, so {gpus} processes train and test on CPU', flush=True)
    return Start(gpus, 'pytorch')


def _tasks(gpus: Optional[int]) -> int:
    if 'SLURM_JOB_ID' not in os.environ:
        raise InputError('--launcher slurm: this is no allocation of Slurm (SLURM_JOB_ID is not set): put the command into a '
                         'script for sbatch, or call it in a shell of salloc')
    if not shutil.which('srun'):
        raise InputError('--launcher slurm: there is no srun on the PATH: call it where Slurm is installed')
    tasks = gpus or int(os.environ.get('SLURM_NTASKS', 0))
    if not tasks:
        raise InputError('--launcher slurm: the allocation does not tell its number of tasks (SLURM_NTASKS): give --gpus N, or '
                         '--ntasks=N to sbatch')
    return tasks


def _one_process(processes: int, folder: Path, command: list[str], log: Path) -> Optional[str]:
    """Run a Python file; returns the message that it left."""
    env = {**os.environ, failures.FOLDER: str(folder)}
    with open(log, 'ab') as output:
        status = subprocess.run([sys.executable, *command], check=False, env=env, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, preexec_fn=ending_with_this_process()).returncode
    if not status:
        return None
    told = failures.first(folder)
    if told and status > 0:
        return told[1]
    return f'{Path(command[0]).name} {_ended(status, log)}'


def _torchrun(processes: int, folder: Path, command: list[str], log: Optional[Path]) -> str | signal.Signals | None:
    """Run a Python file in several processes; returns the message of the one that failed first, or what stopped this one."""
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=0, run_id=uuid.uuid4().hex, rdzv_backend='c10d',
        rdzv_endpoint='localhost:0', local_addr='127.0.0.1')
    # Not SIGHUP under nohup.
    config.signals_to_handle = ','.join(one.name for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN)
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # as the command torchrun sets it
    with _as_before():
        try:
            elastic_launch(config, sys.executable)(str(_BOUND), str(os.getpid()), str(folder), str(log or ''), *command)
        except ChildFailedError as error:
            return _first_failure(error.failures, folder, log)
        except SignalException as error:
            return error.sigval
    return None


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Take the signals back from torchrun, and keep its own report of a failure to itself."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        for number, handler in handlers.items():
            if handler is not None:  # one that was set outside of Python
                signal.signal(number, handler)


def _first_failure(found: Mapping[int, ProcessFailure], folder: Path, log: Optional[Path] = None) -> str:
    """The process that failed, and why; not one that only lost the connection to it."""
    start = min(failure.timestamp for failure in found.values())
    killed = [rank for rank, failure in found.items() if failure.exitcode < 0 and failure.timestamp - start < _SOON
              and failure.exitcode not in (-signal.SIGABRT, -signal.SIGTERM)]  # what losing the others, and torchrun, end it by
    told = failures.first(folder)
    if told and not killed:
        return f'process {told[0]}: {told[1]}'
    rank = min(killed or found, key=lambda rank: found[rank].timestamp)
    return f'process {rank}: it {_ended(found[rank].exitcode, log)}'


def _ended(status: int, log: Optional[Path]) -> str:
    """How a process ended that left no message."""
    if status < 0:
        return (f'was ended by {signal.Signals(-status).name}'
                f'{", as the system does where memory runs out" * (status == -signal.SIGKILL)}: call the chain again to go on')
    return f'failed with status {status}: see {log or "its message above"}'


def _srun(processes: int, folder: Path, command: list[str], log: Optional[Path]) -> Optional[str]:
    """Run a Python file as a step of the allocation; returns the message of the process that failed first."""
    job, cpus = os.environ['SLURM_JOB_ID'], os.environ.get('SLURM_CPUS_PER_TASK')
    step = ['srun', f'--ntasks={processes}', '--kill-on-bad-exit=1', *([f'--cpus-per-task={cpus}'] if cpus else []),
            *shlex.split(os.environ.get('SRUN_ARGS', '')), sys.executable, '-u', *command]
    env = {**os.environ, failures.FOLDER: str(folder.resolve())}
    env.setdefault('MASTER_PORT', str(20000 + int(job) % 10000))  # MMEngine's own is the same for all jobs of a machine
    with open(log, 'ab') if log else contextlib.nullcontext() as output:
        process = subprocess.Popen(step, env=env, stdout=output, stderr=output and subprocess.STDOUT,
                                   preexec_fn=ending_with_this_process(signal.SIGTERM))  # srun passes it on
    try:
        status = process.wait()
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
        process.kill()
        raise
    told = failures.first(folder)
    if told and status:
        return f'process {told[0]}: {told[1]}'
    return f'`{" ".join(step)}` {_ended(status, log)}' if status else None


def ending_with_this_process(by: signal.Signals = signal.SIGKILL) -> Optional[Callable]:
    """A ``preexec_fn`` for a process that ends with this one, however that ends; it would train beside the next call's.

    Args:
        by: The signal that it gets.
    """
    return partial(_end_with, os.getpid(), by) if sys.platform == 'linux' else None


def _end_with(parent: int, by: signal.Signals) -> None:
    ctypes.CDLL(None).prctl(1, by)  # PR_SET_PDEATHSIG, see prctl(2)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)
