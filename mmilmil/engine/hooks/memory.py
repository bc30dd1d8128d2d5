"""What a stage keeps for the next one: a feature memory of its final model."""

from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ...models.detectors import IncrementalDetector
from ...registry import HOOKS
from ..feature_memory import make_memory
from ..runner_state import bare_model
from ..work_dir import FINAL_CHECKPOINT


@HOOKS.register_module()
class MemoryHook(Hook):
    """Writes ``memory.pth`` beside ``final.pth`` when training ends; see :mod:`mmilmil.models.memory`.

    A detector without RoI head has nothing to keep, as a line tells. A student's memory takes over that of its teacher.

    Args:
        per_class: Tensors of each class.
        background: Tensors of background.
    """

    priority = 'LOWEST'  # after FinalModelHook

    def __init__(self, per_class: int = 160, background: int = 320) -> None:
        self.per_class = per_class
        self.background = background

    def after_train(self, runner: Runner) -> None:
        """Build and write it, in the main process."""
        model = bare_model(runner)
        if not hasattr(getattr(model, 'architecture', model), 'roi_head'):
            print_log('no feature memory: a one-stage detector has no RoI tensors to keep', 'current')
            return
        if is_main_process():
            before = None
            if isinstance(model, IncrementalDetector) and model.memory is not None:
                before = model.memory, model.teacher.detector
            memory = make_memory(
                Path(runner.work_dir) / FINAL_CHECKPOINT, runner.train_dataloader.dataset, runner.train_dataloader.batch_size,
                before=before, per_class=self.per_class, background=self.background, seed=runner.seed or 0,
                device=str(next(model.parameters()).device))
            print_log(f'feature memory {memory.path}: {memory}', 'current')
        barrier()
