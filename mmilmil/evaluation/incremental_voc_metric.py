"""VOC-style average precision, told apart by class group."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable

from ..errors import InputError
from ..registry import METRICS
from ..stage import Stage
from .average_precision import MODES, ClassResult, Image, class_results


@METRICS.register_module()
class IncrementalVOCMetric(BaseMetric):
    """AP at one IoU threshold, by class and as means over the class groups of ``metainfo`` (protocol 9).

    Matching is that of MMDetection's ``VOCMetric``, see :func:`class_results`; difficult boxes are don't care. Class
    names come from the dataset, whatever they are and however many. A class without a box in the split has no AP and is
    left out of the means, which is told.

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
            ``metrics.json``; see :func:`summarize`.
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

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep boxes and detections of a batch, in pixels of the original images.

        Args:
            data_batch: Not used.
            data_samples: ``gt_instances``, ``ignored_instances`` and ``pred_instances`` of each image.
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
                    _numpy(truth['bboxes']).reshape(-1, 4), _numpy(truth['labels']),
                    _numpy(ignored.get('bboxes', np.zeros((0, 4)))).reshape(-1, 4),
                    _numpy(ignored.get('labels', np.zeros(0, int))),
                    np.column_stack([_numpy(found['bboxes']).reshape(-1, 4), _numpy(found['scores'])]),
                    _numpy(found['labels'])))

    def compute_metrics(self, results: list[Image]) -> dict[str, float]:
        """The figures of a whole split."""
        stage = Stage.from_metainfo(self.dataset_meta, 'metainfo of the evaluated dataset')
        if not results:
            raise InputError('no image was evaluated: check the ann_file of the evaluated dataset')
        found = class_results(results, len(stage.classes), self.iou_thr)
        self.summary = summarize(stage, found, len(results), self.iou_thr, self.eval_mode)
        other = _other(self.eval_mode)
        self._tell(stage, found)
        flat = _flat(self.summary)
        flat.update({f'AP/{name}': ap for name, ap in self.summary['per_class'].items() if ap is not None})
        flat.update({f'{other}_{name}': value for name, value in _flat(self.summary[other]).items()})
        return flat

    def _tell(self, stage: Stage, found: Sequence[ClassResult]) -> None:
        modes = (self.eval_mode, _other(self.eval_mode))
        group_of = {name: index for index, group in enumerate(stage.groups) for name in group}
        rows = [('class', 'group', 'boxes', 'detections', 'recall', *(f'AP {mode}' for mode in modes))]
        rows += [(name, group_of[name], result.boxes, result.detections, _cell(_plain(result.recall)),
                  *(_cell(_plain(result.ap[mode])) for mode in modes)) for name, result in zip(stage.classes, found)]
        figures = {mode: _flat(self.summary if mode == self.eval_mode else self.summary[mode]) for mode in modes}
        means = [('mean', *(f'AP {mode}' for mode in modes))]
        means += [(name, *(_cell(figures[mode][name]) for mode in modes)) for name in figures[self.eval_mode]]
        print_log(f'AP at IoU {self.iou_thr:g}, {self.summary["images"]} images, {self.summary["boxes"]} boxes\n'
                  f'{_table(rows)}\n{_table(means)}', logger='current')
        without = [name for name, result in zip(stage.classes, found) if not result.boxes]
        if without:
            print_log(f'no AP for {", ".join(without)}: the evaluated split has no box of it that is not difficult; '
                      'left out of all means', logger='current', level=logging.WARNING)


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
    figures = {
        mode: dict(
            group_means(stage, [result.ap[mode] for result in found]),
            per_class={name: _plain(result.ap[mode]) for name, result in zip(stage.classes, found)})
        for mode in MODES
    }
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


def group_means(stage: Stage, aps: Sequence[float]) -> dict[str, Any]:
    """Means of per-class AP over groups of classes (protocol 9).

    Args:
        stage: Classes and groups.
        aps: AP by class, (C,); NaN where a class has none, which no mean then counts.

    Returns:
        ``old`` (all groups but the newest), ``new``, ``all``, ``avg`` (= (old + new) / 2) and the list ``groups``,
        oldest first; None where there is nothing to average. With one group ``old`` and ``avg`` are None.
    """
    aps = np.asarray(aps, dtype=float)
    old, new = _mean(aps[:len(stage.old)]), _mean(aps[len(stage.old):])
    ends = np.cumsum(stage.split)
    return dict(
        old=old,
        new=new,
        all=_mean(aps),
        avg=None if old is None or new is None else (old + new) / 2,
        groups=[_mean(aps[end - size:end]) for end, size in zip(ends, stage.split)])


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _flat(figures: Mapping) -> dict[str, float]:
    flat = {name: figures[name] for name in ('old', 'new', 'all', 'avg')}
    flat.update({f'group{index}': value for index, value in enumerate(figures['groups'])})
    return {name: value for name, value in flat.items() if value is not None}


def _other(mode: str) -> str:
    return MODES[1 - MODES.index(mode)]


def _cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'


def _table(rows: Sequence[Sequence]) -> str:
    table = AsciiTable([list(map(str, row)) for row in rows])
    table.justify_columns = {column: 'right' for column in range(1, len(rows[0]))}
    return table.table


def _numpy(values: Any) -> np.ndarray:
    values = getattr(values, 'tensor', values)  # boxes may still be of MMDetection's box type
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
