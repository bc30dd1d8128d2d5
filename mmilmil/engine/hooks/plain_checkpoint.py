"""Checkpoints that torch's safe loading takes."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...checkpoint import from_plain, to_plain
from ...registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Saves plain data and tensors only, and builds MMEngine's history buffers again after loading.

    MMEngine's checkpoints hold objects that ``torch.load(weights_only=True)``, the default since torch 2.6, refuses, so that a
    run could not be resumed. The safety stays on here; the file changes instead.
    """

    # After every hook that adds to the checkpoint.
    priority = 'VERY_LOW'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Make the checkpoint plain."""
        for key in checkpoint:
            checkpoint[key] = to_plain(checkpoint[key])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Build history buffers again."""
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = from_plain(checkpoint['message_hub'])
