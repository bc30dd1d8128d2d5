"""What torch's exporter has no operator for, as operators of our own: each is mmcv's in torch and plain ONNX in the file.

:mod:`mmilmil.deploy.translations` has the other half.
"""

import torch
from mmcv.ops import batched_nms as mmcv_batched_nms
from mmcv.ops import roi_align
from torch import Tensor

INVALID = -1.0
"""Score of a box that takes no part in suppression; those of the others are 0 or more."""


@torch.library.custom_op('mmilmil::best', mutates_args=())
def best(scores: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The best scores in their order, of equal ones the first, as ONNX has them; MMDetection's sort leaves that open.

    Args:
        scores: (N,).
        limit: How many at most.

    Returns:
        Scores and places, (min(N, limit),) each.
    """
    values, places = scores.sort(descending=True, stable=True)
    return values[:limit].clone(), places[:limit].clone()


@best.register_fake
def _(scores: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    number = torch.sym_min(scores.shape[0], limit)
    return scores.new_empty(number), scores.new_empty(number, dtype=torch.int64)


@torch.library.custom_op('mmilmil::parted', mutates_args=())
def parted(places: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """Quotient and rest of places (N,) int64, which are not negative: whole numbers throughout, where torch's exporter goes by
    float32, exact up to 2^24 only."""
    return places // divisor, places % divisor


@parted.register_fake
def _(places: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(places), torch.empty_like(places)


@torch.library.custom_op('mmilmil::suppress', mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, class_agnostic: bool, limit: int) -> Tensor:
    """Non-maximum suppression by group: mmcv's ``batched_nms`` of the boxes that are valid.

    Args:
        boxes: (N, 4), x1 y1 x2 y2.
        scores: (N,), :data:`INVALID` of those that take no part.
        groups: (N,) int64: only boxes of one group suppress one another.
        iou_threshold: IoU above which the box of the lower score goes.
        class_agnostic: Whether groups do not count.
        limit: How many boxes are kept at most.

    Returns:
        Places of the kept boxes, (K,) int64, best score first.
    """
    valid = (scores > INVALID / 2).nonzero().squeeze(1)
    if not len(valid):
        return valid
    settings = dict(type='nms', iou_threshold=iou_threshold, class_agnostic=class_agnostic)
    return valid[mmcv_batched_nms(boxes[valid], scores[valid], groups[valid], settings)[1][:limit]]


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, class_agnostic: bool, limit: int) -> Tensor:
    # Of no box nothing else is computed than of some; told that there is one, stock code's branches for none need no answer.
    return scores.new_empty(torch.library.get_ctx().new_dynamic_size(min=1), dtype=torch.int64)


@torch.library.custom_op('mmilmil::pool', mutates_args=())
def pool(features: list[Tensor], boxes: Tensor, levels: Tensor, size: list[int], scales: list[float], sampling_ratio: int,
         aligned: bool) -> Tensor:
    """mmcv's RoIAlign of boxes, each on its own level.

    Args:
        features: By level (1, C, H, W).
        boxes: (N, 4), in pixels of the input.
        levels: (N,) int64.
        size: Height and width of what is pooled.
        scales: By level, cells a pixel.
        sampling_ratio: Samples a bin and side; 0: as many as fit.
        aligned: Whether pixels' centres lie at halves.

    Returns:
        (N, C, height, width), in the order of the boxes.
    """
    pooled = boxes.new_zeros(len(boxes), features[0].shape[1], *size)
    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
    for level, (feature, scale) in enumerate(zip(features, scales)):
        places = (levels == level).nonzero().squeeze(1)
        if len(places):
            pooled[places] = roi_align(feature, rois[places], tuple(size), scale, sampling_ratio, 'avg', aligned)
    return pooled


@pool.register_fake
def _(features: list[Tensor], boxes: Tensor, levels: Tensor, size: list[int], scales: list[float], sampling_ratio: int,
      aligned: bool) -> Tensor:
    return boxes.new_empty(boxes.shape[0], features[0].shape[1], *size)
