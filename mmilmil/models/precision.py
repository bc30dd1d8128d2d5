"""Which values keep full precision under automatic mixed precision (protocol 14)."""

from typing import Union

import torch
from torch import Tensor

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
