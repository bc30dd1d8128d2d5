"""Which values keep full precision under automatic mixed precision (docs/protocol.md, rule 14)."""

from typing import Union

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

REDUCED = (torch.float16, torch.bfloat16)
Outputs = Union[Tensor, list[Tensor], tuple[Tensor, ...]]


def full_precision(values: Outputs) -> Outputs:
    """Logits and deltas in float32 where autocast made them shorter; others as they are.

    What a head returns is small, and what follows needs the precision: boxes in pixels, and mmcv's non-maximum
    suppression, which takes no shorter type on CPU.
    """
    if isinstance(values, (list, tuple)):
        return type(values)(full_precision(value) for value in values)
    return values.float() if values.dtype in REDUCED else values


def for_roi_align(levels: Union[list[Tensor], tuple[Tensor, ...]]) -> list[Tensor]:
    """Feature maps as mmcv's RoIAlign takes them: bfloat16, which it does not know, becomes float32."""
    return [level.float() if level.dtype == torch.bfloat16 else level for level in levels]


def keep_full_precision(detector: nn.Module) -> list[RemovableHandle]:
    """Make what a detector's heads return and what its RoIAlign gets float32, until the handles are removed.

    Without mixed precision nothing changes.
    """
    handles = []
    for module in detector.modules():
        if isinstance(module, (BaseDenseHead, BBoxHead)):
            handles.append(module.register_forward_hook(lambda head, args, outputs: tuple(map(full_precision, outputs))))
        elif isinstance(module, BaseRoIExtractor):
            handles.append(module.register_forward_pre_hook(lambda extractor, args: (for_roi_align(args[0]), *args[1:])))
    return handles
