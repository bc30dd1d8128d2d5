"""The student: a stock detector with a teacher at its side."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from mmdet.structures import SampleList
from mmengine.logging import print_log
from torch import Tensor, nn

from ...errors import InputError
from ...former_names import FORMER_SETTINGS
from ...registry import MODELS
from ..annotation import Annotation
from ..box_cache import TeacherBoxCache
from ..distillers import Distiller
from ..growth import grown_state_dict
from ..heads import class_heads
from ..loading import carries_config, load_detector
from ..losses import UnbiasedCrossEntropyLoss
from ..meaning import check_same_meaning
from ..memory import BUILD, MEMORY_FILE, FeatureMemory
from ..merging import MERGING, SAMPLING, merge_teacher_boxes
from ..pruned import check_prunable, cut_to, pruned_checkpoint
from ..replay import FeatureReplay
from ..sampling import room_for_new
from ..settings import built, check_names, check_number, check_switch, settings_of
from ..still import check_frozen, computed_once, freeze, keep_statistics, still_modules
from ..structure import common_channels, cut, equal
from ..supported import check_supported
from ..teacher import Teacher, teacher_settings
from ..unlabelled import unmatched_spared
from ..views import Outputs, TwoStageView, view_of

UNSET: Any = 'unset'
"""Of a setting that has no default: what a method keeps of the old classes is to be read in the config."""


class IncrementalDetector:
    """In front of a stock detector: learns the newest classes from images where only those are annotated.

    Training starts from the teacher's weights with the heads grown by the new classes, and merges the teacher's boxes into the
    annotation before the stock detector's own ``loss`` is computed. Testing is the stock detector's and needs no teacher; so
    does loading: the checkpoint has the stock detector's keys and nothing else.

    With ``pruned`` the student has the structure of a pruned detector. Where its widths differ from the teacher's, the
    features of the channels that survive in both are compared.

    Args:
        *args: The stock detector's.
        teacher: Arguments of :meth:`Teacher.load`: ``checkpoint``, ``config``, ``classes`` where the checkpoint names none and,
            of a two-stage detector, ``max_proposals``. The files are read when training starts.
        distiller: Settings of the distiller, ``MFRRKDistiller`` of a two-stage detector and ``DenseDistiller`` of a one-stage
            one; ``None`` distils nothing.
        merging: ``score_thr``, ``iou_thr`` and ``nms_iou_thr`` of :func:`merge_teacher_boxes`, and of how its boxes are sampled
            ``rpn`` and ``annotated_share`` (:func:`room_for_new`); ``None`` adds no teacher boxes.
            With neither distiller nor merging this is plain fine-tuning.
        memory: Settings of :class:`FeatureReplay`, by which a two-stage detector is shown what the teacher's feature memory
            keeps; ``None`` replays nothing.
        frozen: Parts that stay as the teacher's are, see :func:`mmilmil.models.still.check_frozen`.
        norm_eval: Whether batch norm keeps the teacher's statistics in training.
        teacher_boxes: File that ``tools/cache_teacher_boxes.py`` wrote, whose boxes are merged instead of those that the
            teacher finds in the batch. The teacher then looks at the batch only as far as the distiller asks for it.
        pruned: Checkpoint of a pruned detector, see :class:`PrunedDetector`; of Faster R-CNN only.
        start: Of a pruned student, whose weights it starts from: ``pruned``, the pruned checkpoint's (it may have been trained
            further since), or ``teacher``, the teacher's, cut to the structure.
        **kwargs: The stock detector's.

    Raises:
        InputError: the detector is not supported (:mod:`mmilmil.models.supported`), or a setting is missing, unknown or out of
            range.
    """

    calls_stock_loss = True
    """``loss`` is not the stock detector's own, but what it computes of the detector itself is."""

    def __init__(self,
                 *args,
                 teacher: dict,
                 distiller: Optional[dict] = UNSET,
                 merging: Optional[dict] = UNSET,
                 memory: Optional[dict] = None,
                 frozen: Sequence[str] = (),
                 norm_eval: bool = False,
                 teacher_boxes: Optional[str] = None,
                 pruned: Optional[str] = None,
                 start: str = 'pruned',
                 **kwargs) -> None:
        self._keep_beside(None)
        self.watch_merging(None)
        whose = f'the model of the student (type="{type(self).__name__}")'
        if not args:
            check_supported(dict(kwargs, type=type(self)), whose)
            if kwargs.get('test_cfg') is None:
                raise InputError('model.test_cfg is not set, by which validation and test find boxes (score_thr, nms, ...): '
                                 'take that of a file of configs/_base_/models, or of the teacher')
        if pruned is not None:
            check_prunable(dict(type=type(self)), whose)
        super().__init__(*args, **kwargs)
        check_supported(self, whose)
        self.pruned = pruned
        cut_to(self, pruned)
        self.teacher_cfg = teacher_settings(teacher)
        self.view = view_of(self)
        if 'max_proposals' in self.teacher_cfg and not isinstance(self.view, TwoStageView):
            number = self.teacher_cfg['max_proposals']
            raise InputError(f'model.teacher.max_proposals = {number!r} is of two-stage detectors, and {type(self).__name__} '
                             'has no proposals: leave it out')
        self.distiller = None if distiller is None else _distiller(distiller, self)
        self.merging = None if merging is None else merging_settings(merging)
        self.replay = None if memory is None else _replay(memory, self)
        self.frozen = check_frozen(frozen, self)
        self.norm_eval = check_switch(norm_eval, 'model.norm_eval')
        freeze(self, self.frozen)
        if start not in ('pruned', 'teacher'):
            raise InputError(f"model.start = {start!r} is neither 'pruned' nor 'teacher', whose weights a pruned student may "
                             'start from')
        self.start = start
        self.teacher_boxes = teacher_boxes
        if teacher_boxes is not None and any('mask_head' in name for name in class_heads(self)):
            raise InputError(f'model.teacher_boxes = {teacher_boxes!r} holds boxes without masks, and the student has a mask '
                             'head: leave it out, so that the teacher finds both in the batch')
        self._cache: Optional[TeacherBoxCache] = None

    def _keep_beside(self, teacher: Optional[Teacher]) -> None:
        # Past nn.Module.__setattr__, which would make the teacher a submodule: its weights would then be trained, saved,
        # copied into EMA and synchronised between processes (docs/protocol.md, rule 6).
        object.__setattr__(self, '_teacher', teacher)
        object.__setattr__(self, '_channels', {})
        object.__setattr__(self, '_memory', UNSET)
        object.__setattr__(self, '_still', None)

    def watch_merging(self, watcher: Optional[Callable[[list, list], None]]) -> None:
        """Have the teacher's boxes and the merged ground truth of each step looked at.

        Args:
            watcher: Called with both, by image, as :func:`mmilmil.models.merging.merge_teacher_boxes` gets and gives them;
                ``None`` for nobody.
        """
        object.__setattr__(self, '_merging_watcher', watcher)

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
        mine, hers = (next(part.parameters()) for part in (self, self._teacher.detector))
        if (mine.device, mine.dtype) != (hers.device, hers.dtype):
            self._teacher.to(mine.device, mine.dtype)
        return self._teacher

    def init_weights(self) -> None:
        """Start from the weights of the teacher or of the pruned checkpoint, the heads grown by the new classes.

        Nothing else is initialised. A classification loss that asks for the number of old classes is told it.

        Raises:
            InputError: The config of that loss says another number.
        """
        for head in class_heads(self).values():
            if isinstance(getattr(head, 'loss_cls', None), UnbiasedCrossEntropyLoss):
                head.loss_cls.set_num_old_classes(self.teacher.num_classes)
            # Only the fresh rows of this head survive. Pretrained weights would be overwritten, so they are not fetched.
            for module in head.modules():
                if getattr(module, 'init_cfg', None):
                    module.init_cfg = _without_pretrained(module.init_cfg)
            head.init_weights()
        if self.distiller is not None:
            self.distiller.check(self)
        weights, detector = self._first_weights()
        self.load_state_dict(grown_state_dict(weights, self, detector))
        self._is_init = True

    def _first_weights(self) -> tuple[dict[str, Tensor], Optional[nn.Module]]:
        """Weights of a detector with the student's structure that knows the old classes, and itself where it is known."""
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
        return detector.state_dict(), detector

    def _pruned_weights(self) -> tuple[dict[str, Tensor], Optional[nn.Module]]:
        """As :meth:`_first_weights`, of the pruned checkpoint, which is to mean by its numbers what the student does."""
        _, weights = pruned_checkpoint(self.pruned)
        if not carries_config(self.pruned):  # nothing to compare with
            return weights, None
        detector, _ = load_detector(self.pruned, whose='the pruned ', where='')
        check_same_meaning(detector, self, f'the pruned checkpoint {self.pruned}')
        return detector.state_dict(), detector

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of a batch: the stock detector's on the merged ground truth, and the distiller's.

        Args:
            batch_inputs: (N, 3, H, W), augmented and normalised; teacher and student see this same tensor.
            batch_data_samples: N samples with the annotated objects of the new classes.
        """
        with self._computed_once(batch_inputs):
            return self._losses(batch_inputs, batch_data_samples)

    def _losses(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        annotation = Annotation.of(batch_inputs, batch_data_samples)
        knowledge = self._observe(batch_inputs, batch_data_samples)
        samples = batch_data_samples
        if self.merging is not None:
            found = knowledge.detections if self.teacher_boxes is None else self.cache.look_up(annotation.metas, batch_inputs)
            samples = merged_samples(samples, annotation, found, self.merging)
            if self._merging_watcher is not None:
                self._merging_watcher(found, [sample.gt_instances for sample in samples])
            annotation = replace(annotation, apart=tuple(
                not bool((sample.gt_instances.labels < self.teacher.num_classes).any()) for sample in samples))
        if self.merging is not None or self.distiller is not None:
            annotation = annotation.of_new(self.teacher.num_classes)
        join = None if self.distiller is None else self.distiller.join(knowledge, annotation)
        with (room_for_new(self, self.merging, annotation.first_new), unmatched_spared(self, samples) as samples,
              self.view.watch(join) as outputs):
            losses = super().loss(batch_inputs, samples)
        if self.distiller is not None:
            if knowledge is not None:
                outputs, knowledge = self._common(outputs, knowledge)
            losses.update(self.distiller(outputs, knowledge, annotation))
        if self.memory is not None and self.replay.per_step:
            apart = sum(annotation.apart) / len(annotation.apart) if annotation.apart else 1.0
            known = outputs.rois[0].features if outputs.rois else None
            moved = None if known is None else (known, outputs.heads[0].features)
            matched = [(head.matched_logits, head.matched_labels) for head in outputs.heads]
            losses.update(self.replay(self.memory, self, self.teacher.detector, apart, moved, matched))
        return losses

    def train(self, mode: bool = True) -> nn.Module:
        """As the stock detector, but for the batch norms of frozen parts and, with ``norm_eval``, all others."""
        super().train(mode)
        if mode:
            keep_statistics(self, self.frozen, self.norm_eval)
        return self

    def _computed_once(self, inputs: Tensor) -> AbstractContextManager:
        """Frozen parts and stages that are the teacher's compute nothing twice."""
        if not self._asks_teacher:
            return nullcontext()
        teacher = self.teacher.detector
        if self._still is None:
            object.__setattr__(self, '_still', still_modules(self, teacher))
        return computed_once(self, teacher, self._still, inputs)

    @property
    def memory(self) -> Optional[FeatureMemory]:
        """The teacher's feature memory, read on first use; ``None`` where none is asked for or none is there.

        Raises:
            InputError: it cannot be read, or is another teacher's.
        """
        if self._memory is UNSET:
            memory = None
            if self.replay is not None:
                file = Path(self.replay.file or Path(self.teacher_cfg['checkpoint']).with_name(MEMORY_FILE))
                if self.replay.file is not None or file.is_file():
                    memory = FeatureMemory.load(file)
                    memory.check(self.teacher.fingerprint, self.teacher.classes, str(self.teacher_cfg['checkpoint']))
                    fits = memory.fits(self)
                    if not fits and self.replay.file is not None:
                        raise InputError(f'{memory.other_shape(self)}: make one with the teacher whose structure the student '
                                         f'has, by {BUILD}, or leave model.memory.file out')
                    if not fits:  # a student whose box head is of another structure runs without
                        print_log(f'{memory.other_shape(self)}: it is not used', 'current')
                        memory = None
            object.__setattr__(self, '_memory', memory)
        return self._memory

    @property
    def kept(self) -> dict[str, int]:
        """What the stage before left beside its detector, in bytes."""
        return dict(memory_bytes=0 if self.memory is None else self.memory.nbytes)

    def _common(self, outputs: Outputs, knowledge: Outputs) -> tuple[Outputs, Outputs]:
        """Both with the feature maps of the channels that survive in student and teacher."""
        for kind in ('backbone_levels', 'neck_levels'):
            if kind not in self._channels:
                self._channels[kind] = common_channels(self, self.teacher.detector, kind)
            pairs = self._channels[kind]
            if not any(pairs):
                continue
            chosen = [(own, known) if pair is None else (own[:, pair[0].to(own.device)], known[:, pair[1].to(known.device)])
                      for own, known, pair in zip(getattr(outputs, kind), getattr(knowledge, kind), pairs)]
            outputs = replace(outputs, **{kind: tuple(own for own, _ in chosen)})
            knowledge = replace(knowledge, **{kind: tuple(known for _, known in chosen)})
        return outputs, knowledge

    @property
    def _asks_teacher(self) -> bool:
        """Whether the teacher looks at a batch."""
        return self._detects or (self.distiller is not None and self.distiller.needs_teacher)

    @property
    def _detects(self) -> bool:
        """Whether its detections are merged."""
        return self.merging is not None and self.teacher_boxes is None

    def _observe(self, inputs: Tensor, samples: SampleList) -> Optional[Outputs]:
        """What the teacher sees of the batch, as far as it is used; ``None`` where nothing is."""
        if not self._asks_teacher:
            return None
        heads = self.distiller is not None and self.distiller.needs_rois
        score_thr = dict(score_thr=self.merging['score_thr']) if self._detects else {}
        return self.teacher.observe(inputs, samples, detect=self._detects, heads=self._detects or heads, **score_thr)

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


def merged_samples(samples: SampleList, annotation: Annotation, found: list, merging: Mapping) -> SampleList:
    """Copies of a batch's samples whose ground truth has the teacher's boxes too; the batch's own stay as they are."""
    thresholds = {name: value for name, value in merging.items() if name in MERGING}
    merged = []
    for sample, gt, detections, ignored in zip(samples, annotation.instances, found, annotation.ignored, strict=True):
        sample = sample.new()
        sample.gt_instances = merge_teacher_boxes(gt, detections, ignored, **thresholds)
        merged.append(sample)
    return merged


_INHERIT = 'inherit it from configs/_base_/distillers (mfrrk.py for two-stage detectors, dense.py for one-stage ones)'


def _distiller(cfg: dict, student: IncrementalDetector) -> nn.Module:
    if cfg is UNSET:
        raise InputError(f'model.distiller is not set: {_INHERIT}, or set it to None to distil nothing')
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise InputError(f'model.distiller = {cfg!r}: give its settings as dict(type=...), or None to distil nothing')
    kind = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if isinstance(kind, type) and not issubclass(kind, Distiller):
        raise InputError(f'model.distiller is a {kind.__name__}, which is no distiller: {_INHERIT}')
    if isinstance(kind, type):
        if not isinstance(student.view, kind.view):
            raise InputError(f'model.distiller is a {kind.__name__}, whose terms a {type(student).__name__} has no place for: '
                             f'{_INHERIT}')
        check_names({name: value for name, value in cfg.items() if name != 'type'}, settings_of(kind), 'model.distiller',
                    FORMER_SETTINGS.get(kind.__name__, {}))
    distiller = built(MODELS.build, cfg, 'model.distiller')
    weights = list(distiller.state_dict())
    if weights:
        raise InputError(f'model.distiller has weights of its own ({", ".join(weights[:3])}), which would be saved in the '
                         "detector's checkpoint and be missing in its teacher: use losses without parameters and buffers")
    return distiller


def merging_settings(cfg: dict) -> dict:
    """``model.merging`` with what it leaves to the defaults.

    Raises:
        InputError: it is not set, lacks a threshold, or has one that is unknown or out of range.
    """
    if cfg is UNSET:
        raise InputError(f'model.merging is not set: {_INHERIT}, or set it to None to merge nothing')
    if not isinstance(cfg, Mapping):
        raise InputError(f'model.merging = {cfg!r}: give its thresholds as dict(score_thr=...), or None to merge nothing')
    check_names(cfg, (*MERGING, *SAMPLING), 'model.merging')
    lacking = [name for name in MERGING if name not in cfg]
    if lacking:
        raise InputError(f'model.merging does not say {", ".join(lacking)}: {_INHERIT}')
    for name, value in cfg.items():
        if name == 'rpn':
            check_switch(value, 'model.merging.rpn')
        elif name != 'nms_iou_thr' or value is not None:
            check_number(value, f'model.merging.{name}', 0, 1)
    return {**SAMPLING, **cfg}


def _replay(cfg: dict, student: IncrementalDetector) -> FeatureReplay:
    if not isinstance(student.view, TwoStageView):
        raise InputError(f'model.memory = {cfg!r}: a feature memory holds what a RoI head sees, and a {type(student).__name__} '
                         'has none: leave it out')
    if not isinstance(cfg, Mapping):
        raise InputError(f'model.memory = {cfg!r}: give its settings as dict(per_step=...), or None to use no memory')
    check_names(cfg, settings_of(FeatureReplay), 'model.memory')
    return built(lambda settings: FeatureReplay(**settings), cfg, 'model.memory')


def _without_pretrained(init_cfg: dict | list) -> list[dict]:
    entries = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    return [entry for entry in entries if entry['type'] != 'Pretrained']
