"""COCO's average precision, told apart by class group."""

import logging
import os
import os.path as osp
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as mask_utils
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.structures.mask import encode_mask_results
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..datasets.coco_reader import id_order, is_ignored, read_coco
from ..datasets.masks import read_mask
from ..errors import InputError
from ..registry import METRICS
from ..stage import Stage
from .class_groups import figures_tables, group_figures, reported
from .evaluated_sets import EvaluatedSet, described, set_column, set_lines, unmeasured

HEADLINE = 'AP'
# By figure, the IoU thresholds and the area range that it averages over, as places in what COCOeval found: thresholds
# .5, .55, ..., .95; areas all, small (to 32 * 32 pixels), medium (to 96 * 96), large.
MEASURES = {
    HEADLINE: (slice(None), 0),
    'AP50': (slice(0, 1), 0),
    'AP75': (slice(5, 6), 0),
    'APs': (slice(None), 1),
    'APm': (slice(None), 2),
    'APl': (slice(None), 3),
}
# The same by the IoU of masks, called as MMDetection's CocoMetric calls them.
MASK_MEASURES = dict(zip(
    ('segm_mAP', 'segm_mAP_50', 'segm_mAP_75', 'segm_mAP_s', 'segm_mAP_m', 'segm_mAP_l'), MEASURES.values()))
METRICS_OF_BOXES, METRICS_OF_BOTH = ('bbox', ), ('bbox', 'segm')
THRESHOLDS = [round(.5 + .05 * number, 2) for number in range(10)]
"""IoU thresholds of AP, those of COCOeval."""
MAX_DETECTIONS = 100
"""Detections of a class in an image that count, those of the highest scores."""


@dataclass(frozen=True)
class _File:
    """A COCO file, as far as it is measured by.

    Attributes:
        path: As the metric names it.
        names: Class name by category id.
        sizes: Height and width of each image in pixels, by id.
        annotations: Its entries of ``annotations``.
    """

    path: str
    names: Mapping[int | str, str]
    sizes: Mapping[int | str, tuple[float, float]]
    annotations: Sequence[dict]

    @classmethod
    def read(cls, path: str, backend_args: dict | None, with_masks: bool) -> '_File':
        content = read_coco(path, backend_args)
        # Without masks, most of the file, where they are not measured.
        left_out = () if with_masks else ('segmentation', )
        return cls(str(path), content.names, {image['id']: (image['height'], image['width']) for image in content.images},
                   [{key: value for key, value in annotation.items() if key not in left_out}
                    for annotations in content.annotations.values() for annotation in annotations])


@METRICS.register_module()
class IncrementalCocoMetric(BaseMetric):
    """COCO's AP, by class and as means over the class groups of ``metainfo`` (protocol 9).

    Matching and averaging are pycocotools', so the figures are those of MMDetection's ``CocoMetric``. That metric takes
    labels for places in the FILE's order, rounds to three digits and gives no class's AP50 or AP by area; here the label
    of a category is the place of its NAME in ``metainfo.classes``, as in :class:`IncrementalCocoDataset`.

    Ground truth is the file's, not the data samples': COCO's area ranges go by the area of an object's outline, which no
    data sample carries, and its boxes are neither clipped nor dropped. It is limited to the classes of ``metainfo``.
    Objects marked ``ignore`` are don't care, as crowds are. (pycocotools overlooks that mark.) A class without a box in
    the file, or in an area range, has no AP there and is left out of the means.

    Of several sets (``ConcatDataset``) each has a file of its own, and a class is measured on those that annotate it.

    Reports the means ``old``, ``new``, ``all``, ``avg`` (= (old + new) / 2), ``group0``, ``group1``, ... of AP over the
    IoU thresholds .5 to .95 and ``AP/<class>``; the means of the other figures as ``AP50_old``, ... (``AP75``, ``APs``,
    ``APm``, ``APl``). With masks the same means of ``segm_mAP``, ``segm_mAP_50``, ``segm_mAP_75``, ``segm_mAP_s``,
    ``segm_mAP_m`` and ``segm_mAP_l``, as ``segm_mAP_old``, ... All in [0, 1]. What is undefined is not reported.

    Args:
        ann_file: The JSON file of the evaluated dataset, which has to list the same images; not relative to a data root. Of
            several sets the list of their files.
        metric: ``'bbox'``, or ``['bbox', 'segm']`` to measure masks too. Every object of the seen classes, ignored ones too,
            then needs a ``segmentation`` in the file. Area ranges go by its ``area``, where it has none by that of its mask;
            a detection's by the area of its mask.
        backend_args: As in MMDetection's datasets.
        collect_device: Where results of several processes are gathered, ``'cpu'`` or ``'gpu'``.
        prefix: Put before the names of all figures.

    Raises:
        InputError: the file is missing or broken, has not the images, the classes or the masks of the dataset, the classes
            contradict their split, ``metric`` is another, or masks are to be measured and the detector predicts none.

    Attributes:
        summary (dict | None): After an evaluation, in the main process: what :class:`MetricsFileHook` writes to
            ``metrics.json``. ``old``, ``new``, ``all``, ``avg``, ``groups`` and ``per_class`` of AP, the same six under
            the names of the other figures, those of masks among them; ``classes``, ``split``, ``eval_mode``
            (``'101points'``, COCO's way of averaging over recall), ``iou_thr`` (the list of thresholds that AP averages over),
            ``images``, ``boxes`` (ignored ones left out), ``sets`` (see
            :func:`mmilmil.evaluation.evaluated_sets.described`).
    """

    def __init__(self,
                 ann_file: str | Sequence[str],
                 metric: str | Sequence[str] = 'bbox',
                 backend_args: dict | None = None,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        asked = (metric, ) if isinstance(metric, str) else tuple(metric)
        if asked not in (METRICS_OF_BOXES, METRICS_OF_BOTH):
            raise InputError(f"metric = {metric!r} of IncrementalCocoMetric: use 'bbox' or ['bbox', 'segm']")
        paths = [ann_file] if isinstance(ann_file, str | os.PathLike) else ann_file
        if not paths or not isinstance(paths, list | tuple):
            raise InputError(f'ann_file = {ann_file!r} of IncrementalCocoMetric: name a COCO file, or list several')
        self.with_masks = asked == METRICS_OF_BOTH
        self.files = {osp.realpath(path): _File.read(path, backend_args, self.with_masks) for path in paths}
        self.summary: dict[str, Any] | None = None

    headline = 'all'
    """The figure that ``save_best='auto'`` goes by."""

    def figure_names(self) -> list[str]:
        """What an evaluation reports at most, without the prefix; a class or group without a box is left out of it."""
        stage = Stage.from_metainfo(self.dataset_meta, 'metainfo of the evaluated dataset')
        for one, file in self._files_of(result['evaluated'] for result in self.results).items():
            self._truth(stage, one, file)
        figures = group_figures(stage, np.zeros(len(stage.classes)))
        measures = MEASURES | MASK_MEASURES if self.with_masks else MEASURES
        return list(reported(figures, {name: figures for name in measures if name != HEADLINE}))

    def check_images(self, samples: Iterable[Mapping]) -> None:
        """The evaluated images are those of the files.

        Args:
            samples: Of each image its ``img_id``, and what its dataset tells of the set it is of.

        Raises:
            InputError: names the file, and an image or how many images are in one of the two only.
        """
        ids_of = defaultdict(set)
        for sample in samples:
            ids_of[EvaluatedSet.of(sample)].add(sample['img_id'])
        self._check_images(ids_of)

    def _check_images(self, ids_of: Mapping[EvaluatedSet, Collection]) -> None:
        files = self._files_of(ids_of)
        pairs = [(file, ids_of[one]) for one, file in files.items()]
        pairs += [(file, ()) for file in self.files.values() if file not in files.values()]
        for file, evaluated in pairs:
            for img_id in evaluated:
                if img_id not in file.sizes:
                    raise InputError(f'{file.path} does not list the image {img_id!r}, which is evaluated: give '
                                     'the evaluator the ann_file of the evaluated dataset')
            if missing := len(file.sizes.keys() - set(evaluated)):
                raise InputError(f'{file.path} lists {len(file.sizes)} images, of which {missing} are not evaluated: '
                                 'give the evaluator the ann_file of the evaluated dataset, which has to keep every image '
                                 '(test_mode=True)')

    def _files_of(self, sets: Iterable[EvaluatedSet]) -> dict[EvaluatedSet, _File]:
        """The file of each set, the sets in their order."""
        sets = list(dict.fromkeys(sets))
        if len(self.files) == 1 and len({one.file for one in sets}) == 1:
            # The one set, whatever its dataset reads it from.
            return dict.fromkeys(sets, *self.files.values())
        files = {one: self.files.get(one.file and osp.realpath(one.file)) for one in sets}
        if absent := [str(one.file) for one, file in files.items() if file is None]:
            raise InputError(f'{absent[0]} is evaluated, but ann_file of IncrementalCocoMetric names '
                             f'{" and ".join(file.path for file in self.files.values())}: list the COCO files of all sets as '
                             'its ann_file, or use IncrementalVOCMetric where one of them is no COCO file')
        return files

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep the detections of a batch, in pixels of the original images.

        Args:
            data_batch: Not used.
            data_samples: ``img_id`` and ``pred_instances`` of each image, and what its dataset tells of the set it is of.
        """
        for sample in data_samples:
            found = sample['pred_instances']
            result = {'img_id': sample['img_id'], 'evaluated': EvaluatedSet.of(sample),
                      **{key: found[key].cpu().numpy() for key in ('bboxes', 'scores', 'labels')}}
            if self.with_masks:
                if 'masks' not in found:
                    raise InputError("metric = ['bbox', 'segm'] of IncrementalCocoMetric measures masks, and the detector "
                                     "predicts none: leave 'segm' out, or give the model a mask head")
                result['masks'] = encode_mask_results(found['masks'].cpu().numpy())
            self.results.append(result)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The figures of all sets."""
        stage = Stage.from_metainfo(self.dataset_meta, 'metainfo of the evaluated dataset')
        ids_of = defaultdict(set)
        for result in results:
            ids_of[result['evaluated']].add(result['img_id'])
        self._check_images(ids_of)
        files, num_classes = self._files_of(ids_of), len(stage.classes)
        truth_of = {one: self._truth(stage, one, file) for one, file in files.items()}
        sets = described({EvaluatedSet(one.file or file.path, one.annotated): (
            len(file.sizes), sum(not entry['iscrowd'] for entry in truth_of[one])) for one, file in files.items()}, stage)
        truth, found = [entry for entries in truth_of.values() for entry in entries], _detections(results)
        images = [(one, img_id) for one, file in files.items() for img_id in sorted(file.sizes, key=id_order)]
        aps = class_aps(truth, found, images, num_classes)
        of_boxes = figures = {name: group_figures(stage, values) for name, values in aps.items()}
        if self.with_masks:
            aps = class_aps(truth, found, images, num_classes, 'segm')
            of_masks = {name: group_figures(stage, aps[measure]) for name, measure in zip(MASK_MEASURES, MEASURES)}
            figures = of_boxes | of_masks
        others = {name: values for name, values in figures.items() if name != HEADLINE}
        boxes = _count((one for one in truth if not one['iscrowd']), num_classes)
        self.summary = {
            **figures[HEADLINE],
            **others,
            'classes': list(stage.classes),
            'split': list(stage.split),
            'eval_mode': '101points',
            'iou_thr': list(THRESHOLDS),
            'images': len(images),
            'boxes': sum(boxes),
            'sets': sets,
        }
        counts = {**set_column(sets, stage.classes), 'boxes': boxes, 'detections': _count(found, num_classes)}
        tables = figures_tables(stage, counts, of_boxes)
        if self.with_masks:
            tables = f'{tables}\nof masks\n{figures_tables(stage, {}, of_masks)}'
        print_log(f'AP at IoU {THRESHOLDS[0]:g} to {THRESHOLDS[-1]:g}, {len(images)} images, {sum(boxes)} boxes\n'
                  f'{set_lines(sets)}{tables}', logger='current')
        paths = ' and '.join(file.path for file in self.files.values())
        lacks = f'{paths} {"has" if len(self.files) == 1 else "have"} no box of it that is not ignored'
        for line in unmeasured(sets, dict(zip(stage.classes, boxes)), lacks):
            print_log(line, logger='current', level=logging.WARNING)
        return reported(figures[HEADLINE], others)

    def _truth(self, stage: Stage, evaluated: EvaluatedSet, file: _File) -> list[dict]:
        """The objects of the classes that are measured on a set, labels in the place of category ids."""
        label_of = {name: label for label, name in enumerate(stage.classes) if evaluated.measures(label)}
        if absent := [name for name in label_of if name not in file.names.values()]:
            raise InputError(f'{file.path} has no category {", ".join(map(repr, absent))}, which metainfo.classes '
                             f'names; its categories: {", ".join(map(repr, file.names.values()))}')
        return [
            _entry((evaluated, one['image_id']), label_of[file.names[one['category_id']]], one['bbox'], one.get('area'),
                   self._mask_of(one, file), iscrowd=int(is_ignored(one))) for one in file.annotations
            if file.names[one['category_id']] in label_of
        ]

    def _mask_of(self, annotation: Mapping, file: _File) -> dict | None:
        """The run lengths of an object's mask, in pycocotools' form; None where masks are not measured."""
        if not self.with_masks:
            return None
        size = file.sizes[annotation['image_id']]
        try:
            mask = read_mask(annotation.get('segmentation'), size)
        except InputError as error:
            raise InputError(f"{file.path}: the {file.names[annotation['category_id']]!r} at {annotation['bbox']} of "
                             f"image {annotation['image_id']!r} {error}, but metric = ['bbox', 'segm'] measures masks: correct "
                             "its segmentation, or leave 'segm' out") from None
        if isinstance(mask, list):
            return mask_utils.merge(mask_utils.frPyObjects(mask, *size))
        return mask_utils.frPyObjects(mask, *size) if isinstance(mask['counts'], list) else mask


def class_aps(truth: Sequence[dict], found: Sequence[dict], images: Sequence[tuple[EvaluatedSet, Any]], num_classes: int,
              iou_of: str = 'bbox') -> dict[str, np.ndarray]:
    """COCO's figures of each class.

    Args:
        truth: Objects in COCO's form, ``category_id`` being the label; with ``segmentation`` in run lengths for ``'segm'``.
        found: Detections in the same form, each with its ``score``.
        images: Set and id of all images, as ``image_id`` of objects and detections has them. One without objects and detections
            of a class, as those of a set that does not measure it, changes nothing about the class.
        num_classes: Number of classes C.
        iou_of: What has to overlap: ``'bbox'`` or ``'segm'``, boxes or masks.

    Returns:
        By name of :data:`MEASURES` the APs, (C,), in [0, 1], NaN where a class has no object of the area range.
    """
    # pycocotools sorts images by their ids.
    number_of = {image: number for number, image in enumerate(images)}
    evaluation = COCOeval(_index(truth, number_of, iou_of), _index(found, number_of, iou_of), iou_of)
    evaluation.params.imgIds = list(number_of.values())
    evaluation.params.catIds = list(range(num_classes))
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval['precision'][..., 0]  # thresholds, recalls, classes, areas; -1 without an object
    precision = np.where(precision < 0, np.nan, precision)
    return {name: precision[ious, :, :, area].mean(axis=(0, 1)) for name, (ious, area) in MEASURES.items()}


def _detections(results: Sequence[Mapping]) -> list[dict]:
    """Those that count: of classes that are measured on the image's set."""
    entries = []
    for result in results:
        corners = result['bboxes'].astype(float).reshape(-1, 4)
        boxes = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
        masks = result.get('masks', [None] * len(boxes))
        image = result['evaluated'], result['img_id']
        entries += [_entry(image, label, box, None, mask, score=score) for label, box, mask, score in
                    zip(result['labels'].tolist(), boxes, masks, result['scores'].tolist())
                    if result['evaluated'].measures(label)]
    return entries


def _entry(image_id: Any, label: int, bbox: Sequence[float], area: float | None = None, mask: dict | None = None,
           iscrowd: int = 0, **more: float) -> dict:
    """An object or a detection in COCO's form; its ``area`` is None where the box's or the mask's counts."""
    return dict(image_id=image_id, category_id=label, bbox=bbox, segmentation=mask, area=area, iscrowd=iscrowd, **more)


def _area(entry: Mapping, iou_of: str) -> float:
    if entry['area'] is not None:
        return entry['area']
    *_, width, height = entry['bbox']
    return float(mask_utils.area(entry['segmentation'])) if iou_of == 'segm' else width * height


def _index(entries: Sequence[dict], number_of: Mapping[int | str, int], iou_of: str) -> COCO:
    coco = COCO()
    # Ids from 1: pycocotools takes an object with the id 0 for one that nothing found. It asks for the size of an image whose
    # masks are polygons; these are run lengths.
    size = dict(height=None, width=None)
    coco.dataset = dict(images=[dict(id=number, **size) for number in number_of.values()], categories=[],
                        annotations=[dict(entry, id=number, image_id=number_of[entry['image_id']], area=_area(entry, iou_of))
                                     for number, entry in enumerate(entries, start=1)])
    coco.createIndex()
    return coco


def _count(entries: Iterable[Mapping], num_classes: int) -> list[int]:
    return np.bincount(np.array([entry['category_id'] for entry in entries], dtype=int), minlength=num_classes).tolist()
