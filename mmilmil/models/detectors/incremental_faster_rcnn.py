"""The student: a stock Faster R-CNN with a teacher at its side."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Optional

from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, arange, cat, nn

from ...errors import InputError
from ...registry import MODELS
from ..box_cache import TeacherBoxCache
from ..distillers import MFRRKDistiller, StudentOutputs
from ..expand import grown_state_dict
from ..losses import UnbiasedCrossEntropyLoss
from ..meaning import check_same_meaning, count_maps
from ..merging import merge_teacher_boxes
from ..precision import for_roi_align, full_precision
from ..settings import built, check_names, check_number, settings_of
from ..structure import common_channels, cut, equal
from ..supported import check_supported
from ..teacher import Teacher, TeacherKnowledge, carries_config, load_detector, teacher_settings
from .pruned_faster_rcnn import PrunedFasterRCNN, pruned_checkpoint

DISTILLER = dict(type='MFRRKDistiller')
_WHOSE = 'the model of the student (type="IncrementalFasterRCNN")'
MERGING = dict(score_thr=0.5, iou_thr=0.3, nms_iou_thr=0.4)


@MODELS.register_module()
class IncrementalFasterRCNN(PrunedFasterRCNN):
    """Learns the newest classes from images where only those are annotated.

    Training starts from the teacher's weights with the RoI head grown by the new classes. Testing is the stock detector's
    and needs no teacher; so does loading: the checkpoint has a stock Faster R-CNN's keys and nothing else.

    With ``pruned`` the student has the structure of a pruned detector. Where its widths differ from the teacher's, the
    features of the channels that survive in both are compared.

    Args:
        *args: The stock detector's.
        teacher: Arguments of :meth:`Teacher.load`: ``checkpoint``, ``config``, ``max_proposals``. The files are read when
            training starts.
        distiller: Settings of the distiller, which is :class:`MFRRKDistiller` unless ``type`` names another; ``None`` distils
            nothing.
        merging: ``score_thr``, ``iou_thr`` and ``nms_iou_thr`` of :func:`merge_teacher_boxes`; ``None`` adds no teacher boxes.
            With neither distiller nor merging this is plain fine-tuning.
        teacher_boxes: File that ``tools/cache_teacher_boxes.py`` wrote, whose boxes are merged instead of those that the
            teacher finds in the batch. The teacher then looks at the batch only as far as the distiller asks for it.
        start: Of a pruned student, whose weights it starts from: ``pruned``, the pruned checkpoint's (it may have been trained
            further since), or ``teacher``, the teacher's, cut to the structure.
        **kwargs: The stock detector's.

    Raises:
        InputError: the detector is not supported (:mod:`mmilmil.models.supported`), or a setting is unknown or out of range.
    """

    restates_flow = True
    """``loss`` is the detector's own, and does what the stock one does."""

    def __init__(self,
                 *args,
                 teacher: dict,
                 distiller: Optional[dict] = DISTILLER,
                 merging: Optional[dict] = MERGING,
                 teacher_boxes: Optional[str] = None,
                 start: str = 'pruned',
                 **kwargs) -> None:
        self._keep_beside(None)
        if not args:
            check_supported(dict(kwargs, type=type(self)), _WHOSE)
        super().__init__(*args, **kwargs)
        check_supported(self, _WHOSE)
        self.teacher_cfg = teacher_settings(teacher)
        self.distiller = None if distiller is None else _distiller(distiller)
        self.merging = None if merging is None else _merging(merging)
        if start not in ('pruned', 'teacher'):
            raise InputError(f"model.start = {start!r} is neither 'pruned' nor 'teacher', whose weights a pruned student may "
                             'start from')
        self.start = start
        self.teacher_boxes = teacher_boxes
        self._cache: Optional[TeacherBoxCache] = None

    def _keep_beside(self, teacher: Optional[Teacher]) -> None:
        # Past nn.Module.__setattr__, which would make the teacher a submodule: its weights would then be trained, saved,
        # copied into EMA and synchronised between processes (protocol 6).
        object.__setattr__(self, '_teacher', teacher)
        object.__setattr__(self, '_channels', {})

    @property
    def teacher(self) -> Teacher:
        """The teacher, read from its files on first use and moved to where the student is.

        Raises:
            InputError: it cannot be read, or means other things by its numbers than the student.
        """
        if self._teacher is None:
            teacher = Teacher.load(**self.teacher_cfg)
            check_same_meaning(teacher.detector, self, f"the teacher {self.teacher_cfg['checkpoint']}")
            self._keep_beside(teacher)
        # It follows when it is asked, not in _apply: a copy of the student shares it and may live elsewhere, as an EMA may.
        mine, hers = self.roi_head.bbox_head.fc_cls.weight, self._teacher.detector.roi_head.bbox_head.fc_cls.weight
        if (mine.device, mine.dtype) != (hers.device, hers.dtype):
            self._teacher.to(mine.device, mine.dtype)
        return self._teacher

    def init_weights(self) -> None:
        """Start from the weights of the teacher or of the pruned checkpoint, the RoI head grown by the new classes.

        Nothing else is initialised. A classification loss that asks for the number of old classes is told it.

        Raises:
            InputError: The config of that loss says another number.
        """
        loss_cls = self.roi_head.bbox_head.loss_cls
        if isinstance(loss_cls, UnbiasedCrossEntropyLoss):
            loss_cls.set_num_old_classes(self.teacher.num_classes)
        # Only the fresh rows of this head survive. Pretrained weights would be overwritten, so they are not fetched.
        for module in self.roi_head.bbox_head.modules():
            if getattr(module, 'init_cfg', None):
                module.init_cfg = _without_pretrained(module.init_cfg)
        self.roi_head.bbox_head.init_weights()
        if self.distiller is not None and hasattr(self.distiller, 'check_maps'):
            self.distiller.check_maps(*count_maps(self))
        weights, agnostic = self._first_weights()
        self.load_state_dict(grown_state_dict(weights, self.state_dict(), agnostic, self.roi_head.bbox_head.reg_class_agnostic))
        self._is_init = True

    def _first_weights(self) -> tuple[dict[str, Tensor], bool]:
        """State dict of a detector with the student's structure that knows the old classes; whether its boxes are agnostic."""
        detector = self.teacher.detector
        structure = getattr(detector, 'structure', None)
        if self.pruned is not None and self.start == 'pruned':
            return self._pruned_weights()
        if self.pruned is not None:
            wanted = pruned_checkpoint(self.pruned)[0]
            if structure is None:
                detector = copy.deepcopy(detector)
                cut(detector, wanted, self.pruned)
            elif not equal(structure, wanted):
                raise InputError(f"the teacher {self.teacher_cfg['checkpoint']} is pruned to another structure than "
                                 f"{self.pruned}: start from the latter's own weights (model.start = 'pruned')")
        elif structure is not None:
            raise InputError(f"the teacher {self.teacher_cfg['checkpoint']} is pruned and the student is not: give the student "
                             'the same structure, model.pruned = the same path, or that of another pruned checkpoint')
        return detector.state_dict(), detector.roi_head.bbox_head.reg_class_agnostic

    def _pruned_weights(self) -> tuple[dict[str, Tensor], bool]:
        """As :meth:`_first_weights`, of the pruned checkpoint, which is to mean by its numbers what the student does."""
        _, weights = pruned_checkpoint(self.pruned)
        if not carries_config(self.pruned):  # nothing to compare with
            return weights, self.roi_head.bbox_head.reg_class_agnostic
        detector, _ = load_detector(self.pruned, whose='the pruned ', where='')
        check_same_meaning(detector, self, f'the pruned checkpoint {self.pruned}')
        return detector.state_dict(), detector.roi_head.bbox_head.reg_class_agnostic

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of a batch: the four of Faster R-CNN on the merged ground truth, and the distiller's.

        Args:
            batch_inputs: (N, 3, H, W), augmented and normalised; teacher and student see this same tensor.
            batch_data_samples: N samples with the annotated objects of the new classes.
        """
        annotated, ignored, metas = unpack_gt_instances(batch_data_samples)
        ignored_bboxes = [gt.bboxes.new_zeros((0, 4)) if one is None else one.bboxes for gt, one in zip(annotated, ignored)]
        knowledge = self._observe(batch_inputs, batch_data_samples)
        targets = annotated
        if self.merging is not None:
            detections = knowledge.detections if self.teacher_boxes is None else self.cache.look_up(metas, batch_inputs)
            targets = [merge_teacher_boxes(*image, **self.merging) for image in zip(annotated, detections, ignored_bboxes)]

        stages = self.backbone(batch_inputs)
        levels = self.neck(stages) if self.with_neck else stages
        rpn_logits, rpn_deltas = map(full_precision, self.rpn_head(levels))
        losses = self.rpn_head.loss_by_feat(
            rpn_logits, rpn_deltas, [_class_agnostic(gt) for gt in targets], metas, batch_gt_instances_ignore=ignored)
        proposals = self.rpn_head.predict_by_feat(
            rpn_logits, rpn_deltas, batch_img_metas=metas, cfg=self.train_cfg.get('rpn_proposal', self.test_cfg.rpn))

        sampled = self._sample_rois(proposals, targets, ignored)
        rois = bbox2roi([result.priors for result in sampled])
        num_sampled = len(rois)
        extra = None
        if self.distiller is not None and self.distiller.needs_rois:
            extra = self.distiller.choose_rois(knowledge, [gt.bboxes for gt in annotated], ignored_bboxes)
            if self._spreads_boxes:
                extra = replace(extra, deltas=extra.deltas.repeat(1, self.teacher.num_classes))
            # One RoIAlign and one head pass for the sampled and the distillation RoIs together.
            rois = cat([rois, bbox2roi(extra.bboxes)])
        heads = self.roi_head._bbox_forward(for_roi_align(levels), rois)
        logits, deltas = full_precision(heads['cls_score']), full_precision(heads['bbox_pred'])
        losses.update(
            self.roi_head.bbox_head.loss_and_target(
                cls_score=logits[:num_sampled],
                bbox_pred=deltas[:num_sampled],
                rois=rois[:num_sampled],
                sampling_results=sampled,
                rcnn_train_cfg=self.roi_head.train_cfg)['loss_bbox'])

        if self.distiller is not None:
            if knowledge is not None:
                stages, old_stages = self._common('stages', stages, knowledge.stages)
                levels, old_levels = self._common('levels', levels, knowledge.levels)
                knowledge = replace(knowledge, stages=old_stages, levels=old_levels)
            student = StudentOutputs(
                stages=stages,
                levels=levels,
                rpn_logits=rpn_logits,
                rpn_deltas=rpn_deltas,
                roi_logits=logits[num_sampled:],
                roi_deltas=deltas[num_sampled:],
                matched_logits=logits[_matched_rows(sampled)],
                matched_scores=_matched_scores(sampled, targets),
                matched_labels=cat([result.pos_gt_labels for result in sampled]),
                new_bboxes=[cat([gt.bboxes, bboxes]) for gt, bboxes in zip(annotated, ignored_bboxes)],
                img_shapes=[meta['img_shape'][:2] for meta in metas],
                # MMDetection has them as (width, height).
                strides=[stride[::-1] for stride in self.rpn_head.prior_generator.strides],
                input_shape=tuple(batch_inputs.shape[-2:]))
            losses.update(self.distiller(student, knowledge, extra))
        return losses

    @property
    def _spreads_boxes(self) -> bool:
        """Whether a class-agnostic teacher's deltas are to be those of each old class of a class-wise student."""
        mine, hers = (detector.roi_head.bbox_head.reg_class_agnostic for detector in (self, self.teacher.detector))
        return hers and not mine

    def _common(self, kind: str, mine: tuple[Tensor, ...],
                theirs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The student's and the teacher's maps on the channels that survive in both."""
        if kind not in self._channels:
            self._channels[kind] = common_channels(self, self.teacher.detector, kind)
        pairs = self._channels[kind]
        if not any(pairs):
            return mine, theirs
        chosen = [(own, known) if pair is None else (own[:, pair[0].to(own.device)], known[:, pair[1].to(known.device)])
                  for own, known, pair in zip(mine, theirs, pairs)]
        return tuple(own for own, _ in chosen), tuple(known for _, known in chosen)

    def _observe(self, inputs: Tensor, samples: SampleList) -> Optional[TeacherKnowledge]:
        """What the teacher sees of the batch, as far as it is used; ``None`` where nothing is."""
        detect = self.merging is not None and self.teacher_boxes is None
        heads = self.distiller is not None and self.distiller.needs_rois
        if not detect and not (self.distiller is not None and self.distiller.needs_teacher):
            return None
        score_thr = dict(score_thr=self.merging['score_thr']) if detect else {}
        return self.teacher.observe(inputs, samples, detect=detect, heads=detect or heads, **score_thr)

    @property
    def cache(self) -> TeacherBoxCache:
        """The teacher's boxes of ``teacher_boxes``, read on first use.

        Raises:
            InputError: they are another teacher's, or lack scores that merging asks for.
        """
        if self._cache is None:
            cache = TeacherBoxCache.load(self.teacher_boxes)
            cache.check_teacher(self.teacher.fingerprint, self.teacher_cfg['checkpoint'])
            if self.merging is not None and cache.score_thr > self.merging['score_thr']:
                wanted = self.merging['score_thr']
                raise InputError(f'{cache.path} leaves out boxes with a score below {cache.score_thr}, but '
                                 f'model.merging.score_thr is {wanted}: build it with --score-thr {wanted}')
            self._cache = cache
        return self._cache

    def _sample_rois(self, proposals: list[InstanceData], targets: list[InstanceData],
                     ignored: list[Optional[InstanceData]]) -> list[SamplingResult]:
        """Assign proposals to the merged ground truth and sample, image by image, as the stock RoI head does."""
        head = self.roi_head
        sampled = []
        for found, gt, ignore in zip(proposals, targets, ignored):
            priors = InstanceData(priors=found.bboxes)
            sampled.append(head.bbox_sampler.sample(head.bbox_assigner.assign(priors, gt, ignore), priors, gt))
        return sampled


def _distiller(cfg: dict) -> nn.Module:
    if not isinstance(cfg, Mapping):
        raise InputError(f'model.distiller = {cfg!r}: give its settings as dict(...), or None to distil nothing')
    cfg = {**DISTILLER, **cfg}
    kind = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if kind is MFRRKDistiller:
        check_names({name: value for name, value in cfg.items() if name != 'type'}, settings_of(kind), 'model.distiller')
    distiller = built(MODELS.build, cfg, 'model.distiller')
    weights = list(distiller.state_dict())
    if weights:
        raise InputError(f'model.distiller has weights of its own ({", ".join(weights[:3])}), which would be saved in the '
                         "detector's checkpoint and be missing in its teacher: use losses without parameters and buffers")
    return distiller


def _merging(cfg: dict) -> dict:
    if not isinstance(cfg, Mapping):
        raise InputError(f'model.merging = {cfg!r}: give its thresholds as dict(score_thr=...), or None to merge nothing')
    check_names(cfg, MERGING, 'model.merging')
    merging = {**MERGING, **cfg}
    for name, value in merging.items():
        if name != 'nms_iou_thr' or value is not None:
            check_number(value, f'model.merging.{name}', 0, 1)
    return merging


def _without_pretrained(init_cfg: dict | list) -> list[dict]:
    entries = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    return [entry for entry in entries if entry['type'] != 'Pretrained']


def _class_agnostic(gt: InstanceData) -> InstanceData:
    """The same boxes with label 0, the RPN's only class."""
    return InstanceData(bboxes=gt.bboxes, labels=gt.labels.new_zeros(len(gt.labels)))


def _matched_rows(sampled: list[SamplingResult]) -> Tensor:
    """Rows of the sampled RoIs that are matched to a box, (M,); in each image these come before the others."""
    rows, start = [], 0
    for result in sampled:
        matched = len(result.pos_priors)
        rows.append(arange(start, start + matched, device=result.pos_priors.device))
        start += matched + len(result.neg_priors)
    return cat(rows)


def _matched_scores(sampled: list[SamplingResult], targets: list[InstanceData]) -> Tensor:
    """Scores of the boxes that those RoIs are matched to, (M,); 1 for an annotated box."""
    scores = []
    for result, gt in zip(sampled, targets):
        score = gt.get('scores', gt.bboxes.new_ones(len(gt.bboxes)))
        scores.append(score[result.pos_assigned_gt_inds.long()])
    return cat(scores)
