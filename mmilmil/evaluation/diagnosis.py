"""What a student and detectors beside it do on a split, from one pass over its images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.structures import SampleList
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from torch import Tensor, nn

from ..config import random_seed
from ..models.heads import class_heads
from ..models.losses import UnbiasedCrossEntropyLoss
from ..models.views import TwoStageView, view_of
from ..registry import MODELS
from ..stage import Stage
from .ap_gaps import ap_gaps
from .class_groups import group_figures, group_means
from .confusion import Confusion
from .image_subsets import subset_aps
from .incremental_voc_metric import IncrementalVOCMetric
from .logit_drift import LogitDrift
from .proposal_recall import ProposalRecall
from .sampled_positives import SampledPositives

MEANS = ('old', 'new', 'all')


@dataclass
class _Pass:
    """A detector's pass over a batch: its samples with what it detected, neck levels and, of two-stage ones, proposals."""

    samples: SampleList
    levels: tuple[Tensor, ...] = ()
    proposals: Sequence = ()


class DiagnosedDetector:
    """A detector with what was noted of it; :meth:`add` each batch, then read.

    Args:
        detector: The stock detector, with its weights and in eval mode.
        stage: Classes and groups; the detector knows these classes.
        score_thr: Of the confusion matrix.

    Attributes:
        recall: Of its proposals; None of a one-stage detector.
        drift: From the teacher; None where nothing was compared.
    """

    def __init__(self, detector: nn.Module, stage: Stage, score_thr: float = 0.3) -> None:
        self.detector, self.stage = detector.eval(), stage
        self.view = view_of(detector)
        self.confusion = Confusion(len(stage.classes), len(stage.old), score_thr)
        self.recall = ProposalRecall(len(stage.classes)) if isinstance(self.view, TwoStageView) else None
        self.drift: LogitDrift | None = None
        self._metric = IncrementalVOCMetric(eval_mode='area')

    @torch.no_grad()
    def add(self, batch: Mapping, teacher: nn.Module | None = None) -> None:
        """Detect on a batch, as a test does.

        Args:
            batch: As the data loader gives it, with annotations in pixels of the image file.
            teacher: A two-stage detector of the old classes to compare with, in eval mode.
        """
        seen = _look(self.detector, batch)
        start = len(self._metric.results)
        self._metric.process(None, [sample.to_dict() for sample in seen.samples])
        images = self._metric.results[start:]
        for image in images:
            self.confusion.add(image)
        for sample, proposals, image in zip(seen.samples, seen.proposals, images):
            boxes = proposals.bboxes / _scale(sample, proposals.bboxes)
            self.recall.add(boxes.cpu().numpy(), image.boxes, image.labels)
        if teacher is not None and isinstance(self.view, TwoStageView):
            old = len(self.stage.old)
            self.drift = self.drift or LogitDrift()
            objects = [torch.from_numpy(image.boxes[image.labels < old]).to(seen.levels[0]) for image in images]
            hers = _logits(teacher, _look(teacher, batch, detect=False), objects)
            for student, known in zip(_logits(self.detector, seen, objects), hers, strict=True):
                self.drift.add(student[:, :old], known[:, :old])

    def figures(self) -> dict[str, Any]:
        """All figures, in plain numbers; AP at IoU 0.5, area under the curve, in [0, 1].

        Returns:
            ``images``, their number; ``ap``: see :func:`group_figures`; ``subsets``: :func:`subset_aps` of ``old`` and ``new``;
            ``gaps``: by kind of error (:data:`mmilmil.evaluation.ap_gaps.KINDS`) what ``old``, ``new`` and ``all`` gain where
            it is repaired; ``confusion``: ``score_thr``, ``classes`` (the rows and columns), ``matrix``, ``on_top`` and
            ``blocks``; ``proposals``: ``old`` and ``new`` of :meth:`ProposalRecall.of`, and ``per_class``, None of a one-stage
            detector; ``drift``: see :meth:`LogitDrift.means`, None where nothing was compared.
        """
        images, classes, old = self._metric.results, self.stage.classes, len(self.stage.old)
        aps, repaired = ap_gaps(images, len(classes), old)
        means = group_means(self.stage, aps)
        gaps = {}
        for kind, values in repaired.items():
            better = group_means(self.stage, values)
            gaps[kind] = {name: None if means[name] is None else better[name] - means[name] for name in MEANS}
        recall = self.recall and dict(
            old=self.recall.of(slice(old)), new=self.recall.of(slice(old, None)),
            per_class={name: self.recall.of(slice(label, label + 1)) for label, name in enumerate(classes)})
        return dict(
            images=len(images),
            ap=group_figures(self.stage, aps),
            subsets=dict(old=subset_aps(images, range(old), len(classes)),
                         new=subset_aps(images, range(old, len(classes)), len(classes))),
            gaps=gaps,
            confusion=dict(score_thr=self.confusion.score_thr, classes=[*classes, 'background'],
                           matrix=self.confusion.matrix.tolist(), on_top=self.confusion.on_top.tolist(),
                           blocks=self.confusion.blocks()),
            proposals=recall,
            drift=self.drift and self.drift.means())


def _look(detector: nn.Module, batch: Mapping, detect: bool = True) -> _Pass:
    data = detector.data_preprocessor(batch, False)
    inputs, samples = data['inputs'], data['data_samples']
    if not isinstance(view_of(detector), TwoStageView):
        return _Pass(detector.predict(inputs, samples))
    # As the detector's own predict, which tells no proposals.
    levels = detector.extract_feat(inputs)
    if not detect:
        return _Pass(samples, levels)
    proposals = detector.rpn_head.predict(levels, samples, rescale=False)
    found = detector.roi_head.predict(levels, proposals, samples, rescale=True)
    return _Pass(detector.add_pred_to_datasample(samples, found), levels, proposals)


def _logits(detector: nn.Module, seen: _Pass, boxes: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """By image, logits of boxes (P, 4) in pixels of the image file."""
    scaled = [found * _scale(sample, found) for sample, found in zip(seen.samples, boxes, strict=True)]
    return view_of(detector).classify(seen.levels, scaled, [sample.metainfo for sample in seen.samples])


def _scale(sample: Any, boxes: Tensor) -> Tensor:
    return boxes.new_tensor(sample.scale_factor).repeat(2)


def pass_over(loader: Iterable[Mapping], rows: Sequence[DiagnosedDetector], teacher: nn.Module | None = None) -> None:
    """Show every image of a split to all detectors.

    Args:
        loader: The split's.
        rows: The detectors.
        teacher: See :meth:`DiagnosedDetector.add`.
    """
    for batch in loader:
        for row in rows:
            row.add(batch, teacher)


def training_positives(cfg: Config, detector: nn.Module, steps: int, num_old: int) -> SampledPositives:
    """Positives that training steps of a stage sample, with a detector's weights; nothing is learnt.

    Args:
        cfg: Config of the stage; a student's merges its teacher's boxes as in training.
        detector: A two-stage detector with the weights.
        steps: Number of batches, drawn as in training.
        num_old: Number of old classes.

    Raises:
        InputError: the teacher's file is missing or does not fit.
    """
    # What is only added to the losses samples nothing.
    without = {name: None for name in ('distiller', 'memory') if cfg.model.get(name)}
    model = MODELS.build(ConfigDict(cfg.model, **without))
    for head in class_heads(model).values():
        if isinstance(getattr(head, 'loss_cls', None), UnbiasedCrossEntropyLoss):
            head.loss_cls.set_num_old_classes(num_old)
    model.load_state_dict(detector.state_dict())
    device = next(detector.parameters()).device
    model.to(device).train()
    loader = Runner.build_dataloader(
        ConfigDict(cfg.train_dataloader, num_workers=0, persistent_workers=False), seed=random_seed(cfg))
    positives = SampledPositives()
    while positives.steps < steps:
        for batch in loader:
            data = model.data_preprocessor(batch, True)
            positives.add(model, data['inputs'], data['data_samples'], num_old)
            if positives.steps == steps:
                break
    return positives


def most_lost(figures: Mapping[str, Any]) -> str:
    """The sentence that says where most AP is lost.

    Args:
        figures: See :meth:`DiagnosedDetector.figures`.
    """
    if figures['ap']['all'] is None:
        return 'No AP is defined: the split has no object that counts.'
    gaps = sorted(figures['gaps'].items(), key=lambda item: -item[1]['all'])
    (first, gain), second = gaps[0], gaps[1]
    now = figures['ap']['all']
    if gain['all'] <= 0:
        return f'No kind of error costs AP: all is {100 * now:.1f}.'
    parts = ', '.join(f'{name} {100 * gain[name]:+.1f}' for name in ('old', 'new') if gain[name] is not None)
    return (f'Most AP is lost by {first!r}: without it all would be {100 * (now + gain["all"]):.1f} in the place of '
            f'{100 * now:.1f}, {100 * gain["all"]:+.1f} points ({parts}); next is {second[0]!r}, '
            f'{100 * second[1]["all"]:+.1f}.')


def numbers(value: Any) -> Any:
    """NumPy's numbers as Python's, for JSON."""
    if isinstance(value, Mapping):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [numbers(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
