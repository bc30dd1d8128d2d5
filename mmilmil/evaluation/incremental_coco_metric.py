"""COCO's average precision, told apart by class group."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
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
MAX_DETECTIONS = 100
"""Detections of a class in an image that count, those of the highest scores."""


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

    Reports the means ``old``, ``new``, ``all``, ``avg`` (= (old + new) / 2), ``group0``, ``group1``, ... of AP over the
    IoU thresholds .5 to .95 and ``AP/<class>``; the means of the other figures as ``AP50_old``, ... (``AP75``, ``APs``,
    ``APm``, ``APl``). With masks the same means of ``segm_mAP``, ``segm_mAP_50``, ``segm_mAP_75``, ``segm_mAP_s``,
    ``segm_mAP_m`` and ``segm_mAP_l``, as ``segm_mAP_old``, ... All in [0, 1]. What is undefined is not reported.

    Args:
        ann_file: The JSON file of the evaluated dataset, which has to list the same images; not relative to a data root.
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
            ``images``, ``boxes`` (ignored ones left out).
    """

    def __init__(self,
                 ann_file: str,
                 metric: str | Sequence[str] = 'bbox',
                 backend_args: dict | None = None,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        asked = (metric, ) if isinstance(metric, str) else tuple(metric)
        if asked not in (METRICS_OF_BOXES, METRICS_OF_BOTH):
            raise InputError(f"metric = {metric!r} of IncrementalCocoMetric: use 'bbox' or ['bbox', 'segm']")
        content = read_coco(ann_file, backend_args)
        self.ann_file = ann_file
        self.with_masks = asked == METRICS_OF_BOTH
        self.sizes = {image['id']: (image['height'], image['width']) for image in content.images}
        self.name_of = content.names
        # Without masks, most of the file, where they are not measured.
        left_out = () if self.with_masks else ('segmentation', )
        self.annotations = [{key: value for key, value in annotation.items() if key not in left_out}
                            for annotations in content.annotations.values() for annotation in annotations]
        self.summary: dict[str, Any] | None = None

    headline = 'all'
    """The figure that ``save_best='auto'`` goes by."""

    def figure_names(self) -> list[str]:
        """What an evaluation reports at most, without the prefix; a class or group without a box is left out of it."""
        stage = Stage.from_metainfo(self.dataset_meta, 'metainfo of the evaluated dataset')
        self._truth(stage)
        figures = group_figures(stage, np.zeros(len(stage.classes)))
        measures = MEASURES | MASK_MEASURES if self.with_masks else MEASURES
        return list(reported(figures, {name: figures for name in measures if name != HEADLINE}))

    def check_images(self, evaluated: Collection) -> None:
        """The evaluated images are those of the file.

        Args:
            evaluated: Ids of the images.

        Raises:
            InputError: names the file, and an image or how many images are in one of the two only.
        """
        for img_id in evaluated:
            self._check_listed(img_id)
        if missing := len(self.sizes.keys() - set(evaluated)):
            raise InputError(f'{self.ann_file} lists {len(self.sizes)} images, of which {missing} are not evaluated: '
                             'give the evaluator the ann_file of the evaluated dataset, which has to keep every image '
                             '(test_mode=True)')

    def _check_listed(self, img_id: Any) -> None:
        if img_id not in self.sizes:
            raise InputError(f'{self.ann_file} does not list the image {img_id!r}, which is evaluated: give '
                             'the evaluator the ann_file of the evaluated dataset')

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep the detections of a batch, in pixels of the original images.

        Args:
            data_batch: Not used.
            data_samples: ``img_id`` and ``pred_instances`` of each image.
        """
        for sample in data_samples:
            self._check_listed(sample['img_id'])
            found = sample['pred_instances']
            result = {'img_id': sample['img_id'], **{key: found[key].cpu().numpy() for key in ('bboxes', 'scores', 'labels')}}
            if self.with_masks:
                if 'masks' not in found:
                    raise InputError("metric = ['bbox', 'segm'] of IncrementalCocoMetric measures masks, and the detector "
                                     "predicts none: leave 'segm' out, or give the model a mask head")
                result['masks'] = encode_mask_results(found['masks'].cpu().numpy())
            self.results.append(result)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The figures of a whole split."""
        stage = Stage.from_metainfo(self.dataset_meta, 'metainfo of the evaluated dataset')
        self.check_images({result['img_id'] for result in results})
        truth, found, num_classes = self._truth(stage), _detections(results), len(stage.classes)
        aps, thresholds = class_aps(truth, found, self.sizes, num_classes)
        of_boxes = figures = {name: group_figures(stage, values) for name, values in aps.items()}
        if self.with_masks:
            aps, _ = class_aps(truth, found, self.sizes, num_classes, 'segm')
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
            'iou_thr': thresholds,
            'images': len(self.sizes),
            'boxes': sum(boxes),
        }
        tables = figures_tables(stage, {'boxes': boxes, 'detections': _count(found, num_classes)}, of_boxes)
        if self.with_masks:
            tables = f'{tables}\nof masks\n{figures_tables(stage, {}, of_masks)}'
        print_log(f'AP at IoU {thresholds[0]:g} to {thresholds[-1]:g}, {len(self.sizes)} images, {sum(boxes)} boxes\n'
                  f'{tables}', logger='current')
        if without := [name for name, count in zip(stage.classes, boxes) if not count]:
            print_log(f'no AP for {", ".join(without)}: {self.ann_file} has no box of it that is not ignored; left out of '
                      'all means', logger='current', level=logging.WARNING)
        return reported(figures[HEADLINE], others)

    def _truth(self, stage: Stage) -> list[dict]:
        """The objects of the seen classes, labels in the place of category ids."""
        if absent := [name for name in stage.classes if name not in self.name_of.values()]:
            raise InputError(f'{self.ann_file} has no category {", ".join(map(repr, absent))}, which metainfo.classes '
                             f'names; its categories: {", ".join(map(repr, self.name_of.values()))}')
        label_of = {name: label for label, name in enumerate(stage.classes)}
        return [
            _entry(one['image_id'], label_of[self.name_of[one['category_id']]], one['bbox'], one.get('area'),
                   self._mask_of(one), iscrowd=int(is_ignored(one))) for one in self.annotations
            if self.name_of[one['category_id']] in label_of
        ]

    def _mask_of(self, annotation: Mapping) -> dict | None:
        """The run lengths of an object's mask, in pycocotools' form; None where masks are not measured."""
        if not self.with_masks:
            return None
        size = self.sizes[annotation['image_id']]
        try:
            mask = read_mask(annotation.get('segmentation'), size)
        except InputError as error:
            raise InputError(f"{self.ann_file}: the {self.name_of[annotation['category_id']]!r} at {annotation['bbox']} of "
                             f"image {annotation['image_id']!r} {error}, but metric = ['bbox', 'segm'] measures masks: correct "
                             "its segmentation, or leave 'segm' out") from None
        if isinstance(mask, list):
            return mask_utils.merge(mask_utils.frPyObjects(mask, *size))
        return mask_utils.frPyObjects(mask, *size) if isinstance(mask['counts'], list) else mask


def class_aps(truth: Sequence[dict], found: Sequence[dict], image_ids: Collection, num_classes: int,
              iou_of: str = 'bbox') -> tuple[dict[str, np.ndarray], list[float]]:
    """COCO's figures of each class.

    Args:
        truth: Objects in COCO's form, ``category_id`` being the label; with ``segmentation`` in run lengths for ``'segm'``.
        found: Detections in the same form, each with its ``score``.
        image_ids: Ids of all images of the split.
        num_classes: Number of classes C.
        iou_of: What has to overlap: ``'bbox'`` or ``'segm'``, boxes or masks.

    Returns:
        By name of :data:`MEASURES` the APs, (C,), in [0, 1], NaN where a class has no object of the area range; and the
        IoU thresholds.
    """
    # pycocotools cannot sort numbers among texts.
    number_of = {image_id: number for number, image_id in enumerate(sorted(image_ids, key=id_order))}
    evaluation = COCOeval(_index(truth, number_of, iou_of), _index(found, number_of, iou_of), iou_of)
    evaluation.params.imgIds = list(number_of.values())
    evaluation.params.catIds = list(range(num_classes))
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval['precision'][..., 0]  # thresholds, recalls, classes, areas; -1 without an object
    precision = np.where(precision < 0, np.nan, precision)
    aps = {name: precision[ious, :, :, area].mean(axis=(0, 1)) for name, (ious, area) in MEASURES.items()}
    return aps, [round(float(threshold), 2) for threshold in evaluation.params.iouThrs]


def _detections(results: Sequence[Mapping]) -> list[dict]:
    entries = []
    for result in results:
        corners = result['bboxes'].astype(float).reshape(-1, 4)
        boxes = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
        masks = result.get('masks', [None] * len(boxes))
        entries += [_entry(result['img_id'], label, box, None, mask, score=score) for label, box, mask, score in
                    zip(result['labels'].tolist(), boxes, masks, result['scores'].tolist())]
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
