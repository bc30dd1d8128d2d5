"""How much AP each kind of error costs: AP once more with that kind repaired, all others as they are.

In the spirit of TIDE (Bolya et al., ECCV 2020), with the confusions told apart by class group. There, objects that are repaired
as missed leave the count; here they are found with the highest score, so that a class of which nothing is found has a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.evaluation.functional.mean_ap import tpfp_default

from .average_precision import Image, averaged

IOU_THR, NEAR_IOU = 0.5, 0.1
"""IoU from which a detection finds an object, and from which it belongs to one that it misses."""
KINDS = ('old taken for new', 'new taken for old', 'old taken for another old', 'new taken for another new', 'misplaced',
         'found twice', 'old missed', 'new missed', 'background taken for old', 'background taken for new')
"""Kinds of errors. A detection that is wrong by the rules of AP is

- *found twice* where its IoU with an object of its class is 0.5 or more,
- else *taken* for its class where its IoU with an object of another class is, by the groups of the two,
- else *misplaced* where its IoU with an object of its class is 0.1 or more,
- else on *background*.

An object is *missed* that no detection finds and none of the wrong ones is taken or misplaced for.
"""


@dataclass(frozen=True)
class _Judged:
    """All detections (D,) and objects (G,) of all images, in the order of the images.

    ``kind`` is a place in :data:`KINDS` or -1, ``target`` the object that was meant or -1.
    """

    scores: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    kind: np.ndarray
    target: np.ndarray
    object_labels: np.ndarray
    found: np.ndarray


def ap_gaps(images: Sequence[Image], num_classes: int, num_old: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """AP by class, and AP by class with one kind of error repaired.

    Repairing gives a *taken* detection the class of its object and a *misplaced* one its object's box: of those of one object
    the one of highest score finds it, unless it was found; the others go. *Found twice* and *background* go. *Missed* objects
    are found first of all.

    Args:
        images: All images; a class is measured on those whose set measures it.
        num_classes: Number of classes C.
        num_old: How many of them, the first ones, are old.

    Returns:
        AP at IoU 0.5, area under the curve, (C,), NaN for a class without an object; by name of :data:`KINDS` the same after
        the repair.
    """
    judged = _judged(images, num_classes, num_old)
    boxes = np.bincount(judged.object_labels, minlength=num_classes)
    aps = _aps(judged.scores, judged.labels, judged.right, judged.wrong, boxes)
    return aps, {name: _repaired(judged, kind, boxes, num_old) for kind, name in enumerate(KINDS)}


def _judged(images: Sequence[Image], num_classes: int, num_old: int) -> _Judged:
    parts, object_labels, found = [], [np.zeros(0, dtype=int)], [np.zeros(0, dtype=bool)]
    start = 0
    for image in images:
        objects = np.zeros(len(image.labels), dtype=bool)
        for label in range(num_classes):
            mine = image.detected_labels == label
            if mine.any() and image.evaluated.measures(label):
                parts.append(_judged_class(image, label, image.detections[mine], num_old, start, objects))
        object_labels.append(image.labels)
        found.append(objects)
        start += len(objects)
    columns = [np.concatenate(column) for column in zip(*parts)] if parts else [
        np.zeros(0), *(np.zeros(0, dtype=int) for _ in range(5))]
    return _Judged(*columns, np.concatenate(object_labels), np.concatenate(found))


def _judged_class(image: Image, label: int, detections: np.ndarray, num_old: int, start: int, found: np.ndarray) -> tuple:
    """Columns of :class:`_Judged` for the detections of a class in an image; marks the objects that are ``found``."""
    own, ignored = image.labels == label, image.ignored_labels == label
    right, wrong = (column[0] > 0 for column in tpfp_default(
        detections, image.boxes[own], image.ignored_boxes[ignored], IOU_THR, use_legacy_coordinate=True))
    overlaps = bbox_overlaps(detections[:, :4], image.boxes, use_legacy_coordinate=True)
    mine = np.where(own, overlaps, 0)
    if own.any():
        found[mine.argmax(axis=1)[right]] = True
    # An ignored object of another class can be mistaken too, but there is nothing to repair it to.
    others = np.column_stack([np.where(own, 0, overlaps), np.where(ignored, 0, bbox_overlaps(
        detections[:, :4], image.ignored_boxes, use_legacy_coordinate=True))])
    other_labels = np.concatenate([image.labels, image.ignored_labels])
    kind, target = np.full((2, len(detections)), -1)
    is_old = label < num_old
    for index in np.flatnonzero(wrong):
        other = others[index].argmax() if others.shape[1] else -1
        if mine[index].max(initial=0) >= IOU_THR:
            name = 'found twice'
        elif others[index].max(initial=0) >= IOU_THR:
            taken = 'old' if other_labels[other] < num_old else 'new'
            as_group = 'old' if is_old else 'new'
            name = f'{taken} taken for {"another " * (taken == as_group)}{as_group}'
            target[index] = start + other if other < len(image.labels) else -1
        elif mine[index].max(initial=0) >= NEAR_IOU:
            name = 'misplaced'
            target[index] = start + mine[index].argmax()
        else:
            name = f'background taken for {"old" if is_old else "new"}'
        kind[index] = KINDS.index(name)
    return detections[:, 4], np.full(len(detections), label), right.astype(int), wrong.astype(int), kind, target


def _repaired(judged: _Judged, kind: int, boxes: np.ndarray, num_old: int) -> np.ndarray:
    kept = judged.kind != kind
    moved = np.flatnonzero(~kept & (judged.target >= 0))
    moved = moved[np.argsort(-judged.scores[moved], kind='stable')]
    targets, first = np.unique(judged.target[moved], return_index=True)
    scores = judged.scores[moved[first]]
    if KINDS[kind].endswith('missed'):
        meant = np.isin(np.arange(len(judged.found)), judged.target)
        of_group = (judged.object_labels < num_old) == KINDS[kind].startswith('old')
        targets = np.flatnonzero(~judged.found & ~meant & of_group)
        scores = np.full(len(targets), np.inf)
    free = ~judged.found[targets]
    targets, scores = targets[free], scores[free]
    found, none = np.ones(len(targets), dtype=int), np.zeros(len(targets), dtype=int)
    return _aps(
        np.concatenate([judged.scores[kept], scores]), np.concatenate([judged.labels[kept], judged.object_labels[targets]]),
        np.concatenate([judged.right[kept], found]), np.concatenate([judged.wrong[kept], none]), boxes)


def _aps(scores: np.ndarray, labels: np.ndarray, right: np.ndarray, wrong: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    aps = np.full(len(boxes), np.nan)
    for label in np.flatnonzero(boxes):
        mine = labels == label
        aps[label] = averaged(scores[mine], right[mine], wrong[mine], boxes[label])[1]['area']
    return aps
