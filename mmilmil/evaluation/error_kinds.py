"""How many errors of each kind a detector makes at a score, for old classes and for new.

The kinds are those of TIDE (Bolya et al., ECCV 2020). How much AP each costs, over all scores: :mod:`.ap_gaps`.
"""

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.evaluation.functional.mean_ap import tpfp_default

from .ap_gaps import IOU_THR, NEAR_IOU
from .average_precision import Image

ERROR_KINDS = ('class', 'place', 'both', 'twice', 'background', 'missed')
"""Of a detection that finds no object (IoU of 0.5 with one of its class that no surer one has found), the first that holds:

- *twice*: its IoU with an object of its class is 0.5 or more,
- *class*: that with an object of another class is,
- *place*: its IoU with an object of its class is 0.1 or more,
- *both*: that with an object of another class is,
- *background*: none of these.

An object is *missed* that is neither found nor what a detection of the kinds *class* and *place* lies on most.
"""


def error_counts(images: Sequence[Image], num_classes: int, num_old: int, score_thr: float = 0.3) -> dict[str, dict[str, int]]:
    """Counts over images.

    Args:
        images: Objects and detections; a class counts on those whose set measures it.
        num_classes: Number of classes C.
        num_old: How many of them, the first ones, are old.
        score_thr: Detections of lower scores are left out.

    Returns:
        For ``old`` and ``new`` by kind the number of errors: of detections by their own class, of missed objects by theirs;
        ``objects`` and those that are ``found``.
    """
    counts = {group: dict.fromkeys((*ERROR_KINDS, 'objects', 'found'), 0) for group in ('old', 'new')}
    for image in images:
        _count(image, num_classes, num_old, score_thr, counts)
    return counts


def _count(image: Image, num_classes: int, num_old: int, score_thr: float, counts: dict[str, dict[str, int]]) -> None:
    found, meant = np.zeros((2, len(image.labels)), dtype=bool)
    sure = image.detections[:, 4] >= score_thr
    for label in range(num_classes):
        mine = sure & (image.detected_labels == label)
        if not mine.any() or not image.evaluated.measures(label):
            continue
        detections, own, ignored = image.detections[mine], image.labels == label, image.ignored_labels == label
        right, wrong = (column[0] > 0 for column in tpfp_default(
            detections, image.boxes[own], image.ignored_boxes[ignored], IOU_THR, use_legacy_coordinate=True))
        overlaps = bbox_overlaps(detections[:, :4], image.boxes, use_legacy_coordinate=True)
        of_own, of_others = np.where(own, overlaps, 0), np.where(own, 0, overlaps)
        if own.any():
            found[of_own.argmax(axis=1)[right]] = True
        group = counts['old' if label < num_old else 'new']
        for index in np.flatnonzero(wrong):
            near, other = of_own[index].max(initial=0), of_others[index].max(initial=0)
            if near >= IOU_THR:
                kind = 'twice'
            elif other >= IOU_THR:
                kind = 'class'
                meant[of_others[index].argmax()] = True
            elif near >= NEAR_IOU:
                kind = 'place'
                meant[of_own[index].argmax()] = True
            else:
                kind = 'both' if other >= NEAR_IOU else 'background'
            group[kind] += 1
    for name, of_group in (('old', image.labels < num_old), ('new', image.labels >= num_old)):
        counts[name]['objects'] += int(of_group.sum())
        counts[name]['found'] += int((found & of_group).sum())
        counts[name]['missed'] += int((of_group & ~found & ~meant).sum())
