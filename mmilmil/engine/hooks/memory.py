"""What a stage keeps for the next one: a feature memory of its final model."""

import tempfile
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ...models.detectors import IncrementalDetector
from ...models.memory import MEMORY_FILE
from ...models.settings import check_number
from ...registry import HOOKS
from ..feature_memory import make_memory
from ..runner_state import bare_model
from ..work_dir import FINAL_CHECKPOINT


@HOOKS.register_module()
class MemoryHook(Hook):
    """Writes ``memory.pth`` beside ``final.pth``; see :mod:`mmilmil.models.memory`.

    A detector without RoI head has nothing to keep, as a line tells. A student's memory takes over that of its teacher, and a
    student that uses none leaves none, as its old classes would have no part in it.

    Args:
        per_class: Tensors of each class; 0 keeps nothing.
        background: Tensors of background.
    """

    def __init__(self, per_class: int = 160, background: int = 640) -> None:
        check_number(per_class, 'per_class of MemoryHook', 0, whole=True)
        check_number(background, 'background of MemoryHook', 0, whole=True)
        self.per_class = per_class
        self.background = background

    def before_final_model(self, runner: Runner, checkpoint: dict) -> None:
        """Build it from what ``final.pth`` is about to hold; called in the main process alone."""
        if not self.per_class:
            return
        model, work_dir = bare_model(runner), Path(runner.work_dir)
        if not hasattr(getattr(model, 'architecture', model), 'roi_head'):
            print_log('no feature memory: a one-stage detector has no RoI tensors to keep', 'current')
            return
        before = None
        if isinstance(model, IncrementalDetector):
            if model.memory is None:
                print_log('no feature memory is left: the stage used none of its teacher, without which the old classes would '
                          'have no part in it', 'current')
                return
            before = model.memory, model.teacher.detector
        with tempfile.TemporaryDirectory(dir=work_dir) as folder:
            final = Path(folder) / FINAL_CHECKPOINT
            torch.save(checkpoint, final)
            batch_size = runner.cfg.train_dataloader.get('batch_size') or 1  # the built loader has None with a batch sampler
            memory = make_memory(
                final, runner.train_dataloader.dataset, batch_size, work_dir / MEMORY_FILE, before=before,
                per_class=self.per_class, background=self.background, seed=runner.seed or 0,
                device=str(next(model.parameters()).device))
        print_log(f'feature memory {memory.path}: {memory}', 'current')
