"""Our operators (:mod:`mmilmil.deploy.operators`) in the words of ONNX: plain operators of the default domain."""

from collections.abc import Callable, Sequence

import torch
from onnxscript import opset18 as op
from onnxscript.onnx_types import TensorType

from .operators import INVALID

OPSET = 20
"""Version of ONNX's operators that a file is written in; RoiAlign tells how pixels are aligned from 16 on."""


def table() -> dict[Callable, Callable]:
    """What ``torch.onnx.export`` takes as ``custom_translation_table``."""
    ops = torch.ops.mmilmil
    return {ops.best.default: _best, ops.parted.default: _parted, ops.suppress.default: _suppress, ops.pool.default: _pool}


def _best(scores: TensorType, limit: int):
    number = op.Min(op.Shape(scores), op.Constant(value_ints=[limit]))
    return op.TopK(scores, number, axis=0, largest=1, sorted=1)


def _parted(places: TensorType, divisor: int):
    return op.Div(places, divisor), op.Mod(places, divisor)


def _suppress(boxes: TensorType, scores: TensorType, groups: TensorType, iou_threshold: float, class_agnostic: bool,
              limit: int):
    if not class_agnostic:
        # mmcv's offsets: the groups lie beside each other, as far apart as the largest coordinate of a valid box.
        valid = op.Unsqueeze(op.Greater(scores, op.Constant(value_float=INVALID / 2)), op.Constant(value_ints=[1]))
        largest = op.ReduceMax(op.Where(valid, boxes, op.Constant(value_float=0.0)), keepdims=0)
        step = op.Add(largest, op.Constant(value_float=1.0))
        offsets = op.Mul(op.Cast(groups, to=1), step)
        boxes = op.Add(boxes, op.Unsqueeze(offsets, op.Constant(value_ints=[1])))
    found = op.NonMaxSuppression(
        op.Unsqueeze(boxes, op.Constant(value_ints=[0])),
        op.Unsqueeze(scores, op.Constant(value_ints=[0, 1])),
        op.Constant(value_ints=[limit]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[INVALID / 2]))
    return op.Gather(found, op.Constant(value_int=2), axis=1)


def _pool(features: Sequence[TensorType], boxes: TensorType, levels: TensorType, size: Sequence[int], scales: Sequence[float],
          sampling_ratio: int, aligned: bool):
    settings = dict(
        output_height=size[0], output_width=size[1], sampling_ratio=sampling_ratio, mode='avg',
        coordinate_transformation_mode='half_pixel' if aligned else 'output_half_pixel')

    def align(level: int, own):
        images = op.Expand(op.Constant(value_int=0), op.Shape(own, end=1))  # the number of each box's image
        return op.RoiAlign(features[level], own, images, spatial_scale=scales[level], **settings)

    if len(features) == 1:
        return align(0, boxes)
    pooled, places = [], []
    for level in range(len(features)):
        mine = op.Squeeze(op.NonZero(op.Equal(levels, op.Constant(value_int=level))), op.Constant(value_ints=[0]))
        pooled.append(align(level, op.Gather(boxes, mine)))
        places.append(mine)
    # By level, so put back into the order of the boxes.
    order = op.Concat(*places, axis=0)
    _, back = op.TopK(order, op.Shape(order), largest=0)
    return op.Gather(op.Concat(*pooled, axis=0), back)
