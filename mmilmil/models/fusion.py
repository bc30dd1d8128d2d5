"""Several detectors of the same classes as one: their detections put together and fused by soft-NMS."""

from collections.abc import Mapping, Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import nn

from ..errors import InputError


class FusedDetector(nn.Module):
    """Detects as each of its detectors does, and fuses what they found.

    Args:
        detectors: Detectors of the same classes in the same order.
        iou_threshold: Of soft-NMS, see :func:`fuse`.
        min_score: Likewise.
        max_per_img: At most so many detections of an image are kept, the surest.
    """

    def __init__(self, detectors: Sequence[nn.Module], iou_threshold: float = 0.3, min_score: float = 0.001,
                 max_per_img: int = 100) -> None:
        super().__init__()
        self.detectors = nn.ModuleList(detectors)
        self.settings = dict(iou_threshold=iou_threshold, min_score=min_score, max_per_img=max_per_img)

    @property
    def data_preprocessor(self) -> nn.Module:
        """The first detector's; each detector prepares images by its own."""
        return self.detectors[0].data_preprocessor

    @torch.no_grad()
    def test_step(self, data: Mapping) -> SampleList:
        """The data samples of a batch, as a detector's own ``test_step`` gives them."""
        of_each = [detector.test_step(data) for detector in self.detectors]
        for sample, *others in zip(*of_each, strict=True):
            sample.pred_instances = fuse([sample.pred_instances, *(other.pred_instances for other in others)], **self.settings)
        return of_each[0]


def fuse(found: Sequence[InstanceData], iou_threshold: float = 0.3, min_score: float = 0.001,
         max_per_img: int = 100) -> InstanceData:
    """Put detections of one image together and fuse them, class by class, by linear soft-NMS (https://arxiv.org/abs/1704.04503).

    The surest detection stays as it is; another one of its class has its score multiplied by 1 - IoU, where that IoU is above
    the threshold, and so on with the surest of the rest.

    Args:
        found: What each detector found: ``bboxes`` (N, 4), ``scores`` (N,), ``labels`` (N,), and masks where they have some.
        iou_threshold: From 0 to 1.
        min_score: Detections whose score falls below it are left out.
        max_per_img: At most so many are kept, the surest.

    Returns:
        The same fields, the highest score first.
    """
    together = InstanceData.cat(list(found))
    if not len(together):
        return together
    nms = dict(type='soft_nms', iou_threshold=iou_threshold, min_score=min_score, method='linear')
    boxes, kept = batched_nms(together.bboxes, together.scores, together.labels, nms)
    scores, order = boxes[:, 4].sort(descending=True, stable=True)
    fused = together[kept.to(order.device)[order]]
    fused.scores = scores
    return fused[:max_per_img]


def detections_per_image(model: Mapping) -> int:
    """How many detections of an image a detector keeps, by its config (``test_cfg.max_per_img``).

    Raises:
        InputError: the config does not say.
    """
    test_cfg = model.get('test_cfg') or {}
    found = (test_cfg.get('rcnn') or test_cfg).get('max_per_img')
    if not isinstance(found, int):
        raise InputError('the config has no model.test_cfg.max_per_img (of a two-stage detector model.test_cfg.rcnn.'
                         'max_per_img): set how many detections of an image are kept')
    return found
