"""Running stages unattended, several at a time, as a comparison does; one that fails stops only what stands on it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch

from ..errors import InputError
from .chain import TOOLS, stage_commands
from .chain_stages import ChainStage
from .comparison import ComparedChain, final_figures, runs_of, with_seed
from .processes import ending_with_this_process
from .screen import Screen
from .stage_log import LOG_FILE, end_of_log, log_size
from .stage_state import State

_PATIENCE = 10.  # seconds that a run has to end when the others are stopped


def run_stages(chains: Sequence[ComparedChain], options: Sequence[str] = (), flags: Sequence[str] = (), jobs: int = 1,
               tools: Path = TOOLS, on_val: bool = False, screen: Optional[Screen] = None) -> dict[Path, str]:
    """Train and test what is missing of the runs of a comparison.

    Args:
        chains: The chains; see :func:`mmilmil.engine.comparison.check_comparison` for what is to be asked before.
        options: Settings for ``--cfg-options``, as ``key=value``.
        flags: Of :data:`mmilmil.engine.chain.FLAGS`.
        jobs: How many run at a time.
        tools: Folder of the ``train.py`` and ``test.py`` to call.
        on_val: Whether the validations have the figures, so that nothing is tested.
        screen: What shows it; by default lines do.

    Returns:
        See :func:`run_together`.
    """
    runs, screen = runs_of(chains), screen or Screen()
    screen.note(f'{len(chains)} chains, {len(runs)} runs, {jobs} at a time')
    settings = {work_dir: with_seed(options, seed) for work_dir, (_, seed) in runs.items()}
    return run_together(
        [stage for stage, _ in runs.values()], screen, lambda stage: settings[stage.work_dir], flags, jobs, tools,
        test=not on_val, check=lambda stage: stage.brought or final_figures(stage, on_val))


def run_together(stages: Sequence[ChainStage], screen: Screen, options: Callable[[ChainStage], Sequence[str]],
                 flags: Sequence[str] = (), jobs: int = 1, tools: Path = TOOLS, test: bool = True,
                 check: Callable[[ChainStage], Any] = ChainStage.metrics, go_on: bool = True,
                 shown: Callable[[ChainStage], bool] = lambda stage: False) -> dict[Path, str]:
    """Train and test what is missing of these stages, several at a time.

    Each tool runs in a process of its own, which ends with this one, and writes into
    :data:`~mmilmil.engine.stage_log.LOG_FILE`. With several at a time each gets its share of the cores, unless
    ``OMP_NUM_THREADS`` is set, and where there are several GPUs one of them.

    Args:
        stages: The stages, a teacher before its students.
        screen: What shows them.
        options: Settings of a stage for ``--cfg-options``, as ``key=value``.
        flags: Of :data:`mmilmil.engine.chain.FLAGS`.
        jobs: How many run at a time.
        tools: Folder of the ``train.py`` and ``test.py`` to call.
        test: Whether they are tested.
        check: Throws :class:`InputError` where a stage that ran has not what it should.
        go_on: Whether the others run where one failed.
        shown: Whether a stage writes where this process does, not into its log.

    Returns:
        By work dir why a stage failed, or could not be started as its teacher failed.
    """
    waiting, running, failed = {stage.work_dir: stage for stage in stages}, {}, {}
    total, done = len(waiting), set()
    slots = list(range(jobs))
    try:
        while waiting or running:
            for work_dir, stage in list(waiting.items()):
                if stage.teacher in failed:
                    del waiting[work_dir]
                    failed[work_dir] = f'its teacher, {stage.teacher}, failed'
                    screen.enter(stage, State.FAILED)
                    continue
                if not slots or stage.teacher in waiting or stage.teacher in running:
                    continue
                del waiting[work_dir]
                commands = stage_commands(stage, tuple(options(stage)), tools, flags, test=test, screen=screen)
                slot = slots.pop(0)
                running[work_dir] = _Run(stage, commands, slot, _environment(slot, jobs), shown(stage))
            for work_dir, run in list(running.items()):
                try:
                    finished = run.advance()
                    if finished:
                        check(run.stage)
                except (InputError, OSError) as error:
                    finished, failed[work_dir] = True, str(error)
                    screen.enter(run.stage, State.FAILED, f'FAILED {work_dir}: {error}{run.tail()}')
                if finished:
                    del running[work_dir]
                    slots.append(run.slot)
                    if work_dir not in failed:
                        done.add(work_dir)
                        screen.enter(run.stage, State.DONE if run.tool else State.THERE,
                                     f'[{len(done) + len(failed)}/{total}] {work_dir}: finished')
            if failed and not go_on:
                break
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
    shown: bool = False
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
        self.begin = log_size(self.log)
        with contextlib.nullcontext() if self.shown else open(self.log, 'ab') as log:
            self.process = subprocess.Popen(
                [sys.executable, str(tool), *args], stdin=subprocess.DEVNULL, stdout=log, env=self.env,
                stderr=log and subprocess.STDOUT, preexec_fn=ending_with_this_process())
        return False

    def tail(self) -> str:
        """The end of what the tool wrote, in lines below a message; empty where none was started."""
        return end_of_log(self.log, self.begin) if self.tool and not self.shown else ''


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
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0., limit - time.monotonic()))
        process.kill()

