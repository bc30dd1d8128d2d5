"""What a test detected, as a compact file: from it a report draws and counts without running the detector again."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from ..atomic_write import write_atomically
from ..errors import InputError
from ..registry import METRICS
from ..stage import Stage
from .average_precision import Image
from .evaluated_sets import EvaluatedSet
from .incremental_voc_metric import to_numpy

FORMAT = 1
"""Version of the file; docs/running.md lists its arrays."""
_ARRAYS = ('images', 'sizes', 'sets', 'set_of_image', 'measured', 'boxes', 'labels', 'ignored', 'boxes_of_image', 'detections',
           'detected_labels', 'detections_of_image')


@dataclass(frozen=True)
class Detections:
    """What is in a file of detections.

    Attributes:
        stage: Classes and groups that the labels are of.
        paths: Files of the N images, as the test read them.
        sizes: Their heights and widths in pixels, (N, 2).
        images: Their objects and detections.
        annotated: Whether the test's samples carried objects; without, ``images`` have none.
    """

    stage: Stage
    paths: tuple[str, ...]
    sizes: np.ndarray
    images: tuple[Image, ...]
    annotated: bool


@METRICS.register_module()
class DetectionsFile(BaseMetric):
    """Writes the detections of an evaluation, with its objects and the images' paths; reports no figure.

    Args:
        out_file: File to write, ending in ``.npz``; it is written whole.
        collect_device: Where results of several processes are gathered, ``'cpu'`` or ``'gpu'``.
        prefix: MMEngine warns of a metric without one.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, out_file: str, collect_device: str = 'cpu', prefix: str | None = 'detections') -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.out_file = Path(out_file)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep boxes and detections of a batch, in pixels of the image files."""
        for sample in data_samples:
            found, truth, ignored = (sample.get(name, {}) for name in ('pred_instances', 'gt_instances', 'ignored_instances'))
            kinds = [_boxes(truth), _boxes(ignored)]
            scored = np.column_stack([to_numpy(found['bboxes']).reshape(-1, 4), to_numpy(found['scores'])])
            self.results.append(dict(
                path=str(sample.get('img_path') or sample.get('img_id', '')), size=tuple(sample.get('ori_shape', (0, 0)))[:2],
                annotated='bboxes' in truth, evaluated=EvaluatedSet.of(sample),
                boxes=np.concatenate([boxes for boxes, _ in kinds]), labels=np.concatenate([labels for _, labels in kinds]),
                ignored=np.arange(2).repeat([len(labels) for _, labels in kinds]) > 0,
                detections=scored, detected_labels=to_numpy(found['labels'])))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the file."""
        stage = Stage.from_metainfo(self.dataset_meta, 'metainfo of the evaluated dataset')
        sets = list(dict.fromkeys(one['evaluated'] for one in results))
        content = dict(
            format=np.int64(FORMAT), classes=np.array(stage.classes), split=np.array(stage.split),
            annotated=np.array(all(one['annotated'] for one in results)),
            images=np.array([one['path'] for one in results], dtype=str),
            sizes=np.array([one['size'] for one in results], dtype=np.int32).reshape(-1, 2),
            sets=np.array([one.file or '' for one in sets], dtype=str),
            set_of_image=np.array([sets.index(one['evaluated']) for one in results], dtype=np.int32),
            measured=np.array([[one.measures(label) for label in range(len(stage.classes))] for one in sets], dtype=bool),
            boxes=_joined(results, 'boxes', np.float32, 4), labels=_joined(results, 'labels', np.int16),
            ignored=_joined(results, 'ignored', bool),
            boxes_of_image=np.array([len(one['labels']) for one in results], dtype=np.int32),
            detections=_joined(results, 'detections', np.float32, 5),
            detected_labels=_joined(results, 'detected_labels', np.int16),
            detections_of_image=np.array([len(one['detected_labels']) for one in results], dtype=np.int32))
        with io.BytesIO() as buffer:
            np.savez_compressed(buffer, **content)
            write_atomically(buffer.getvalue(), self.out_file)
        return {}


def read_detections(path: Path) -> Detections:
    """The content of a file of :class:`DetectionsFile`.

    Raises:
        InputError: it is missing, damaged, or of another version.
    """
    remedy = 'test again to write it anew'
    try:
        with np.load(path, allow_pickle=False) as file:
            version = int(file['format'])
            if version != FORMAT:
                raise InputError(f'{path} has the format {version}, of another version of mmilmil (this one reads {FORMAT}): '
                                 f'{remedy}')
            stage = Stage.from_metainfo(
                dict(classes=file['classes'].tolist(), split=tuple(file['split'].tolist())), f'{path}: metainfo')
            annotated = bool(file['annotated'])
            arrays = {name: file[name] for name in _ARRAYS}
        images = _images(arrays)
    except FileNotFoundError:
        raise InputError(f'{path} does not exist: {remedy}') from None
    except InputError:
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f'{path} is no file of detections ({type(error).__name__}: {error}): {remedy}') from error
    return Detections(stage, tuple(arrays['images'].tolist()), arrays['sizes'], images, annotated)


def _images(arrays: Mapping[str, np.ndarray]) -> tuple[Image, ...]:
    sets = [EvaluatedSet(name or None, None if measured.all() else frozenset(np.flatnonzero(measured).tolist()))
            for name, measured in zip(arrays['sets'].tolist(), arrays['measured'])]
    of_boxes, of_detections = (np.cumsum(arrays[name])[:-1] for name in ('boxes_of_image', 'detections_of_image'))
    parts = [np.split(arrays[name], ends) for name, ends in (
        ('boxes', of_boxes), ('labels', of_boxes), ('ignored', of_boxes), ('detections', of_detections),
        ('detected_labels', of_detections))]
    return tuple(
        Image(boxes[~ignored], labels[~ignored].astype(int), boxes[ignored], labels[ignored].astype(int), detections,
              detected.astype(int), sets[number])
        for number, boxes, labels, ignored, detections, detected in zip(arrays['set_of_image'].tolist(), *parts))


def _boxes(instances: Mapping) -> tuple[np.ndarray, np.ndarray]:
    if 'bboxes' not in instances:
        return np.zeros((0, 4)), np.zeros(0, int)
    return to_numpy(instances['bboxes']).reshape(-1, 4), to_numpy(instances['labels'])


def _joined(results: Sequence[Mapping], name: str, kind: type, columns: int | None = None) -> np.ndarray:
    empty = np.zeros((0, columns) if columns else 0, dtype=kind)
    return np.concatenate([empty, *(one[name].astype(kind) for one in results)])
