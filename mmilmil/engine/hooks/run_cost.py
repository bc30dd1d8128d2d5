"""What a training cost, as a file: time of a step, peak memory, and what the method keeps of earlier stages."""

import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Optional

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...atomic_write import write_atomically
from ...errors import InputError
from ...loaders import innermost_datasets
from ...registry import HOOKS
from ..runner_state import bare_model

COST_FILE = 'cost.json'
# Where MMEngine's message hub keeps them, which checkpoints carry. The log shows what begins with `train/`.
_STEP, _WHOLE, _PEAK = 'cost/step', 'cost/step_with_data', 'cost/peak_memory'


@HOOKS.register_module()
class RunCostHook(Hook):
    """Writes ``cost.json`` into the work dir when training ends.

    ``step_seconds`` is the median time of a training step without loading its batch, ``step_seconds_with_data`` that from the
    end of a step to the end of the next one in the same epoch; the GPU has finished a step when its time is taken.
    ``timed_steps`` tells over how many steps, ``iterations`` how many the run had: a resumed run has those of before from its
    checkpoint, fewer are timed where that is an earlier version's. ``peak_memory_mib`` is, as ``peak_memory_of`` tells, what
    torch had allocated on the GPU (``max_memory_allocated``) or the resident memory of the process (``VmHWM`` of Linux, else
    null), of the process that writes, without a data loader's workers. ``device``, ``threads`` (torch's, of a process) and
    ``processes`` say on what; ``kept`` what is kept of earlier stages: ``memory_bytes`` of the model's memory (``model.kept``),
    ``images`` and ``image_bytes`` of replayed images (``replayed`` of a dataset), 0 where there is none.
    """

    def before_train(self, runner: Runner) -> None:
        """Nothing has ended yet."""
        self._started = self._ended = None

    def before_train_epoch(self, runner: Runner) -> None:
        """A validation and the workers' start are in no step."""
        self._ended = _now()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Nor is one that a training by iterations stops for."""
        self._ended = _now()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """The batch is there."""
        self._started = _now()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Note the step."""
        now, hub = _now(), runner.message_hub
        hub.update_scalar(_STEP, now - self._started)
        hub.update_scalar(_WHOLE, now - self._ended)
        self._ended = now
        # MMEngine sets torch's back to zero whenever it writes a line of the log.
        peak = max(peak_memory() or 0., hub.runtime_info.get(_PEAK, 0.))
        hub.update_info(_PEAK, peak)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        hub = runner.message_hub
        steps, whole = ([float(value) for value in hub.log_scalars[key].data[0]] if key in hub.log_scalars else []
                        for key in (_STEP, _WHOLE))
        on_gpu = torch.cuda.is_available()
        content = dict(
            step_seconds=statistics.median(steps) if steps else None,
            step_seconds_with_data=statistics.median(whole) if whole else None,
            timed_steps=len(steps),
            iterations=runner.iter,
            peak_memory_mib=hub.runtime_info.get(_PEAK) or None,
            peak_memory_of='max_memory_allocated' if on_gpu else 'VmHWM',
            device=torch.cuda.get_device_name() if on_gpu else cpu_name(),
            threads=torch.get_num_threads(),
            processes=runner.world_size,
            kept=_kept(runner))
        write_atomically((json.dumps(content, indent=2, allow_nan=False) + '\n').encode(), Path(runner.work_dir) / COST_FILE)


def read_cost(work_dir: Path) -> Optional[dict]:
    """What a finished training cost; ``None`` of one that an earlier version made.

    Raises:
        InputError: the file holds something else.
    """
    path = work_dir / COST_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{path} is no JSON ({error}): remove it, the tables then tell no cost of that run') from error
    if not isinstance(found, dict) or not isinstance(found.get('kept'), dict):
        raise InputError(f'{path} is no file of RunCostHook: remove it, the tables then tell no cost of that run')
    return found


def peak_memory() -> Optional[float]:
    """Peak memory of this process in MiB: on the GPU where there is one, else resident; ``None`` if that is unknown."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        with open('/proc/self/status', encoding='ascii', errors='replace') as file:
            return next((int(line.split()[1]) / 1024 for line in file if line.startswith('VmHWM:')), None)
    except OSError:
        return None


def cpu_name() -> str:
    """The processor, as the system calls it, and the number of its cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo', encoding='utf-8', errors='replace') as file:
            name = next((line.partition(':')[2].strip() for line in file if line.startswith('model name')), name)
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'{name}, {cores} core{"s" * (cores != 1)}'


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _kept(runner: Runner) -> dict[str, int]:
    replayed = [getattr(dataset, 'replayed', None) or {} for dataset in innermost_datasets(runner.train_dataloader.dataset)]
    memory = getattr(bare_model(runner), 'kept', None) or {}
    return dict(
        memory_bytes=int(memory.get('memory_bytes', 0)),
        images=sum(int(found.get('images', 0)) for found in replayed),
        image_bytes=sum(int(found.get('bytes', 0)) for found in replayed))
