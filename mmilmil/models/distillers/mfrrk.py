"""MFRRK: knowledge of multi-layer Feature maps, RPN and RCN, taken from the teacher into the student."""

from collections.abc import Callable, Sequence
from typing import Optional

import torch
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from ..annotation import Annotation
from ..merging import on_annotation
from ..precision import full_precision
from ..settings import check_number
from ..structure import common_channels
from ..views import DistillationRoIs, TwoStageOutputs, TwoStageView, flat
from .base import Cells, Distiller

RANKINGS = ('objectness', 'foreground')
"""By what proposals are ranked from which the distillation RoIs are drawn."""
_LOGIT_TERMS = ('roi_cls', 'roi_reg', 'apart_cls', 'apart_reg')
_CROSS_TERMS = ('cross_head', 'cross_head_reg')


@MODELS.register_module()
class MFRRKDistiller(Distiller):
    """The distillation terms of ILMIL for two-stage detectors. Its values stand in ``configs/_base_/distillers/mfrrk.py``.

    Source: Fang et al. 2022 (MFRRK); unbiased distillation of the RoI classifier as in MMA (Cermelli et al. 2022); proposals on
    new objects left out as Verwimp et al. 2022 propose; cross-head distillation as in FaCHD (2026): the teacher's frozen box
    head is asked about the student's features, so that the gradient goes into backbone and neck alone and the student's head is
    free. Off are the features of RoIs as in ABR (Liu et al. 2023).

    Hints and RPN terms look at the cells of each image whose centre lies in it, not at the padding of the batch, and are the
    mean over the images of the batch; all anchors of a cell count as it does, wherever they reach. The RoI and score terms are
    means over the RoIs of the batch, as Faster R-CNN's own RoI losses are. Of a cascade they are summed over its cascade stages
    with the weights that it gives its own losses.

    Args:
        feature: Loss on backbone and neck levels (hints).
        backbone_levels: Indices into the backbone's outputs that are compared.
        neck_levels: Indices into the neck's outputs that are compared.
        spare_new: Leave the cells inside annotated or ignored boxes, where the student has new things to see, out of the hints
            and of the RPN terms.
        rpn_cls: Loss on RPN objectness.
        rpn_reg: Loss on RPN box deltas.
        roi_cls: Loss on RoI logits on the teacher's proposals.
        roi_reg: Loss on RoI box deltas of the old classes on the same proposals.
        score: Loss between the student's class probabilities on a matched RoI and the score of its merged box.
        apart_cls: Loss on RoI logits in the place of ``roi_cls`` on images on which the teacher sees no old object, so that
            nothing is merged. There the new objects have to keep the old classes: their proposals are not left out.
        apart_reg: In the place of ``roi_reg`` on the same images.
        roi_feature: Loss on the pooled features of the same proposals, student's and teacher's.
        cross_head: Loss between the logits of the teacher's box head on the student's pooled features and on its own.
        cross_head_reg: Loss between that head's box deltas on both.
        candidates: Number of best teacher proposals an image out of which the distillation RoIs are drawn.
        ranking: Which are the best: by ``'objectness'`` of the teacher's RPN, or by ``'foreground'``, the probability of any
            old class that its (first) box head gives, among the ``model.teacher.max_proposals`` that this head sees.
        num_rois: Number of distillation RoIs an image.
        exclude_iou: Leave out proposals that overlap an annotated or ignored box by this IoU or more (Verwimp's correction),
            and those of which at least half lies in an ignored one; ``None`` keeps them all. With ``apart_cls`` or
            ``apart_reg`` images without a merged box keep them all.
    """

    view = TwoStageView
    asked = dict(feature=(3, ()), rpn_cls=(2, ('mask', )), rpn_reg=(4, ('mask', )), roi_cls=(2, ()),
                 roi_reg=(2, ('teacher_logits', )), apart_cls=(2, ()), apart_reg=(2, ('teacher_logits', )), score=(3, ()),
                 roi_feature=(2, ()), cross_head=(2, ()), cross_head_reg=(2, ('teacher_logits', )))

    def __init__(self,
                 feature: Optional[dict] = None,
                 backbone_levels: tuple[int, ...] = (),
                 neck_levels: tuple[int, ...] = (0, 1, 2, 3),
                 spare_new: bool = True,
                 rpn_cls: Optional[dict] = None,
                 rpn_reg: Optional[dict] = None,
                 roi_cls: Optional[dict] = None,
                 roi_reg: Optional[dict] = None,
                 apart_cls: Optional[dict] = None,
                 apart_reg: Optional[dict] = None,
                 score: Optional[dict] = None,
                 roi_feature: Optional[dict] = None,
                 cross_head: Optional[dict] = None,
                 cross_head_reg: Optional[dict] = None,
                 candidates: int = 128,
                 ranking: str = 'objectness',
                 num_rois: int = 32,
                 exclude_iou: float | None = 0.3) -> None:
        terms = dict(feature=feature, rpn_cls=rpn_cls, rpn_reg=rpn_reg, roi_cls=roi_cls, roi_reg=roi_reg, score=score,
                     apart_cls=apart_cls, apart_reg=apart_reg, roi_feature=roi_feature, cross_head=cross_head,
                     cross_head_reg=cross_head_reg)
        super().__init__(terms, backbone_levels, neck_levels, spare_new)
        check_number(candidates, 'model.distiller.candidates', 1, whole=True)
        check_number(num_rois, 'model.distiller.num_rois', 1, whole=True)
        if exclude_iou is not None:
            check_number(exclude_iou, 'model.distiller.exclude_iou', 0, 1)
        if ranking not in RANKINGS:
            raise InputError(f'model.distiller.ranking = {ranking!r}: give one of {", ".join(map(repr, RANKINGS))}')
        self.candidates = candidates
        self.ranking = ranking
        self.num_rois = num_rois
        self.exclude_iou = exclude_iou

    @property
    def needs_teacher(self) -> bool:
        """Whether a term looks at what the teacher sees in the batch. Scores are those of merged boxes."""
        return self.needs_rois or not all(term is None for term in (self.feature, self.rpn_cls, self.rpn_reg))

    @property
    def needs_rois(self) -> bool:
        """Whether a term compares the RoI heads, so that RoIs must be chosen and pass the student's head."""
        return any(getattr(self, term) is not None for term in (*_LOGIT_TERMS, 'roi_feature', *_CROSS_TERMS))

    def check(self, student: nn.Module) -> None:
        """See :class:`Distiller`. The cross-head terms are left out, as a line tells, where the box head of the
        teacher cannot read the features of the student, of which a pruned one has fewer.

        Raises:
            InputError: ``roi_feature`` compares RoI features, and those of student and teacher differ in their channels.
        """
        super().check(student)
        if not self.needs_rois or not any(common_channels(student, student.teacher.detector, 'neck_levels')):
            return
        if self.roi_feature is not None:
            raise InputError('model.distiller.roi_feature compares features of RoIs, and student and teacher are pruned to '
                             'different channels: set model.distiller.roi_feature to None, or give both the same structure '
                             '(model.pruned)')
        for term in _CROSS_TERMS:
            if getattr(self, term) is not None:
                print_log(f'model.distiller.{term} is left out: the box head of the teacher cannot read the features of the '
                          'student, which is pruned to other channels', 'current')
                setattr(self, term, None)

    def join(self, knowledge: Optional[TwoStageOutputs], annotation: Annotation
             ) -> Optional[Callable[[], list[DistillationRoIs]]]:
        """The distillation RoIs; see :class:`Distiller`."""
        return (lambda: self.choose_rois(knowledge, annotation)) if self.needs_rois else None

    def choose_rois(self, knowledge: TwoStageOutputs, annotation: Annotation) -> list[DistillationRoIs]:
        """Draw the RoIs of a batch: ``num_rois`` of the ``candidates`` best proposals of each image, at random.

        Args:
            knowledge: The teacher's.
            annotation: The batch's, without the teacher's boxes.

        Returns:
            By box head: the same proposals, as they come to that head.
        """
        kept = [self._draw(*image) for image in zip(knowledge.proposals, knowledge.heads[0].logits, annotation.annotated,
                                                    annotation.ignored, self._apart(annotation), strict=True)]

        def chosen(by_image: Sequence[Tensor]) -> list[Tensor]:
            return [values[index] for values, index in zip(by_image, kept, strict=True)]

        return [DistillationRoIs(chosen(head.bboxes), torch.cat(chosen(head.logits)), torch.cat(chosen(head.deltas)),
                                 torch.cat(chosen(head.features)) if head.features else None, head.head)
                for head in knowledge.heads]

    def _apart(self, annotation: Annotation) -> list[bool]:
        """By image, whether the terms for images without old objects count there."""
        asked = self.apart_cls is not None or self.apart_reg is not None
        return list(annotation.apart) if asked and annotation.apart else [False] * len(annotation.metas)

    def _draw(self, proposals: InstanceData, logits: Tensor, annotated: Tensor, ignored: Tensor, apart: bool) -> Tensor:
        index = torch.arange(len(proposals), device=logits.device)
        if self.ranking == 'foreground':
            index = logits.softmax(dim=1)[:, -1].argsort(stable=True)
        index = index[:self.candidates]
        if self.exclude_iou is not None and not apart:
            index = index[~on_annotation(proposals.bboxes[index], annotated, ignored, self.exclude_iou)]
        return index[torch.randperm(len(index), device=index.device)[:self.num_rois]]

    def forward(self, student: TwoStageOutputs, knowledge: Optional[TwoStageOutputs], annotation: Annotation
                ) -> dict[str, Tensor]:
        """See :class:`Distiller`."""
        cells = self.cells(annotation, annotation.annotated[0].device)
        losses = {}
        if self.feature is not None:
            losses['loss_kd_feature'] = self.feature_loss(student, knowledge, annotation, cells)
        if self.rpn_cls is not None or self.rpn_reg is not None:
            losses.update(self._rpn_losses(student, knowledge, cells))
        if any(getattr(self, term) is not None for term in _LOGIT_TERMS):
            losses.update(self._logit_losses(student, self._apart(annotation)))
        if self.roi_feature is not None:
            losses['loss_kd_roi_feature'] = sum([
                mine.weight * self.roi_feature(mine.features, rois.features)
                for mine, rois in zip(student.heads, student.rois)])
        if self.cross_head is not None or self.cross_head_reg is not None:
            losses.update(self._cross_head_losses(student))
        if self.score is not None:
            losses['loss_kd_score'] = sum([
                mine.weight * self.score(mine.matched_logits, mine.matched_scores, mine.matched_labels)
                for mine in student.heads])
        return losses

    def _logit_losses(self, student: TwoStageOutputs, apart: Sequence[bool]) -> dict[str, Tensor]:
        """What the heads say of the same RoIs: each term the mean over those of its images, times their share of all."""
        of_apart = torch.cat([torch.full((len(boxes), ), flag, device=boxes.device)
                              for boxes, flag in zip(student.rois[0].bboxes, apart, strict=True)])
        losses: dict[str, list[Tensor]] = {}
        for kind, rows in (('roi', ~of_apart), ('apart', of_apart)):
            cls, reg = getattr(self, f'{kind}_cls'), getattr(self, f'{kind}_reg')
            if kind == 'roi' and not any(apart):  # all of them, as they are
                rows, share = slice(None), 1.0
            else:
                share = rows.float().mean() if len(rows) else 0.0
            for mine, rois in zip(student.heads, student.rois):
                known = rois.logits[rows]
                if cls is not None:
                    losses.setdefault(f'loss_kd_{kind}_cls', []).append(
                        mine.weight * share * cls(mine.logits[rows], known))
                if reg is not None:
                    losses.setdefault(f'loss_kd_{kind}_reg', []).append(mine.weight * share * reg(
                        mine.deltas[rows], spread(rois, mine.deltas)[rows], teacher_logits=known))
        return {name: sum(by_head) for name, by_head in losses.items()}

    def _cross_head_losses(self, student: TwoStageOutputs) -> dict[str, Tensor]:
        losses: dict[str, list[Tensor]] = {}
        for mine, rois in zip(student.heads, student.rois):
            logits, deltas = map(full_precision, rois.head(mine.features))
            if self.cross_head is not None:
                losses.setdefault('loss_kd_cross_head', []).append(mine.weight * self.cross_head(logits, rois.logits))
            if self.cross_head_reg is not None:
                losses.setdefault('loss_kd_cross_head_reg', []).append(
                    mine.weight * self.cross_head_reg(deltas, rois.deltas, teacher_logits=rois.logits))
        return {name: sum(by_head) for name, by_head in losses.items()}

    def _rpn_losses(self, student: TwoStageOutputs, knowledge: TwoStageOutputs, cells: Cells) -> dict[str, Tensor]:
        mine, theirs = (flat(levels, 1).squeeze(2) for levels in (student.rpn_logits, knowledge.rpn_logits))
        mask = flat([cells(level.shape[-2:], stride).expand_as(level)
                     for level, stride in zip(student.rpn_logits, student.strides, strict=True)], 1).squeeze(2)
        losses = {}
        if self.rpn_cls is not None:
            losses['loss_kd_rpn_cls'] = self.rpn_cls(mine, theirs, mask=mask)
        if self.rpn_reg is not None:
            losses['loss_kd_rpn_reg'] = self.rpn_reg(
                flat(student.rpn_deltas, 4), flat(knowledge.rpn_deltas, 4), mine, theirs, mask=mask)
        return losses


def spread(rois: DistillationRoIs, student_deltas: Tensor) -> Tensor:
    """The teacher's deltas; a class-agnostic teacher's under a class-wise student are those of each old class.

    Args:
        rois: Deltas (R, 4 * C_o) or (R, 4), and logits (R, C_o + 1).
        student_deltas: (R, 4 * C), or (R, 4) of a class-agnostic student.
    """
    agnostic = rois.deltas.size(1) == 4 != student_deltas.size(1)
    return rois.deltas.repeat(1, rois.logits.size(1) - 1) if agnostic else rois.deltas
