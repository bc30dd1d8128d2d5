"""Teaching old objects that the new annotation leaves out: teacher boxes join the ground truth."""

from typing import Optional

import numpy as np
import torch
from mmcv.ops import nms
from mmdet.structures.bbox import bbox_overlaps
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData
from torch import Tensor

MERGING = ('score_thr', 'iou_thr', 'nms_iou_thr')
"""Settings of :func:`merge_teacher_boxes` in a config's ``model.merging``."""
SAMPLING = dict(rpn=True, annotated_share=0.0)
"""What ``model.merging`` may say of how merged boxes are sampled, and what holds where it does not; see
:func:`mmilmil.models.sampling.room_for_new`."""
FATES = ('merged', 'score', 'annotated', 'ignored', 'nms')
"""What becomes of a teacher's detection: it is merged, or refused by its score, as it lies on an annotated or ignored box, or
as a better one is there; see :func:`fates`."""
IGNORED_IOF = 0.5
"""A box with this share of its own area, or more, in an ignored box lies on it, however much larger that is."""


def on_annotation(bboxes: Tensor, annotated: Tensor, ignored: Tensor, iou_thr: float) -> Tensor:
    """Whether each box lies on an object that the annotation names, trained on or ignored.

    It does where its IoU with one of their boxes is ``iou_thr`` or higher, or where at least half of its own area lies in
    one ignored box: a crowd's box is larger than one of its objects, so that their IoU is small.

    Args:
        bboxes: (D, 4), in the same coordinates as the others.
        annotated: Boxes that are trained on, (G, 4).
        ignored: Difficult objects and crowds, (K, 4).
        iou_thr: IoU from which a box lies on an object.

    Returns:
        (D,), bool.
    """
    on = bbox_overlaps(bboxes, torch.cat([annotated, ignored])) >= iou_thr
    inside = bbox_overlaps(bboxes, ignored, mode='iof') >= IGNORED_IOF
    return on.any(dim=1) | inside.any(dim=1)


def joining(detections: InstanceData, annotated: Tensor, ignored: Tensor, score_thr: float, iou_thr: float,
            nms_iou_thr: Optional[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Which detections join the ground truth of an image; the thresholds are those of :func:`merge_teacher_boxes`.

    Args:
        detections: The teacher's, ``bboxes`` (D, 4) and ``scores`` (D,).
        annotated: Boxes that are trained on, (G, 4), in the same coordinates.
        ignored: Difficult objects and crowds, (K, 4).

    Returns:
        Their indices, in the order in which they join, and of all detections whether the score is too low and whether they lie
        on an object of the annotation, (D,) each, bool. What is neither and does not join is suppressed by a better one.
    """
    low = ~(detections.scores > score_thr)
    on = on_annotation(detections.bboxes, annotated, ignored, iou_thr)
    index = (~low & ~on).nonzero().squeeze(1)
    if nms_iou_thr is not None and len(index):
        index = index[nms(detections.bboxes[index], detections.scores[index], nms_iou_thr)[1]]
    return index, low, on


def fates(detections: InstanceData, annotated: Tensor, ignored: Tensor, score_thr: float, iou_thr: float,
          nms_iou_thr: Optional[float] = None) -> list[str]:
    """What merging makes of each detection, one of :data:`FATES`; of several reasons the first of them.

    Args:
        detections, annotated, ignored, score_thr, iou_thr, nms_iou_thr: See :func:`joining`.
    """
    index, low, on = joining(detections, annotated, ignored, score_thr, iou_thr, nms_iou_thr)
    on_ignored = on_annotation(detections.bboxes, annotated[:0], ignored, iou_thr)
    on_annotated = on_annotation(detections.bboxes, annotated, ignored[:0], iou_thr)
    found = ['nms'] * len(low)
    for reason, mine in (('ignored', on & on_ignored), ('annotated', on & on_annotated), ('score', low)):
        for place in mine.nonzero().squeeze(1).tolist():
            found[place] = reason
    for place in index.tolist():
        found[place] = 'merged'
    return found


def merge_teacher_boxes(gt: InstanceData, detections: InstanceData, ignored: Optional[Tensor] = None, score_thr: float = 0.5,
                        iou_thr: float = 0.7, nms_iou_thr: Optional[float] = None) -> InstanceData:
    """Ground truth of one image with the teacher's detections added (docs/method.md, merged boxes).

    Args:
        gt: Annotated objects, ``bboxes`` (G, 4), ``labels`` (G,), and ``masks`` where a mask head is trained.
        detections: The teacher's, ``bboxes`` (D, 4), ``labels`` (D,) and ``scores`` (D,), in the same coordinates; ``masks``
            (D, H, W), bool, of a teacher with a mask head.
        ignored: Boxes of difficult new objects and crowds, (K, 4): a detection on one of them is of a new object, not of an
            old one. They are not part of the result.
        score_thr: A detection is kept when its score is higher.
        iou_thr: A detection is kept when its IoU with every annotated or ignored box is lower and less than half of it lies
            in an ignored one, see :func:`on_annotation`.
        nms_iou_thr: Of two kept detections that overlap by more than this IoU, whatever their classes, only the better-scored
            one stays; ``None`` keeps both. The detector's own suppression compares boxes of one class only, so an object
            that the teacher is unsure of comes twice.

    Returns:
        New instances, annotated ones first, with ``scores``: 1 for annotated objects, the teacher's for the others, and
        ``annotated``, which tells them apart. Their
        masks are the annotated ones and the teacher's.
    """
    ignored = gt.bboxes.new_zeros((0, 4)) if ignored is None else ignored
    added = detections[joining(detections, gt.bboxes, ignored, score_thr, iou_thr, nms_iou_thr)[0]]
    merged = InstanceData(
        bboxes=torch.cat([gt.bboxes, added.bboxes.to(gt.bboxes)]),
        labels=torch.cat([gt.labels, added.labels]),
        scores=torch.cat([gt.bboxes.new_ones(len(gt.bboxes)), added.scores.to(gt.bboxes)]),
        annotated=torch.arange(len(gt.bboxes) + len(added), device=gt.bboxes.device) < len(gt.bboxes))
    if 'masks' in gt and 'masks' in added:  # else no mask head is there that learns from them
        merged.masks = merged_masks(gt.masks, added.masks)
    return merged


def merged_masks(annotated: BitmapMasks | PolygonMasks, added: Tensor) -> BitmapMasks:
    """Masks of annotated objects and of the teacher's.

    Args:
        annotated: Of G objects, ``height`` by ``width`` pixels.
        added: (D, H, W), bool, of the input tensor, which is as large or larger.

    Returns:
        Of G + D objects.
    """
    height, width = annotated.height, annotated.width
    bitmaps = annotated.to_ndarray()
    more = added[:, :height, :width].cpu().numpy().astype(bitmaps.dtype)
    return BitmapMasks(np.concatenate([bitmaps, more]), height, width)
