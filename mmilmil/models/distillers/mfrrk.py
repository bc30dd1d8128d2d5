"""MFRRK: knowledge of multi-layer Feature maps, RPN and RCN, taken from the teacher into the student."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from ...registry import MODELS
from ..teacher import TeacherKnowledge


@dataclass
class StudentOutputs:
    """What the student computed for the same batch of N images, with gradient.

    Attributes:
        stages: Backbone outputs, each (N, C, H, W).
        levels: Neck outputs, each (N, C, H, W).
        rpn_logits: Objectness by level, each (N, A, H, W).
        rpn_deltas: Box deltas by level, each (N, 4 * A, H, W).
        roi_logits: (R, C + 1) on the distillation RoIs, background last; (0, C + 1) where none were asked for.
        roi_deltas: (R, 4 * C) on the same RoIs.
        matched_logits: (M, C + 1) on the sampled RoIs that are matched to a box of the merged ground truth.
        matched_scores: (M,) scores of those boxes: 1 for annotated ones, the teacher's for merged ones.
        matched_labels: (M,) labels of those boxes.
        gt_bboxes: By image, the annotated boxes (G, 4) of the new classes, without the teacher's, in pixels of the input.
        input_shape: (height, width) of the input tensor in pixels.
    """

    stages: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    rpn_logits: list[Tensor]
    rpn_deltas: list[Tensor]
    roi_logits: Tensor
    roi_deltas: Tensor
    matched_logits: Tensor
    matched_scores: Tensor
    matched_labels: Tensor
    gt_bboxes: list[Tensor]
    input_shape: tuple[int, int]


@dataclass
class DistillationRoIs:
    """The teacher's proposals on which the RoI heads are compared.

    Attributes:
        bboxes: By image, (R_i, 4).
        logits: The teacher's, (R, C_o + 1), R the sum of all R_i.
        deltas: The teacher's, (R, 4 * C_o).
    """

    bboxes: list[Tensor]
    logits: Tensor
    deltas: Tensor


# The default is the full method; docs/results.md says what of it was chosen on DeepPCB's validation split. Shared between
# instances, hence never changed: a registry builds a module from a copy.
FEATURE = dict(type='FeatureNormMSELoss', loss_weight=0.2)
RPN_CLS = dict(type='RPNObjectnessHingeLoss', loss_weight=0.02)
RPN_REG = dict(type='RPNForegroundDeltaLoss', loss_weight=0.02)
ROI_CLS = dict(type='UnbiasedKDLoss', subtract_entropy=True, normalize=False, loss_weight=0.2)
ROI_REG = dict(type='RoIDeltaLoss', by_probability=True, loss_weight=0.2)
SCORE = dict(type='ScoreL1Loss', loss_weight=0.02)


@MODELS.register_module()
class MFRRKDistiller(BaseModule):
    """The distillation terms of ILMIL, each a registered loss and each a switch: ``None`` is off.

    Source: Fang et al. 2022 (MFRRK); unbiased distillation of the RoI classifier as in MMA (Cermelli et al. 2022); proposals on
    new objects left out as Verwimp et al. 2022 propose. Without arguments it is the full method.

    Args:
        feature: Loss on backbone stages and neck levels (hints).
        stages: Indices into the backbone's outputs that are compared.
        levels: Indices into the neck's outputs that are compared.
        spare_new: Leave the cells inside annotated boxes, where the student has new things to see, out of the hints and of the
            RPN terms.
        rpn_cls: Loss on RPN objectness.
        rpn_reg: Loss on RPN box deltas.
        roi_cls: Loss on RoI logits on the teacher's proposals.
        roi_reg: Loss on RoI box deltas of the old classes on the same proposals.
        score: Loss between the student's class probabilities on a matched RoI and the score of its merged box.
        candidates: Number of best teacher proposals an image out of which the distillation RoIs are drawn.
        num_rois: Number of distillation RoIs an image.
        exclude_iou: Leave out proposals that overlap an annotated box by this IoU or more (Verwimp's correction);
            ``None`` keeps them all.
    """

    def __init__(self,
                 feature: Optional[dict] = FEATURE,
                 stages: tuple[int, ...] = (),
                 levels: tuple[int, ...] = (0, 1, 2, 3),
                 spare_new: bool = True,
                 rpn_cls: Optional[dict] = RPN_CLS,
                 rpn_reg: Optional[dict] = RPN_REG,
                 roi_cls: Optional[dict] = ROI_CLS,
                 roi_reg: Optional[dict] = ROI_REG,
                 score: Optional[dict] = SCORE,
                 candidates: int = 128,
                 num_rois: int = 32,
                 exclude_iou: float | None = 0.3) -> None:
        super().__init__()
        terms = dict(feature=feature, rpn_cls=rpn_cls, rpn_reg=rpn_reg, roi_cls=roi_cls, roi_reg=roi_reg, score=score)
        for name, cfg in terms.items():
            setattr(self, name, None if cfg is None else MODELS.build(cfg))
        self.stages = tuple(stages)
        self.levels = tuple(levels)
        self.spare_new = spare_new
        self.candidates = candidates
        self.num_rois = num_rois
        self.exclude_iou = exclude_iou

    @property
    def needs_teacher(self) -> bool:
        """Whether a term looks at what the teacher sees in the batch. Scores are those of merged boxes."""
        return self.needs_rois or not all(term is None for term in (self.feature, self.rpn_cls, self.rpn_reg))

    @property
    def needs_rois(self) -> bool:
        """Whether a term compares the RoI heads, so that RoIs must be chosen and pass the student's head."""
        return self.roi_cls is not None or self.roi_reg is not None

    def choose_rois(self, knowledge: TeacherKnowledge, gt_bboxes: list[Tensor]) -> DistillationRoIs:
        """Draw the RoIs of a batch: ``num_rois`` of the ``candidates`` best proposals of each image, at random.

        Args:
            knowledge: The teacher's.
            gt_bboxes: By image, the annotated boxes (G, 4).
        """
        kept = [self._draw(proposals, boxes) for proposals, boxes in zip(knowledge.proposals, gt_bboxes)]
        return DistillationRoIs(
            [proposals.bboxes[index] for proposals, index in zip(knowledge.proposals, kept)],
            torch.cat([logits[index] for logits, index in zip(knowledge.roi_logits, kept)]),
            torch.cat([deltas[index] for deltas, index in zip(knowledge.roi_deltas, kept)]))

    def _draw(self, proposals: InstanceData, gt_bboxes: Tensor) -> Tensor:
        best = proposals.bboxes[:self.candidates]
        index = torch.arange(len(best), device=best.device)
        if self.exclude_iou is not None and len(gt_bboxes) and len(best):
            index = index[bbox_overlaps(best, gt_bboxes).amax(dim=1) < self.exclude_iou]
        return index[torch.randperm(len(index), device=index.device)[:self.num_rois]]

    def forward(self, student: StudentOutputs, knowledge: Optional[TeacherKnowledge],
                rois: Optional[DistillationRoIs]) -> dict[str, Tensor]:
        """The distillation losses, by name; a term that is switched off is absent.

        Args:
            student: The student's outputs.
            knowledge: The teacher's; ``None`` where :attr:`needs_teacher` is false.
            rois: The RoIs behind ``student.roi_logits``; ``None`` where :attr:`needs_rois` is false.
        """
        # By (height, width): hints and RPN terms look at maps of the same sizes.
        free = functools.cache(lambda shape: free_cells(student.gt_bboxes, shape, student.input_shape))
        losses = {}
        if self.feature is not None:
            losses['loss_kd_feature'] = self._feature_loss(student, knowledge, free)
        if self.rpn_cls is not None or self.rpn_reg is not None:
            losses.update(self._rpn_losses(student, knowledge, free))
        if self.roi_cls is not None:
            losses['loss_kd_roi_cls'] = self.roi_cls(student.roi_logits, rois.logits)
        if self.roi_reg is not None:
            losses['loss_kd_roi_reg'] = self.roi_reg(student.roi_deltas, rois.deltas, teacher_logits=rois.logits)
        if self.score is not None:
            losses['loss_kd_score'] = self.score(student.matched_logits, student.matched_scores, student.matched_labels)
        return losses

    def _feature_loss(self, student: StudentOutputs, knowledge: TeacherKnowledge, free: Callable) -> Tensor:
        pairs = [(student.stages[i], knowledge.stages[i]) for i in self.stages]
        pairs += [(student.levels[i], knowledge.levels[i]) for i in self.levels]
        terms = []
        for mine, theirs in pairs:
            terms.append(self.feature(mine, theirs, free(mine.shape[-2:]) if self.spare_new else None))
        return sum(terms) / len(terms)

    def _rpn_losses(self, student: StudentOutputs, knowledge: TeacherKnowledge, free: Callable) -> dict[str, Tensor]:
        mine, theirs = _flat_anchors(student.rpn_logits, 1), _flat_anchors(knowledge.rpn_logits, 1)
        mask = None
        if self.spare_new:
            mask = _flat_anchors([free(level.shape[-2:]).expand_as(level) for level in student.rpn_logits], 1) > 0
        losses = {}
        if self.rpn_cls is not None:
            losses['loss_kd_rpn_cls'] = self.rpn_cls(mine, theirs, mask=mask)
        if self.rpn_reg is not None:
            losses['loss_kd_rpn_reg'] = self.rpn_reg(
                _flat_anchors(student.rpn_deltas, 4), _flat_anchors(knowledge.rpn_deltas, 4), mine, theirs, mask=mask)
        return losses


def _flat_anchors(maps: list[Tensor], size: int) -> Tensor:
    """Maps by level, each (N, A * size, H, W), as one tensor (K, size), or (K,) for size 1; same order for every map."""
    flat = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, size) for level in maps])
    return flat.squeeze(1) if size == 1 else flat


def free_cells(gt_bboxes: list[Tensor], shape: tuple[int, int], input_shape: tuple[int, int]) -> Tensor:
    """Mark the cells of a feature map whose centre lies in no annotated box.

    Args:
        gt_bboxes: By image, (G, 4) in pixels of the input.
        shape: (height, width) of the feature map in cells.
        input_shape: (height, width) of the input in pixels.

    Returns:
        (N, 1, height, width), 1 for a free cell and 0 for a covered one.
    """
    height, width = shape
    device = gt_bboxes[0].device
    y = ((torch.arange(height, device=device) + 0.5) * (input_shape[0] / height))[:, None]
    x = ((torch.arange(width, device=device) + 0.5) * (input_shape[1] / width))[None, :]
    masks = []
    for boxes in gt_bboxes:
        x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
        masks.append(~((x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)).any(dim=0))
    return torch.stack(masks)[:, None].float()
