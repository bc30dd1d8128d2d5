"""Two-stage detectors: an RPN, and one box head or, of a cascade, one a cascade stage."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..heads import as_list
from ..precision import for_roi_align, full_precision
from .base import Outputs, View, box_heads, cell_strides


@dataclass
class HeadKnowledge:
    """What a teacher's box head says of its RoIs.

    Attributes:
        bboxes: By image, the RoIs (P, 4) in pixels of the input tensor; of a later cascade stage those that the one before
            it made of the proposals.
        logits: By image, (P, C_o + 1), background last.
        deltas: By image, (P, 4 * C_o), or (P, 4) of a class-agnostic head.
        features: By image, the pooled features (P, D, h, w) that it says that of.
        head: The box head itself, frozen; it can be asked about other features.
    """

    bboxes: list[Tensor]
    logits: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    features: tuple[Tensor, ...] = ()
    head: Optional[nn.Module] = None


@dataclass
class HeadOutputs:
    """What a student's box head says, with gradient.

    Attributes:
        logits: (R, C + 1) on the distillation RoIs, background last.
        deltas: (R, 4 * C) on the same RoIs, or (R, 4).
        matched_logits: (M, C + 1) on the sampled RoIs that are matched to a box of the merged ground truth.
        matched_scores: (M,) scores of those boxes: 1 for annotated ones, the teacher's for merged ones.
        matched_labels: (M,) labels of those boxes.
        weight: The weight that the detector gives this head's losses; 1 but in a cascade.
        features: (R, D, h, w), the pooled features of the distillation RoIs.
    """

    logits: Tensor
    deltas: Tensor
    matched_logits: Tensor
    matched_scores: Tensor
    matched_labels: Tensor
    weight: float = 1.0
    features: Optional[Tensor] = None


@dataclass
class DistillationRoIs:
    """RoIs on which a box head is compared.

    Attributes:
        bboxes: By image, (R_i, 4).
        logits: The teacher's, (R, C_o + 1), R the sum of all R_i.
        deltas: The teacher's, (R, 4 * C_o), or (R, 4).
        features: The teacher's pooled features, (R, D, h, w), where its knowledge has them.
        head: The teacher's box head, frozen.
    """

    bboxes: list[Tensor]
    logits: Tensor
    deltas: Tensor
    features: Optional[Tensor] = None
    head: Optional[nn.Module] = None


@dataclass
class TwoStageOutputs(Outputs):
    """What a two-stage detector computed; A anchors a cell.

    Attributes:
        rpn_logits: Objectness by level, each (N, A, H, W).
        rpn_deltas: Box deltas by level, each (N, 4 * A, H, W).
        proposals: A teacher's, by image: ``bboxes`` (P, 4) in pixels of the input tensor, best objectness first.
        heads: By box head, a teacher's :class:`HeadKnowledge` or a student's :class:`HeadOutputs`.
        rois: By box head, the RoIs that joined the student's pass.
    """

    rpn_logits: list[Tensor] = field(default_factory=list)
    rpn_deltas: list[Tensor] = field(default_factory=list)
    proposals: list[InstanceData] = field(default_factory=list)
    heads: list = field(default_factory=list)
    rois: list[DistillationRoIs] = field(default_factory=list)


class RecordingSampler:
    """A sampler that remembers what it sampled, image by image, until it is asked.

    Args:
        sampler: The stock one, which does the work.
    """

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.sampled: list[tuple[SamplingResult, InstanceData]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sampler, name)

    def sample(self, assigned: Any, proposals: InstanceData, gt: InstanceData, **kwargs) -> SamplingResult:
        """As the stock sampler."""
        result = self.sampler.sample(assigned, proposals, gt, **kwargs)
        self.sampled.append((result, gt))
        return result


class TwoStageView(View):
    """Of Faster, Cascade and Mask R-CNN.

    ``watch(join)`` calls ``join`` when the first RoIs are pooled; it returns :class:`DistillationRoIs` by box head. They
    pass RoIAlign and the head together with the RoIs that the loss sampled, and the loss sees its own alone.
    """

    def _empty(self) -> TwoStageOutputs:
        return TwoStageOutputs(strides=cell_strides(self.detector.rpn_head))

    def observe(self, inputs: Tensor, metas: list[dict], score_thr: float = 0.5, heads: bool = True, detect: bool = True,
                max_proposals: int = 128) -> TwoStageOutputs:
        """See :meth:`mmilmil.models.teacher.Teacher.observe`.

        Args:
            inputs: (N, 3, H, W).
            metas: By image, its meta information.
            score_thr: Detections with a lower score are left out.
            heads: Whether proposals and what the box heads say of them are asked for.
            detect: Whether detections are asked for, which needs ``heads``.
            max_proposals: Proposals an image that the box heads see, at most.
        """
        detector = self.detector
        known = self._empty()
        known.backbone_levels, known.neck_levels = self._levels(inputs)
        known.rpn_logits, known.rpn_deltas = map(full_precision, detector.rpn_head(known.neck_levels))
        if not heads:
            return known
        rpn_cfg = ConfigDict(detector.test_cfg.rpn, max_per_img=min(max_proposals, detector.test_cfg.rpn.max_per_img))
        known.proposals = detector.rpn_head.predict_by_feat(known.rpn_logits, known.rpn_deltas, batch_img_metas=metas,
                                                            cfg=rpn_cfg)
        known.heads = self._cascade(for_roi_align(known.neck_levels), [found.bboxes for found in known.proposals], metas)
        if detect:
            known.detections = self._detect(known.heads, metas, score_thr)
            if detector.roi_head.with_mask:
                known.detections = self._with_masks(for_roi_align(known.neck_levels), known.detections, metas,
                                                    tuple(inputs.shape[-2:]))
        return known

    def classify(self, levels: tuple[Tensor, ...], bboxes: list[Tensor], metas: list[dict]) -> tuple[Tensor, ...]:
        """Logits of boxes by image, (P, C + 1) each, background last; of a cascade the mean over its cascade stages.

        Args:
            levels: Neck levels, each (N, C, H, W).
            bboxes: By image, (P, 4) in pixels of the input tensor.
            metas: By image, its meta information.
        """
        return _mean_logits(self._cascade(for_roi_align(levels), bboxes, metas))

    def _cascade(self, levels: list[Tensor], bboxes: list[Tensor], metas: list[dict]) -> list[HeadKnowledge]:
        """What each box head says: the first of these boxes, a later one of what its predecessor made of them."""
        heads = box_heads(self.detector)
        counts, known = [len(boxes) for boxes in bboxes], []
        for index, head in enumerate(heads):
            cascade_stage = (index, ) if isinstance(self.detector.roi_head.bbox_head, nn.ModuleList) else ()
            outputs = self.detector.roi_head._bbox_forward(*cascade_stage, levels, bbox2roi(bboxes))
            logits, deltas = (full_precision(outputs[name]).split(counts) for name in ('cls_score', 'bbox_pred'))
            known.append(HeadKnowledge(bboxes, logits, deltas, outputs['bbox_feats'].split(counts), head))
            if head is not heads[-1]:
                bboxes = [get_box_tensor(head.regress_by_class(boxes, scores[:, :-1].argmax(dim=1), moves, meta))
                          for boxes, scores, moves, meta in zip(bboxes, logits, deltas, metas)]
        return known

    def _detect(self, heads: list[HeadKnowledge], metas: list[dict], score_thr: float) -> list[InstanceData]:
        rois = bbox2roi(heads[-1].bboxes).split([len(boxes) for boxes in heads[-1].bboxes])
        # A cascade averages the logits of its cascade stages and takes the last one's boxes.
        logits = _mean_logits(heads)
        cfg = ConfigDict(self.detector.test_cfg.rcnn, score_thr=score_thr)
        found = box_heads(self.detector)[-1].predict_by_feat(
            rois, logits, heads[-1].deltas, batch_img_metas=metas, rcnn_test_cfg=cfg, rescale=False)
        # Again, as soft-NMS lowers scores. Its boxes of lower scores never lower those of higher ones.
        return [one[one.scores > score_thr] for one in found]

    def _with_masks(self, levels: list[Tensor], found: list[InstanceData], metas: list[dict],
                    shape: tuple[int, int]) -> list[InstanceData]:
        # Masks of the input as it is: of its size, whatever the image file's was, and not flipped back.
        metas = [dict(meta, ori_shape=shape, img_shape=shape, scale_factor=(1.0, 1.0), flip=False) for meta in metas]
        return self.detector.roi_head.predict_mask(levels, metas, found, rescale=False)

    def _watch(self, outputs: TwoStageOutputs, join: Optional[Callable]) -> Iterator[Any]:
        yield from super()._watch(outputs, join)
        rpn, roi = self.detector.rpn_head, self.detector.roi_head
        yield rpn.register_forward_hook(
            lambda head, args, found: vars(outputs).update(rpn_logits=list(found[0]), rpn_deltas=list(found[1])))
        samplers = [RecordingSampler(one) for one in _as_list(roi.bbox_sampler)]
        yield _Samplers(roi, roi.bbox_sampler)
        roi.bbox_sampler = samplers if isinstance(roi.bbox_sampler, list) else samplers[0]
        sampled_rois: list[int] = []

        def add_rois(extractor, args: tuple) -> tuple:
            levels, rois, *rest = args
            if join is not None and not outputs.rois:
                outputs.rois = join()
            sampled_rois.append(len(rois))
            if outputs.rois:
                rois = torch.cat([rois, bbox2roi(outputs.rois[len(sampled_rois) - 1].bboxes)])
            return (levels, rois, *rest)

        def take_apart(head, args, found: tuple) -> tuple:
            number, index = sampled_rois[-1], len(outputs.heads)
            weight = getattr(roi, 'stage_loss_weights', (1.0, ))[index]
            outputs.heads.append(_head_outputs(*found, args[0], number, samplers[index].sampled, weight))
            return tuple(part[:number] for part in found)

        for extractor in as_list(roi.bbox_roi_extractor):
            yield extractor.register_forward_pre_hook(add_rois)
        for head in box_heads(self.detector):
            yield head.register_forward_hook(take_apart)


@dataclass
class _Samplers:
    """Puts a RoI head's own samplers back when the pass is over."""

    roi_head: nn.Module
    samplers: Any

    def remove(self) -> None:
        self.roi_head.bbox_sampler = self.samplers


def _mean_logits(heads: list[HeadKnowledge]) -> tuple[Tensor, ...]:
    """By image, the mean logits of the cascade stages; of one head its own."""
    return heads[0].logits if len(heads) == 1 else tuple(
        sum(by_head) / len(heads) for by_head in zip(*(head.logits for head in heads)))


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _head_outputs(logits: Tensor, deltas: Tensor, features: Tensor, number: int,
                  sampled: list[tuple[SamplingResult, InstanceData]], weight: float) -> HeadOutputs:
    """Of a pass whose first ``number`` RoIs are the sampled ones."""
    return HeadOutputs(
        logits=logits[number:],
        deltas=deltas[number:],
        matched_logits=logits[matched_rows([result for result, _ in sampled])],
        matched_scores=matched_scores(sampled),
        matched_labels=torch.cat([result.pos_gt_labels for result, _ in sampled]),
        weight=weight,
        features=features[number:])


def matched_rows(sampled: list[SamplingResult]) -> Tensor:
    """Rows of the sampled RoIs that are matched to a box, (M,); in each image these come before the others."""
    rows, start = [], 0
    for result in sampled:
        matched = len(result.pos_priors)
        rows.append(torch.arange(start, start + matched, device=result.pos_priors.device))
        start += matched + len(result.neg_priors)
    return torch.cat(rows)


def matched_scores(sampled: list[tuple[SamplingResult, InstanceData]]) -> Tensor:
    """Scores of the boxes that those RoIs are matched to, (M,); 1 for an annotated box."""
    scores = []
    for result, gt in sampled:
        score = gt.get('scores', gt.bboxes.new_ones(len(gt.bboxes)))
        scores.append(score[result.pos_assigned_gt_inds.long()])
    return torch.cat(scores)
