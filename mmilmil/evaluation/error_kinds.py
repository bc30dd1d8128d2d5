"""How many errors of each kind a detector makes at a score, for old classes and for new.

The kinds are those of TIDE (Bolya et al., ECCV 2020). How much AP each costs, over all scores: :mod:`.ap_gaps`.
"""

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps

from .ap_gaps import IOU_THR, NEAR_IOU
from .average_precision import Image
from .matching import match_objects

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
        _count(image, num_old, score_thr, counts)
    return counts


def _count(image: Image, num_old: int, score_thr: float, counts: dict[str, dict[str, int]]) -> None:
    matched, meant = match_objects(image, score_thr), np.zeros(len(image.labels), dtype=bool)
    overlaps = bbox_overlaps(image.detections[:, :4], image.boxes, use_legacy_coordinate=True)
    for index in np.flatnonzero(matched.wrong):
        label = image.detected_labels[index]
        of_own, of_others = (np.where(mine, overlaps[index], 0) for mine in (image.labels == label, image.labels != label))
        near, other = of_own.max(initial=0), of_others.max(initial=0)
        if near >= IOU_THR:
            kind = 'twice'
        elif other >= IOU_THR:
            kind = 'class'
            meant[of_others.argmax()] = True
        elif near >= NEAR_IOU:
            kind = 'place'
            meant[of_own.argmax()] = True
        else:
            kind = 'both' if other >= NEAR_IOU else 'background'
        counts['old' if label < num_old else 'new'][kind] += 1
    for name, of_group in (('old', image.labels < num_old), ('new', image.labels >= num_old)):
        counts[name]['objects'] += int(of_group.sum())
        counts[name]['found'] += int((matched.found & of_group).sum())
        counts[name]['missed'] += int((of_group & ~matched.found & ~meant).sum())
