"""How well the anchors of a detector's config fit the boxes of a training set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.config import ConfigDict

from ..registry import TASK_UTILS
from ..table_layout import ascii_table
from .training_scale import TrainBoxes, TrainingScale, scaled

ROWS_AT_ONCE = 10000


@dataclass(frozen=True)
class Anchors:
    """The anchors of a detector and from which IoU one learns a box.

    Attributes:
        generator: Settings of the ``AnchorGenerator``.
        needed: A box whose best IoU is lower has no positive anchor: the assigner's ``min_pos_iou`` where each box gets its
            best anchors (``match_low_quality``), else its ``pos_iou_thr``.
        divisor: What the sides of an input tensor are padded to multiples of.
        place: Where the generator stands in the config.
    """

    generator: Mapping
    needed: float
    divisor: int = 1
    place: str = 'model.rpn_head.anchor_generator'

    def with_scales(self, scales: list) -> 'Anchors':
        """The same with other scales."""
        return Anchors(dict(self.generator, scales=scales), self.needed, self.divisor, self.place)


def anchors_of(model: Mapping) -> Anchors | str:
    """The anchors of a detector's config, or why there is no such figure.

    Args:
        model: ``model`` of the config.
    """
    head = 'rpn_head' if model.get('rpn_head') else 'bbox_head'
    train_cfg = model.get('train_cfg') or {}
    assigner = (train_cfg.get('rpn') or {}).get('assigner') if head == 'rpn_head' else train_cfg.get('assigner')
    settings = (model.get(head) or {}).get('anchor_generator')
    generator = settings and TASK_UTILS.get(settings['type'])
    if not generator or not issubclass(generator, AnchorGenerator):
        return f'{model.get("type")} has no anchors, but points'
    kind = assigner and TASK_UTILS.get(assigner['type'])
    if not kind or not issubclass(kind, MaxIoUAssigner):
        name = assigner['type'] if assigner else 'assigner'
        return f'the {name} of {model.get("type")} has no IoU that an anchor has to reach'
    needed = assigner.get('min_pos_iou', 0.) if assigner.get('match_low_quality', True) else assigner['pos_iou_thr']
    divisor = (model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    return Anchors(settings, float(needed), divisor, f'model.{head}.anchor_generator')


def best_ious(data: TrainBoxes, anchors: Anchors) -> np.ndarray:
    """The largest IoU of each box with any anchor, (N,), in [0, 1].

    Anchors stand at every cell of every level of the image's own input tensor, padded as alone in its batch. For anchors of one
    shape the overlap falls with the distance of the centres along each side, so that the cell nearest to the box, by row and
    by column, has the best one: the figure is exact without trying all.

    Args:
        data: Boxes and image sizes at the scale of the training.
        anchors: The anchors.
    """
    generator = TASK_UTILS.build(ConfigDict(anchors.generator))
    shapes = np.concatenate([base.numpy() for base in generator.base_anchors]).astype(float)  # (A, 4), around cell 0
    strides = np.concatenate([np.tile(np.array(stride, dtype=float), (len(base), 1))
                              for base, stride in zip(generator.base_anchors, generator.strides)])  # (A, 2) as (x, y)
    best = np.zeros(len(data.boxes))
    for start in range(0, len(best), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        padded = np.ceil(data.sizes[part] / anchors.divisor) * anchors.divisor
        best[part] = _best(data.boxes[part], padded, shapes, strides)
    return best


def _best(boxes: np.ndarray, sizes: np.ndarray, shapes: np.ndarray, strides: np.ndarray) -> np.ndarray:
    cells = np.ceil(sizes[:, None] / strides)  # (N, A, 2)
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 - (shapes[:, :2] + shapes[:, 2:]) / 2
    moved = np.clip(np.round(centres / strides), 0, cells - 1) * strides
    anchors = shapes + np.tile(moved, 2)  # (N, A, 4)
    sides = np.minimum(boxes[:, None, 2:], anchors[..., 2:]) - np.maximum(boxes[:, None, :2], anchors[..., :2])
    common = sides.clip(min=0).prod(axis=2)
    areas = (anchors[..., 2:] - anchors[..., :2]).prod(axis=2) + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None]
    return (common / (areas - common)).max(axis=1)


def unmatched(data: TrainBoxes, anchors: Anchors, scale: TrainingScale) -> dict[str, float]:
    """By class, the share of boxes whose best IoU at a training scale is below what the anchors need."""
    return by_class(data, best_ious(scaled(data, scale), anchors) < anchors.needed)


def by_class(data: TrainBoxes, which: np.ndarray) -> dict[str, float]:
    """By class, the share of boxes for which ``which``, (N,), is true."""
    return {name: float(which[data.names == name].mean()) for name in dict.fromkeys(data.names.tolist())}


def fit_table(data: TrainBoxes, anchors: Anchors, scale: TrainingScale) -> str:
    """Boxes by class with the share that no anchor learns and how well the others are met, at a training scale."""
    at_scale = scaled(data, scale)
    best, sides = best_ious(at_scale, anchors), np.minimum(*(at_scale.boxes[:, 2:] - at_scale.boxes[:, :2]).T)
    rows: list[list[Any]] = [['class', 'boxes', f'best IoU < {anchors.needed:g}', 'median best IoU', 'shorter side (px)']]
    for name in dict.fromkeys(data.names.tolist()):
        mine = data.names == name
        rows.append([name, mine.sum(), f'{np.mean(best[mine] < anchors.needed):.1%}', f'{np.median(best[mine]):.2f}',
                     f'{sides[mine].min():.0f} / {np.median(sides[mine]):.0f} / {sides[mine].max():.0f}'])
    return ascii_table(rows)
