"""Mixed precision in stock detectors."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...models.precision import keep_full_precision
from ...registry import HOOKS
from ..runner_state import bare_model


@HOOKS.register_module()
class PrecisionHook(Hook):
    """Lets a stock detector be trained in bfloat16: mmcv's RoIAlign and, on CPU, its NMS do not know that type.

    What the heads return and what RoIAlign gets becomes float32, as in a student's own training step. Without mixed precision
    nothing changes.
    """

    def before_train(self, runner: Runner) -> None:
        """Hook the heads."""
        self._handles = keep_full_precision(bare_model(runner))

    def after_train(self, runner: Runner) -> None:
        """Leave the detector as it was."""
        for handle in self._handles:
            handle.remove()
