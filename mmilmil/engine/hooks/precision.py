"""Mixed precision in stock detectors."""

from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ...models.precision import for_roi_align, full_precision
from ...registry import HOOKS
from ..runner_state import bare_model


@HOOKS.register_module()
class PrecisionHook(Hook):
    """Lets a stock detector be trained in bfloat16: mmcv's RoIAlign and, on CPU, its NMS do not know that type.

    What the two heads return and what RoIAlign gets becomes float32, as in :class:`IncrementalFasterRCNN` itself. Without
    mixed precision nothing changes.
    """

    def before_train(self, runner: Runner) -> None:
        """Hook the heads."""
        self._handles = []
        for module in bare_model(runner).modules():
            if isinstance(module, (RPNHead, BBoxHead)):
                self._handles.append(module.register_forward_hook(_full_outputs))
            elif isinstance(module, BaseRoIExtractor):
                self._handles.append(module.register_forward_pre_hook(_known_levels))

    def after_train(self, runner: Runner) -> None:
        """Leave the detector as it was."""
        for handle in self._handles:
            handle.remove()


def _full_outputs(head: nn.Module, args: tuple, outputs: tuple) -> tuple:
    return tuple(map(full_precision, outputs))


def _known_levels(extractor: nn.Module, args: tuple) -> tuple:
    levels, *rest = args
    return (for_roi_align(levels), *rest)
