"""How far a model's detections are from those of another one on the same images."""

from collections.abc import Iterable

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps

from ..evaluation.average_precision import Image, class_results
from .model import Arrays

FOUND_FROM = 0.5
"""Score from which on a detection of the float model counts as an object."""


def shift(wanted: Iterable[Arrays], found: Iterable[Arrays]) -> float:
    """How far detections have moved, in [0, 1]: 0 where nothing has.

    Of each wanted detection it is ``|s - s' * IoU|``, where ``s`` is its score and ``s'`` that of the detection of its label
    with the largest IoU, if that is 0.5 or more; ``s`` where there is none. The mean is over all, each weighted by its score,
    as AP hangs on the high ones.

    Args:
        wanted, found: By image.
    """
    moved = total = 0.0
    for (boxes, scores, labels), (others, other_scores, other_labels) in zip(wanted, found):
        overlaps = bbox_overlaps(boxes, others) * (labels[:, None] == other_labels[None])
        if len(other_scores):
            best = overlaps.argmax(axis=1)
            overlap = overlaps[np.arange(len(boxes)), best]
            left = np.where(overlap >= 0.5, overlap * other_scores[best], 0)
        else:
            left = np.zeros_like(scores)
        moved += float((scores * np.abs(scores - left)).sum())
        total += float(scores.sum())
    return moved / total if total else 0.0


def agreement(wanted: Iterable[Arrays], found: Iterable[Arrays], num_classes: int) -> float | None:
    """AP at an IoU of 0.5, the mean over classes, where what is to be found is the wanted detections of a score of
    :data:`FOUND_FROM` or more; None where there are none.

    Args:
        wanted, found: By image.
        num_classes: Number of classes.
    """
    images = []
    for (boxes, scores, labels), (others, other_scores, other_labels) in zip(wanted, found):
        high = scores >= FOUND_FROM
        images.append(Image(boxes[high], labels[high], np.zeros((0, 4)), np.zeros(0, int),
                            np.column_stack([others, other_scores]), other_labels))
    aps = [one.ap['area'] for one in class_results(images, num_classes) if one.boxes]
    return float(np.mean(aps)) if aps else None
