"""VOC-style average precision, told apart by class group."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..errors import InputError
from ..registry import METRICS
from ..stage import Stage
from .average_precision import MODES, ClassResult, Image, class_results
from .class_groups import cell, figures_tables, group_figures, plain, reported
from .evaluated_sets import EvaluatedSet, described, set_column, set_lines, unmeasured


@METRICS.register_module()
class IncrementalVOCMetric(BaseMetric):
    """AP at one IoU threshold, by class and as means over the class groups of ``metainfo`` (protocol 9).

    Matching is that of MMDetection's ``VOCMetric``, see :func:`class_results`; difficult boxes are don't care. Class
    names come from the dataset, whatever they are and however many. A class without a box in the split has no AP and is
    left out of the means, which is told. Of several sets (``ConcatDataset``), whatever their layouts, each class is measured on
    those that annotate it.

    Reports ``old``, ``new``, ``all``, ``avg`` (= (old + new) / 2), ``group0``, ``group1``, ... and ``AP/<class>``; the
    group figures of the other way of averaging as ``area_old``, ... (``11points_old``, ... where area stands in front).
    All in [0, 1]. What is undefined is not reported: a first stage has neither ``old`` nor ``avg``.

    Args:
        iou_thr: IoU from which a detection matches a box, in (0, 1].
        eval_mode: ``'11points'`` (VOC2007) or ``'area'``: which of the two stands in front.
        collect_device: Where results of several processes are gathered, ``'cpu'`` or ``'gpu'``.
        prefix: Put before the names of all figures.

    Raises:
        InputError: an argument out of its range, images without annotations, or classes that contradict their split.

    Attributes:
        summary (dict | None): After an evaluation, in the main process: what :class:`MetricsFileHook` writes to
            ``metrics.json``; see :func:`summarize`, and ``sets``, see
            :func:`mmilmil.evaluation.evaluated_sets.described`.
    """

    def __init__(self,
                 iou_thr: float = 0.5,
                 eval_mode: str = '11points',
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if eval_mode not in MODES:
            raise InputError(f'eval_mode = {eval_mode!r} of IncrementalVOCMetric: use {MODES[0]!r} or {MODES[1]!r}')
        if not isinstance(iou_thr, (int, float)) or not 0 < iou_thr <= 1:
            raise InputError(f'iou_thr = {iou_thr!r} of IncrementalVOCMetric: give one number in (0, 1]')
        self.iou_thr = float(iou_thr)
        self.eval_mode = eval_mode
        self.summary: dict[str, Any] | None = None

    headline = 'all'
    """The figure that ``save_best='auto'`` goes by."""

    def figure_names(self) -> list[str]:
        """What an evaluation reports at most, without the prefix; a class or group without a box is left out of it."""
        stage = Stage.from_metainfo(self.dataset_meta, 'metainfo of the evaluated dataset')
        figures = group_figures(stage, np.zeros(len(stage.classes)))
        return list(reported(figures, {_other(self.eval_mode): figures}))

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep boxes and detections of a batch, in pixels of the original images.

        Args:
            data_batch: Not used.
            data_samples: ``gt_instances``, ``ignored_instances`` and ``pred_instances`` of each image, and what its dataset
                tells of the set it is of.
        """
        for sample in data_samples:
            truth, ignored = sample.get('gt_instances', {}), sample.get('ignored_instances', {})
            if 'bboxes' not in truth:
                raise InputError(f'{sample.get("img_path", "an image")} came without annotations, so nothing can be '
                                 "measured: add dict(type='LoadAnnotations', with_bbox=True) to the test pipeline, "
                                 'after Resize')
            found = sample['pred_instances']
            self.results.append(
                Image(
                    to_numpy(truth['bboxes']).reshape(-1, 4), to_numpy(truth['labels']),
                    to_numpy(ignored.get('bboxes', np.zeros((0, 4)))).reshape(-1, 4),
                    to_numpy(ignored.get('labels', np.zeros(0, int))),
                    np.column_stack([to_numpy(found['bboxes']).reshape(-1, 4), to_numpy(found['scores'])]),
                    to_numpy(found['labels']), EvaluatedSet.of(sample)))

    def compute_metrics(self, results: list[Image]) -> dict[str, float]:
        """The figures of a whole split."""
        stage = Stage.from_metainfo(self.dataset_meta, 'metainfo of the evaluated dataset')
        if not results:
            raise InputError('no image was evaluated: check the ann_file of the evaluated dataset')
        found = class_results(results, len(stage.classes), self.iou_thr)
        self.summary = dict(summarize(stage, found, len(results), self.iou_thr, self.eval_mode), sets=_sets(results, stage))
        other = _other(self.eval_mode)
        self._tell(stage, found)
        return reported(self.summary, {other: self.summary[other]})

    def _tell(self, stage: Stage, found: Sequence[ClassResult]) -> None:
        other, sets = _other(self.eval_mode), self.summary['sets']
        counts = {
            **set_column(sets, stage.classes),
            'boxes': [result.boxes for result in found],
            'detections': [result.detections for result in found],
            'recall': [cell(plain(result.recall)) for result in found],
        }
        measures = {f'AP {self.eval_mode}': self.summary, f'AP {other}': self.summary[other]}
        print_log(f'AP at IoU {self.iou_thr:g}, {self.summary["images"]} images, {self.summary["boxes"]} boxes\n'
                  f'{set_lines(sets)}{figures_tables(stage, counts, measures)}', logger='current')
        boxes = {name: result.boxes for name, result in zip(stage.classes, found)}
        for line in unmeasured(sets, boxes, 'the evaluated split has no box of it that is not difficult'):
            print_log(line, logger='current', level=logging.WARNING)


def summarize(stage: Stage, found: Sequence[ClassResult], images: int, iou_thr: float,
              eval_mode: str) -> dict[str, Any]:
    """What ``metrics.json`` tells, in plain numbers; None where a figure is undefined.

    Args:
        stage: Classes and groups.
        found: Results by class, in label order.
        images: Number of images evaluated.
        iou_thr: IoU threshold of the matching.
        eval_mode: ``'11points'`` or ``'area'``: whose figures stand at the top.

    Returns:
        ``old``, ``new``, ``all``, ``avg`` and ``groups`` as in :func:`group_means`, and ``per_class`` (AP by name); the
        same six under the other mode's name; ``classes``, ``split``, ``eval_mode``, ``iou_thr``, ``images``, ``boxes``
        (difficult ones left out).
    """
    figures = {mode: group_figures(stage, [result.ap[mode] for result in found]) for mode in MODES}
    other = _other(eval_mode)
    return {
        **figures[eval_mode],
        other: figures[other],
        'classes': list(stage.classes),
        'split': list(stage.split),
        'eval_mode': eval_mode,
        'iou_thr': iou_thr,
        'images': images,
        'boxes': sum(result.boxes for result in found),
    }


def _sets(images: Sequence[Image], stage: Stage) -> list[dict]:
    counts = {}
    for image in images:
        number, boxes = counts.get(image.evaluated, (0, 0))
        counts[image.evaluated] = number + 1, boxes + sum(map(image.evaluated.measures, image.labels.tolist()))
    return described(counts, stage)


def _other(mode: str) -> str:
    return MODES[1 - MODES.index(mode)]


def to_numpy(values: Any) -> np.ndarray:
    """An array of a tensor, of MMDetection's boxes, or of an array."""
    values = getattr(values, 'tensor', values)  # boxes may still be of MMDetection's box type
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
