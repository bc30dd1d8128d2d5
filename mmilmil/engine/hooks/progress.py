"""How far a run is, for the tool that started it."""

import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Optional

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ...registry import HOOKS

PROGRESS_FILE = '.progress.json'
"""In a run's work dir, while somebody asks for it."""

ASKED = 'MMILMIL_PROGRESS'
"""Environment variable: set to 1 by who reads the file (:mod:`mmilmil.engine.screen`), whatever launcher is between."""

_PAUSE = 0.5  # seconds between two writes
_WINDOW = 20  # steps over which losses are averaged


@HOOKS.register_module()
class ProgressHook(Hook):
    """Writes how far the run is into :data:`PROGRESS_FILE` of the work dir, at most twice a second, and changes nothing else.

    ``phase`` is ``train``, ``val``, ``test`` or ``finishing`` (what is done after the last step); ``done`` of ``total`` steps
    or batches, ``epoch`` of ``epochs`` (null of a training by iterations and of a test); ``share``, in
    [0, 1], of all training steps or of the test; ``left``, seconds, MMEngine's own estimate of the same, null where it makes
    none; ``losses``, means over the last steps by name. A disk that takes no more stops no training.
    """

    # After MMEngine's RuntimeInfoHook, which notes the losses, and before what a training does at its end.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._next = 0.
        self._losses: dict[str, float] = {}
        self._share = 0.

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Tell the step and its losses."""
        done, total = runner.iter + 1, runner.max_iters
        if not self._due(done == total):
            return
        scalars = runner.message_hub.log_scalars
        self._losses = {name: float(scalars[f'train/{name}'].mean(_WINDOW)) for name in outputs or ()
                        if 'loss' in name and f'train/{name}' in scalars}
        self._write(runner, 'train', done, total, *_epochs(runner))

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Tell the batch."""
        if self._due(batch_idx == 0):
            self._write(runner, 'val', batch_idx + 1, len(runner.val_dataloader), *_epochs(runner, over=True))

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Tell the batch."""
        if self._due(batch_idx == 0):
            self._write(runner, 'test', batch_idx + 1, len(runner.test_dataloader))

    def after_train(self, runner: Runner) -> None:
        """What follows, such as a feature memory, takes its time too."""
        if is_main_process():
            self._write(runner, 'finishing', runner.iter, runner.max_iters, *_epochs(runner, over=True))

    def _due(self, now: bool) -> bool:
        if not is_main_process() or not (now or time.monotonic() >= self._next):
            return False
        self._next = time.monotonic() + _PAUSE
        return True

    def _write(self, runner: Runner, phase: str, done: int, total: int, epoch: Optional[int] = None,
               epochs: Optional[int] = None) -> None:
        # In a validation it is that of the validation.
        left = runner.message_hub.runtime_info.get('eta') if phase in ('train', 'test') else None
        if phase != 'val':
            self._share = done / total if total else 0.
        content = dict(phase=phase, done=done, total=total, epoch=epoch, epochs=epochs, share=self._share,
                       left=float(left) if left is not None and math.isfinite(left) else None, losses=self._losses)
        path = Path(runner.work_dir) / PROGRESS_FILE
        draft = path.with_name(f'{PROGRESS_FILE}.part')
        with suppress(OSError):  # not through to the disk as `write_atomically`: it is of no use after a crash
            draft.write_text(json.dumps(content), encoding='utf-8')
            os.replace(draft, path)


def _epochs(runner: Runner, over: bool = False) -> tuple[Optional[int], Optional[int]]:
    if not isinstance(runner._train_loop, EpochBasedTrainLoop):
        return None, None
    return runner.epoch + (not over), runner.max_epochs


def report_progress(runner: Runner) -> None:
    """Give the runner a :class:`ProgressHook` where who started this process asks for it."""
    if os.environ.get(ASKED) == '1':
        runner.register_hook(ProgressHook())
