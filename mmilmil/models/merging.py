"""Teaching old objects that the new annotation leaves out: teacher boxes join the ground truth."""

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData


def merge_teacher_boxes(gt: InstanceData, detections: InstanceData, score_thr: float = 0.5,
                        iou_thr: float = 0.7) -> InstanceData:
    """Ground truth of one image with the teacher's detections added (method.md 1.2).

    Args:
        gt: Annotated objects, ``bboxes`` (G, 4) and ``labels`` (G,).
        detections: The teacher's, ``bboxes`` (D, 4), ``labels`` (D,) and ``scores`` (D,), in the same coordinates.
        score_thr: A detection is kept when its score is higher.
        iou_thr: A detection is kept when its IoU with every annotated box is lower.

    Returns:
        New instances, annotated ones first, with ``scores``: 1 for annotated objects, the teacher's for the others.
    """
    kept = detections.scores > score_thr
    if len(gt.bboxes) and len(detections.bboxes):
        kept &= bbox_overlaps(detections.bboxes, gt.bboxes).amax(dim=1) < iou_thr
    return InstanceData(
        bboxes=torch.cat([gt.bboxes, detections.bboxes[kept].to(gt.bboxes)]),
        labels=torch.cat([gt.labels, detections.labels[kept]]),
        scores=torch.cat([gt.bboxes.new_ones(len(gt.bboxes)), detections.scores[kept].to(gt.bboxes)]))
