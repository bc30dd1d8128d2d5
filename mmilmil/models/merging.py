"""Teaching old objects that the new annotation leaves out: teacher boxes join the ground truth."""

from typing import Optional

import torch
from mmcv.ops import nms
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData


def merge_teacher_boxes(gt: InstanceData, detections: InstanceData, score_thr: float = 0.5,
                        iou_thr: float = 0.7, nms_iou_thr: Optional[float] = None) -> InstanceData:
    """Ground truth of one image with the teacher's detections added (method.md 1.2).

    Args:
        gt: Annotated objects, ``bboxes`` (G, 4) and ``labels`` (G,).
        detections: The teacher's, ``bboxes`` (D, 4), ``labels`` (D,) and ``scores`` (D,), in the same coordinates.
        score_thr: A detection is kept when its score is higher.
        iou_thr: A detection is kept when its IoU with every annotated box is lower.
        nms_iou_thr: Of two kept detections that overlap by more than this IoU, whatever their classes, only the better-scored
            one stays; ``None`` keeps both. The detector's own suppression compares boxes of one class only, so an object
            that the teacher is unsure of comes twice.

    Returns:
        New instances, annotated ones first, with ``scores``: 1 for annotated objects, the teacher's for the others.
    """
    kept = detections.scores > score_thr
    if len(gt.bboxes) and len(detections.bboxes):
        kept &= bbox_overlaps(detections.bboxes, gt.bboxes).amax(dim=1) < iou_thr
    added = detections[kept]
    if nms_iou_thr is not None and len(added):
        added = added[nms(added.bboxes, added.scores, nms_iou_thr)[1]]
    return InstanceData(
        bboxes=torch.cat([gt.bboxes, added.bboxes.to(gt.bboxes)]),
        labels=torch.cat([gt.labels, added.labels]),
        scores=torch.cat([gt.bboxes.new_ones(len(gt.bboxes)), added.scores.to(gt.bboxes)]))
