"""VOC average precision of each class: 11-point and area from one matching of detections to boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmdet.evaluation.functional import average_precision
from mmdet.evaluation.functional.mean_ap import tpfp_default

from .evaluated_sets import EvaluatedSet

MODES = ('11points', 'area')


@dataclass(frozen=True)
class Image:
    """Boxes and detections of one image, boxes as ``(x1, y1, x2, y2)`` in pixels of the original image.

    No named tuple: MMEngine's evaluation would turn it into a plain one.

    Attributes:
        boxes: Boxes that count, (G, 4).
        labels: Their labels, (G,).
        ignored_boxes: Difficult boxes, (K, 4): finding them is neither right nor wrong.
        ignored_labels: Their labels, (K,).
        detections: Detected boxes and their scores, (D, 5).
        detected_labels: Their labels, (D,).
        evaluated: The set that the image is of. Classes that it does not measure are neither to be found nor wrong.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignored_boxes: np.ndarray
    ignored_labels: np.ndarray
    detections: np.ndarray
    detected_labels: np.ndarray
    evaluated: EvaluatedSet = EvaluatedSet()


@dataclass(frozen=True)
class ClassResult:
    """How well one class was found.

    Attributes:
        boxes: Boxes that count.
        detections: Detections.
        recall: Highest recall, with all detections; NaN without a box.
        ap: Average precision by mode, in [0, 1]; NaN without a box.
    """

    boxes: int
    detections: int
    recall: float
    ap: dict[str, float]


def class_results(images: Sequence[Image], num_classes: int, iou_thr: float = 0.5) -> list[ClassResult]:
    """Match the detections of each class and measure them in both ways of averaging.

    Matching and averaging are MMDetection's (``tpfp_default`` and ``average_precision``, with the pixel-inclusive box
    sizes of the VOC devkit), so the figures are those of its ``VOCMetric``. Its ``eval_map`` around them is left out:
    it matches again for each mode, starts a pool of processes inside the training process and is three times as slow
    for it. Of equal scores the first image's comes first, so the figures are the same on every machine.

    Args:
        images: All images of all sets; a class is measured on those whose set measures it.
        num_classes: Number of classes C.
        iou_thr: IoU from which a detection matches a box.

    Returns:
        C results in label order.
    """
    return [_class_result([image for image in images if image.evaluated.measures(label)], label, iou_thr)
            for label in range(num_classes)]


def _class_result(images: Sequence[Image], label: int, iou_thr: float) -> ClassResult:
    boxes, scores, right, wrong = _matched(images, label, iou_thr)
    if not boxes:
        return ClassResult(0, len(scores), np.nan, dict.fromkeys(MODES, np.nan))
    return ClassResult(boxes, len(scores), *averaged(scores, right, wrong, boxes))


def _matched(images: Sequence[Image], label: int, iou_thr: float) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Number of boxes of a class, and of its detections in the order of the images the columns that :func:`averaged` takes."""
    boxes = 0
    # Empty arrays first: there may be no detection at all.
    scores, right, wrong = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    for image in images:
        own = image.boxes[image.labels == label]
        boxes += len(own)
        detections = image.detections[image.detected_labels == label]
        if len(detections):
            difficult = image.ignored_boxes[image.ignored_labels == label]
            tp, fp = tpfp_default(detections, own, difficult, iou_thr, use_legacy_coordinate=True)
            scores.append(detections[:, 4])
            right.append(tp[0])
            wrong.append(fp[0])
    return boxes, *map(np.concatenate, (scores, right, wrong))


def precision_recall(images: Sequence[Image], label: int, iou_thr: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """The curve behind a class's average precision.

    Args:
        images: All images of all sets.
        label: The class.
        iou_thr: IoU from which a detection matches a box.

    Returns:
        Recall and precision after each detection, the highest score first, (D,) each; empty for a class without a box.
    """
    boxes, scores, right, wrong = _matched([image for image in images if image.evaluated.measures(label)], label, iou_thr)
    if not boxes:
        return np.zeros(0), np.zeros(0)
    return _curve(scores, right, wrong, boxes)


def averaged(scores: np.ndarray, right: np.ndarray, wrong: np.ndarray, boxes: int) -> tuple[float, dict[str, float]]:
    """Highest recall and average precision by mode of a class's detections; of equal scores the first comes first.

    Args:
        scores: (D,).
        right: 1 where a detection finds a box that no other has found, (D,).
        wrong: 1 where it finds none, (D,); of an ignored box both are 0.
        boxes: Number of boxes to find, at least 1.
    """
    if not len(scores):
        return 0., dict.fromkeys(MODES, 0.)
    recall, precision = _curve(scores, right, wrong, boxes)
    return float(recall[-1]), {mode: float(average_precision(recall, precision, mode)) for mode in MODES}


def _curve(scores: np.ndarray, right: np.ndarray, wrong: np.ndarray, boxes: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-scores, kind='stable')
    right = right[order].cumsum()
    wrong = wrong[order].cumsum()
    # Detections of difficult boxes are neither right nor wrong; before the first other one precision is 0 / 0.
    return right / boxes, right / np.maximum(right + wrong, np.finfo(np.float32).eps)
