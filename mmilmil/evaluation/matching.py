"""Which detections of an image find an object: the one rule by which errors are counted and pictures drawn."""

from dataclasses import dataclass

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.evaluation.functional.mean_ap import tpfp_default

from .ap_gaps import IOU_THR
from .average_precision import Image


@dataclass(frozen=True)
class Matched:
    """What detections of one image are worth.

    Attributes:
        chosen: Which detections have the score, (D,), bool.
        right: Those of them that find an object, (D,), bool.
        wrong: Those that find none, (D,), bool. One on an ignored object, or of a class that the image's set does not
            measure, is neither right nor wrong.
        found: Objects that are found, (G,), bool.
    """

    chosen: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    found: np.ndarray


def match_objects(image: Image, score_thr: float) -> Matched:
    """Match as AP does: MMDetection's ``tpfp_default`` at IoU 0.5 with pixel-inclusive sizes, class by class.

    Args:
        image: Objects and detections.
        score_thr: Detections of lower scores are left out.
    """
    chosen = image.detections[:, 4] >= score_thr
    right, wrong = np.zeros((2, len(chosen)), dtype=bool)
    found = np.zeros(len(image.labels), dtype=bool)
    for label in np.unique(image.detected_labels[chosen]):
        if not image.evaluated.measures(int(label)):
            continue
        mine, own = np.flatnonzero(chosen & (image.detected_labels == label)), np.flatnonzero(image.labels == label)
        detections = image.detections[mine]
        tp, fp = tpfp_default(detections, image.boxes[own], image.ignored_boxes[image.ignored_labels == label], IOU_THR,
                              use_legacy_coordinate=True)
        right[mine], wrong[mine] = tp[0] > 0, fp[0] > 0
        if len(own) and right[mine].any():
            overlaps = bbox_overlaps(detections[right[mine], :4], image.boxes[own], use_legacy_coordinate=True)
            found[own[overlaps.argmax(axis=1)]] = True
    return Matched(chosen, right, wrong, found)
