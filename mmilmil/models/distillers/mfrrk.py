"""MFRRK: knowledge of multi-layer Feature maps, RPN and RCN, taken from the teacher into the student."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Optional

import torch
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import InputError
from ...registry import MODELS
from ..merging import on_annotation
from ..settings import built, check_indices, check_number
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
        new_bboxes: By image, boxes (G, 4) of the new classes, annotated and ignored ones, without the teacher's, in pixels of
            the input.
        img_shapes: By image, its (height, width) in pixels; the rest of the input tensor is padding.
        strides: By neck level, (height, width) of a cell in pixels, as the RPN has them.
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
    new_bboxes: list[Tensor]
    img_shapes: list[tuple[int, int]]
    strides: list[tuple[float, float]]
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
TERMS = dict(feature=FEATURE, rpn_cls=RPN_CLS, rpn_reg=RPN_REG, roi_cls=ROI_CLS, roi_reg=ROI_REG, score=SCORE)


def term_cfg(name: str, cfg: dict, where: str) -> dict:
    """A term's whole config: one without a ``type`` changes the default term.

    Args:
        name: The term.
        cfg: What is set of it.
        where: Its setting, for the message.

    Raises:
        InputError: it is no dict.
    """
    if not isinstance(cfg, Mapping):
        raise InputError(f'{where} = {cfg!r}: give the loss as dict(type=..., loss_weight=...), some settings of the default '
                         'one as dict(loss_weight=...), or None to switch the term off')
    return dict(cfg) if 'type' in cfg else {**TERMS[name], **cfg}


@MODELS.register_module()
class MFRRKDistiller(BaseModule):
    """The distillation terms of ILMIL, each a registered loss and each a switch: ``None`` is off.

    Source: Fang et al. 2022 (MFRRK); unbiased distillation of the RoI classifier as in MMA (Cermelli et al. 2022); proposals on
    new objects left out as Verwimp et al. 2022 propose. Without arguments it is the full method.

    Hints and RPN terms look at the cells of each image whose centre lies in it, not at the padding of the batch, and are the
    mean over the images of the batch; all anchors of a cell count as it does, wherever they reach. The RoI and score terms are
    means over the RoIs of the batch, as Faster R-CNN's own RoI losses are.

    A term that names no ``type`` is the default one with these settings; one that does stands alone.

    Args:
        feature: Loss on backbone stages and neck levels (hints).
        stages: Indices into the backbone's outputs that are compared.
        levels: Indices into the neck's outputs that are compared.
        spare_new: Leave the cells inside annotated or ignored boxes, where the student has new things to see, out of the hints
            and of the RPN terms.
        rpn_cls: Loss on RPN objectness.
        rpn_reg: Loss on RPN box deltas.
        roi_cls: Loss on RoI logits on the teacher's proposals.
        roi_reg: Loss on RoI box deltas of the old classes on the same proposals.
        score: Loss between the student's class probabilities on a matched RoI and the score of its merged box.
        candidates: Number of best teacher proposals an image out of which the distillation RoIs are drawn.
        num_rois: Number of distillation RoIs an image.
        exclude_iou: Leave out proposals that overlap an annotated or ignored box by this IoU or more (Verwimp's correction),
            and those of which at least half lies in an ignored one; ``None`` keeps them all.
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
            where = f'model.distiller.{name}'
            setattr(self, name, None if cfg is None else built(MODELS.build, term_cfg(name, cfg, where), f'{where} = {cfg}'))
        self.stages = check_indices(stages, 'model.distiller.stages')
        self.levels = check_indices(levels, 'model.distiller.levels')
        if feature is not None and not self.stages and not self.levels:
            raise InputError('model.distiller.levels and model.distiller.stages are empty, so the feature term has no map to '
                             'compare: name some, or switch it off by model.distiller.feature=None')
        check_number(candidates, 'model.distiller.candidates', 1, whole=True)
        check_number(num_rois, 'model.distiller.num_rois', 1, whole=True)
        if exclude_iou is not None:
            check_number(exclude_iou, 'model.distiller.exclude_iou', 0, 1)
        self.spare_new = spare_new
        self.candidates = candidates
        self.num_rois = num_rois
        self.exclude_iou = exclude_iou

    def check_maps(self, stages: int, levels: int) -> None:
        """The maps that the feature term compares are there.

        Args:
            stages: Number of the backbone's outputs.
            levels: Number of the neck's.

        Raises:
            InputError: an index is beyond them.
        """
        for name, chosen, count, of in (('stages', self.stages, stages, 'backbone'), ('levels', self.levels, levels, 'neck')):
            beyond = [index for index in chosen if not -count <= index < count]
            if self.feature is not None and beyond:
                raise InputError(f'model.distiller.{name} = {list(chosen)}: the {of} gives {count} maps, so {beyond[0]} is '
                                 f'none of them. Choose from 0 to {count - 1}')

    @property
    def needs_teacher(self) -> bool:
        """Whether a term looks at what the teacher sees in the batch. Scores are those of merged boxes."""
        return self.needs_rois or not all(term is None for term in (self.feature, self.rpn_cls, self.rpn_reg))

    @property
    def needs_rois(self) -> bool:
        """Whether a term compares the RoI heads, so that RoIs must be chosen and pass the student's head."""
        return self.roi_cls is not None or self.roi_reg is not None

    def choose_rois(self, knowledge: TeacherKnowledge, annotated: list[Tensor], ignored: list[Tensor]) -> DistillationRoIs:
        """Draw the RoIs of a batch: ``num_rois`` of the ``candidates`` best proposals of each image, at random.

        Args:
            knowledge: The teacher's.
            annotated: By image, the annotated boxes (G, 4), without the teacher's.
            ignored: By image, the ignored boxes (K, 4).
        """
        kept = [self._draw(*image) for image in zip(knowledge.proposals, annotated, ignored, strict=True)]
        return DistillationRoIs(
            [proposals.bboxes[index] for proposals, index in zip(knowledge.proposals, kept)],
            torch.cat([logits[index] for logits, index in zip(knowledge.roi_logits, kept)]),
            torch.cat([deltas[index] for deltas, index in zip(knowledge.roi_deltas, kept)]))

    def _draw(self, proposals: InstanceData, annotated: Tensor, ignored: Tensor) -> Tensor:
        best = proposals.bboxes[:self.candidates]
        index = torch.arange(len(best), device=best.device)
        if self.exclude_iou is not None:
            index = index[~on_annotation(best, annotated, ignored, self.exclude_iou)]
        return index[torch.randperm(len(index), device=index.device)[:self.num_rois]]

    def forward(self, student: StudentOutputs, knowledge: Optional[TeacherKnowledge],
                rois: Optional[DistillationRoIs]) -> dict[str, Tensor]:
        """The distillation losses, by name; a term that is switched off is absent.

        Args:
            student: The student's outputs.
            knowledge: The teacher's; ``None`` where :attr:`needs_teacher` is false.
            rois: The RoIs behind ``student.roi_logits``; ``None`` where :attr:`needs_rois` is false.
        """
        device = student.new_bboxes[0].device
        # Cached, as hints and RPN terms look at maps of the same sizes.
        spared = student.new_bboxes if self.spare_new else None
        cells = functools.cache(lambda shape, stride: compared_cells(shape, stride, student.img_shapes, spared, device))
        losses = {}
        if self.feature is not None:
            losses['loss_kd_feature'] = self._feature_loss(student, knowledge, cells)
        if self.rpn_cls is not None or self.rpn_reg is not None:
            losses.update(self._rpn_losses(student, knowledge, cells))
        if self.roi_cls is not None:
            losses['loss_kd_roi_cls'] = self.roi_cls(student.roi_logits, rois.logits)
        if self.roi_reg is not None:
            losses['loss_kd_roi_reg'] = self.roi_reg(student.roi_deltas, rois.deltas, teacher_logits=rois.logits)
        if self.score is not None:
            losses['loss_kd_score'] = self.score(student.matched_logits, student.matched_scores, student.matched_labels)
        return losses

    def _feature_loss(self, student: StudentOutputs, knowledge: TeacherKnowledge, cells: Callable) -> Tensor:
        # A backbone tells no strides. Theirs divide the size that the data preprocessor pads to.
        triples = [(student.stages[i], knowledge.stages[i], _stride(student.stages[i], student.input_shape))
                   for i in self.stages]
        triples += [(student.levels[i], knowledge.levels[i], student.strides[i]) for i in self.levels]
        terms = [self.feature(mine, theirs, cells(mine.shape[-2:], stride).float()) for mine, theirs, stride in triples]
        return sum(terms) / len(terms)

    def _rpn_losses(self, student: StudentOutputs, knowledge: TeacherKnowledge, cells: Callable) -> dict[str, Tensor]:
        mine, theirs = _flat_anchors(student.rpn_logits, 1), _flat_anchors(knowledge.rpn_logits, 1)
        mask = _flat_anchors([cells(level.shape[-2:], stride).expand_as(level)
                              for level, stride in zip(student.rpn_logits, student.strides, strict=True)], 1)
        losses = {}
        if self.rpn_cls is not None:
            losses['loss_kd_rpn_cls'] = self.rpn_cls(mine, theirs, mask=mask)
        if self.rpn_reg is not None:
            losses['loss_kd_rpn_reg'] = self.rpn_reg(
                _flat_anchors(student.rpn_deltas, 4), _flat_anchors(knowledge.rpn_deltas, 4), mine, theirs, mask=mask)
        return losses


def _flat_anchors(maps: list[Tensor], size: int) -> Tensor:
    """Maps by level, each (N, A * size, H, W), as one tensor (N, K, size), or (N, K) for size 1; same order for every map."""
    flat = torch.cat([level.permute(0, 2, 3, 1).reshape(len(level), -1, size) for level in maps], dim=1)
    return flat.squeeze(2) if size == 1 else flat


def _stride(level: Tensor, input_shape: tuple[int, int]) -> tuple[float, float]:
    return input_shape[0] / level.size(-2), input_shape[1] / level.size(-1)


def compared_cells(shape: tuple[int, int],
                   stride: tuple[float, float],
                   img_shapes: list[tuple[int, int]],
                   spared: Optional[list[Tensor]] = None,
                   device: Optional[torch.device] = None) -> Tensor:
    """Mark the cells of a feature map whose centre lies in the image and in no spared box.

    Args:
        shape: (height, width) of the feature map in cells.
        stride: (height, width) of a cell in pixels of the input.
        img_shapes: By image, (height, width) in pixels; its upper left corner is the input's.
        spared: By image, boxes (G, 4) in pixels of the input, edges included; ``None`` spares nothing.
        device: Of the result.

    Returns:
        (N, 1, height, width), bool.
    """
    y, x = ((torch.arange(cells, device=device) + 0.5) * pixels for cells, pixels in zip(shape, stride))
    y, x = y[:, None], x[None, :]
    masks = [(y < height) & (x < width) for height, width in img_shapes]
    if spared is not None:
        for mask, boxes in zip(masks, spared, strict=True):
            x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
            mask &= ~((x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)).any(dim=0)
    return torch.stack(masks)[:, None]
