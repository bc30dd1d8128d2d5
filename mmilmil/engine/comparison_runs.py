"""Running the stages of a comparison unattended, several at a time; one that fails stops only what stands on it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import torch

from ..errors import InputError
from .chain import TOOLS, stage_commands
from .chain_stages import ChainStage
from .comparison import ComparedChain, final_figures, runs_of, with_seed
from .processes import ending_with_this_process

LOG_FILE = 'output.log'
"""In a run's work dir: what its tools wrote."""

_TAIL = 15  # lines of a log
_PATIENCE = 10.  # seconds that a run has to end when the comparison is stopped


def run_stages(chains: Sequence[ComparedChain], options: Sequence[str] = (), flags: Sequence[str] = (),
               jobs: int = 1, tools: Path = TOOLS, on_val: bool = False) -> dict[Path, str]:
    """Train and test what is missing of these runs.

    Each tool runs in a process of its own, which ends with this one, and writes into :data:`LOG_FILE`. With several at a time
    each gets its share of the cores, unless ``OMP_NUM_THREADS`` is set, and where there are several GPUs one of them.

    Args:
        chains: The chains; see :func:`mmilmil.engine.comparison.check_comparison` for what is to be asked before.
        options: Settings for ``--cfg-options``, as ``key=value``.
        flags: Of :data:`mmilmil.engine.chain.FLAGS`.
        jobs: How many run at a time.
        tools: Folder of the ``train.py`` and ``test.py`` to call.
        on_val: Whether the validations have the figures, so that nothing is tested.

    Returns:
        By work dir why a run failed, or could not be started as its teacher failed.
    """
    runs = runs_of(chains)
    waiting, running, failed = dict(runs), {}, {}
    done: set[Path] = set()
    print(f'{len(chains)} chains, {len(runs)} runs, {jobs} at a time', flush=True)
    slots = list(range(jobs))
    try:
        while waiting or running:
            for work_dir, (stage, seed) in list(waiting.items()):
                if stage.teacher in failed:
                    del waiting[work_dir]
                    failed[work_dir] = f'its teacher, {stage.teacher}, failed'
                    continue
                if not slots or (stage.teacher in runs and stage.teacher not in done):
                    continue
                del waiting[work_dir]
                commands = stage_commands(stage, with_seed(options, seed), tools, flags, test=not on_val)
                slot = slots.pop(0)
                running[work_dir] = _Run(stage, commands, slot, _environment(slot, jobs))
            for work_dir, run in list(running.items()):
                try:
                    finished = run.advance()
                    if finished and not run.stage.brought:
                        final_figures(run.stage, on_val)
                except (InputError, OSError) as error:
                    finished, failed[work_dir] = True, str(error)
                    print(f'FAILED {work_dir}: {error}{run.tail()}', flush=True)
                if finished:
                    del running[work_dir]
                    slots.append(run.slot)
                    if work_dir not in failed:
                        done.add(work_dir)
                        print(f'[{len(done) + len(failed)}/{len(runs)}] {work_dir}: finished', flush=True)
            if running:
                time.sleep(0.1)
    finally:
        _stop(run.process for run in running.values() if run.process)
    return failed


@dataclass
class _Run:
    """A stage whose tools are run one after the other."""

    stage: ChainStage
    commands: Iterator[tuple[Path, list[str]]]
    slot: int
    env: Mapping[str, str]
    process: Optional[subprocess.Popen] = None
    tool: str = ''
    begin: int = 0

    @property
    def log(self) -> Path:
        return self.stage.work_dir / LOG_FILE

    def advance(self) -> bool:
        """Start the next tool where none is running; whether all have ended.

        Raises:
            InputError: the one that ended has failed, or the next one cannot be started.
        """
        if self.process:
            status = self.process.poll()
            if status is None:
                return False
            self.process = None
            if status:
                ended = f'failed with status {status}' if status > 0 else f'was ended by {signal.Signals(-status).name}'
                raise InputError(f'{self.tool} {ended}')
        command = next(self.commands, None)
        if command is None:
            return True
        tool, args = command
        self.tool = tool.name
        self.stage.work_dir.mkdir(parents=True, exist_ok=True)
        with open(self.log, 'ab') as log:
            self.begin = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, str(tool), *args], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self.env, preexec_fn=ending_with_this_process())
        return False

    def tail(self) -> str:
        """The end of what the tool wrote, in lines below a message; empty where none was started."""
        if not self.tool:
            return ''
        with suppress(OSError), open(self.log, 'rb') as log:
            log.seek(self.begin)
            lines = log.read().decode('utf-8', errors='replace').splitlines()[-_TAIL:]
            return ''.join(f'\n    {line}' for line in [f'the end of {self.log}:', *lines])
        return ''


def _environment(slot: int, jobs: int) -> dict[str, str]:
    """The environment of one of several runs at a time."""
    env = dict(os.environ)
    if jobs > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
        env.setdefault('OMP_NUM_THREADS', str(max(1, cores // jobs)))
        count = torch.cuda.device_count()
        if count > 1:
            visible = [name for name in env.get('CUDA_VISIBLE_DEVICES', '').split(',') if name]
            visible = visible or [str(index) for index in range(count)]
            env['CUDA_VISIBLE_DEVICES'] = visible[slot % len(visible)]
    return env


def _stop(processes: Iterator[subprocess.Popen]) -> None:
    """End what still runs."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    limit = time.monotonic() + _PATIENCE
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0., limit - time.monotonic()))
        process.kill()

