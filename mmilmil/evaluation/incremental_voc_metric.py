"""VOC-style average precision, told apart by class group."""

from collections.abc import Sequence
from typing import Optional

import numpy as np
from mmdet.evaluation.functional import average_precision, eval_map
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable

from ..registry import METRICS
from ..stage import Stage

MODES = ('11points', 'area')


@METRICS.register_module()
class IncrementalVOCMetric(BaseMetric):
    """AP at one IoU threshold by class and as means over the class groups of ``metainfo`` (protocol 9).

    Matching is MMDetection's ``eval_map`` with the pixel-inclusive box sizes of the VOC devkit, as in its ``VOCMetric``; difficult
    boxes are don't care. Class names come from the dataset, whatever they are. A class without a box in the split has no AP
    and is left out of the means.

    Reports ``old``, ``new``, ``all``, ``avg`` (= (old + new) / 2), ``group0``, ``group1``, ... and ``AP/<class>``; the same from the
    other way of averaging with its name in front (``area_all``). A first stage has no ``old`` and no ``avg``. All in [0, 1].

    Args:
        iou_thr: IoU from which a detection matches a box.
        eval_mode: ``'11points'`` (VOC2007) or ``'area'``: which of the two stands in front.
        **kwargs: MMEngine's ``collect_device``, ``prefix``, ...
    """

    def __init__(self, iou_thr: float = 0.5, eval_mode: str = '11points', **kwargs) -> None:
        super().__init__(**kwargs)
        if eval_mode not in MODES:
            raise ValueError(f'eval_mode = {eval_mode!r}: use one of {MODES}')
        self.iou_thr = iou_thr
        self.eval_mode = eval_mode
        self.summary: Optional[dict] = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep boxes and detections of a batch, in pixels of the original images."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            gt, ignored, found = sample['gt_instances'], sample['ignored_instances'], sample['pred_instances']
            annotation = dict(
                bboxes=_numpy(gt['bboxes']),
                labels=_numpy(gt['labels']),
                bboxes_ignore=_numpy(ignored['bboxes']),
                labels_ignore=_numpy(ignored['labels']))
            boxes = np.concatenate([_numpy(found['bboxes']), _numpy(found['scores'])[:, None]], axis=1)
            labels = _numpy(found['labels'])
            self.results.append((annotation, [boxes[labels == label] for label in range(num_classes)]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The figures of a whole split; ``self.summary`` then holds what ``metrics.json`` tells."""
        stage = Stage.from_metainfo(self.dataset_meta)
        annotations, detections = zip(*results)
        # One process: sharing a few thousand boxes with a pool costs more than matching them.
        _, classes = eval_map(
            detections,
            annotations,
            iou_thr=self.iou_thr,
            logger='silent',
            nproc=1,
            use_legacy_coordinate=True,
            eval_mode=self.eval_mode)
        counts = [int(np.sum(found['num_gts'])) for found in classes]
        aps = {
            mode: [_ap(found, count, mode) for found, count in zip(classes, counts)]
            for mode in MODES
        }
        other = next(mode for mode in MODES if mode != self.eval_mode)
        figures = group_means(stage, aps[self.eval_mode])
        other_figures = group_means(stage, aps[other])
        self.summary = dict(
            figures,
            per_class=dict(zip(stage.classes, map(_plain, aps[self.eval_mode]))),
            eval_mode=self.eval_mode,
            iou_thr=self.iou_thr,
            classes=list(stage.classes),
            split=list(stage.split),
            images=len(results),
            boxes=sum(counts),
            **{other: dict(other_figures, per_class=dict(zip(stage.classes, map(_plain, aps[other]))))})
        self._tell(stage, classes, counts, aps)
        flat = _flat(figures)
        flat.update({f'AP/{name}': ap for name, ap in self.summary['per_class'].items() if ap is not None})
        flat.update({f'{other}_{name}': value for name, value in _flat(other_figures).items()})
        return flat

    def _tell(self, stage: Stage, classes: list[dict], counts: list[int], aps: dict[str, list[float]]) -> None:
        group_of = {name: index for index, group in enumerate(stage.groups) for name in group}
        rows = [('class', 'group', 'boxes', 'detections', *MODES)]
        for label, name in enumerate(stage.classes):
            rows.append((name, group_of[name], counts[label], classes[label]['num_dets'],
                         *(f'{aps[mode][label]:.3f}' for mode in MODES)))
        print_log(f'AP at IoU {self.iou_thr}\n{AsciiTable(rows).table}', logger='current')
        without = [name for name, count in zip(stage.classes, counts) if not count]
        if without:
            print_log(f'no box in this split, so no AP and left out of the means: {", ".join(without)}', logger='current',
                      level='WARNING')


def group_means(stage: Stage, aps: Sequence[float]) -> dict:
    """Means of per-class AP over groups of classes.

    Args:
        stage: Classes and groups.
        aps: AP by class, (C,), NaN where there is none.

    Returns:
        ``old``, ``new``, ``all``, ``avg`` and the list ``groups``; None where there is nothing to average.
    """
    aps = np.asarray(aps, dtype=float)
    old = _mean(aps[:len(stage.old)])
    new = _mean(aps[len(stage.old):])
    ends = np.cumsum(stage.split)
    return dict(
        old=old,
        new=new,
        all=_mean(aps),
        avg=None if old is None or new is None else (old + new) / 2,
        groups=[_mean(aps[end - size:end]) for end, size in zip(ends, stage.split)])


def _mean(values: np.ndarray) -> Optional[float]:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _ap(found: dict, boxes: int, mode: str) -> float:
    if not boxes:
        return float('nan')
    return float(average_precision(found['recall'], found['precision'], mode)) if found['num_dets'] else 0.0


def _plain(value: float) -> Optional[float]:
    return None if np.isnan(value) else value


def _flat(figures: dict) -> dict[str, float]:
    flat = {name: figures[name] for name in ('old', 'new', 'all', 'avg')}
    flat.update({f'group{index}': value for index, value in enumerate(figures['groups'])})
    return {name: value for name, value in flat.items() if value is not None}


def _numpy(values) -> np.ndarray:
    values = getattr(values, 'tensor', values)  # boxes may still be MMDetection's box type
    return values.cpu().numpy()
