"""A teacher's boxes, found once and kept, so that a training step need not look for them (protocol 8)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmdet.structures.bbox import bbox_project
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import InputError

BUILD = '`python tools/cache_teacher_boxes.py` and the config'


@dataclass
class TeacherBoxCache:
    """The teacher's detections by image id, in pixels of the image file.

    The file has one JSON object a line: first ``teacher`` (hash of its weights), ``classes`` and ``score_thr``, then an image
    a line: ``img_id``, ``bboxes``, ``labels``, ``scores``. So it grows line by line, and a build that was stopped is resumed.

    Attributes:
        path: The file.
        teacher: Hash of the teacher's weights (:func:`weights_hash`).
        score_thr: Detections of a lower score were left out.
        images: By image id, a tensor (D, 6): box, label and score of each detection.
    """

    path: Path
    teacher: str
    score_thr: float
    images: dict = field(default_factory=dict)

    def __deepcopy__(self, memo: dict) -> 'TeacherBoxCache':
        # Never changed by training, so copies of the student, such as an EMA's, share it.
        return self

    @classmethod
    def load(cls, path: str) -> 'TeacherBoxCache':
        """Read a file as far as it is whole: a last line that was cut off is left out.

        Raises:
            InputError: the file is missing or no cache.
        """
        path = Path(path)
        try:
            lines = path.read_text(encoding='utf-8').split('\n')[:-1]
            head, *images = (json.loads(line) for line in lines)
            cache = cls(path, head['teacher'], head['score_thr'])
            for image in images:
                cache.images[image['img_id']] = _table(image['bboxes'], image['labels'], image['scores'])
        except FileNotFoundError:
            raise InputError(f'no cache of teacher boxes {path}: build it with {BUILD}') from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{path} is no cache of teacher boxes ({type(error).__name__}: {error}): remove it and build it '
                             f'with {BUILD}') from None
        return cache

    def check_teacher(self, fingerprint: str, checkpoint: str) -> None:
        """The boxes are those of the teacher with these weights.

        Args:
            fingerprint: Hash of the teacher's weights.
            checkpoint: Its file, for the message.
        """
        if self.teacher != fingerprint:
            raise InputError(f'{self.path} holds the boxes of another teacher ({self.teacher[:12]}) than {checkpoint} '
                             f'({fingerprint[:12]}): build a cache for this one with {BUILD}, under another name (--out)')

    def check_images(self, img_ids: Iterable) -> None:
        """Every image of a training set is in the cache.

        Args:
            img_ids: The set's.
        """
        absent = [img_id for img_id in img_ids if img_id not in self.images]
        if absent:
            raise InputError(f'{self.path} has no entry for {len(absent)} training images ({absent[0]!r} is the first): its '
                             f'building was stopped, or it is of another stage; build it with {BUILD}')

    def look_up(self, metas: Sequence[Mapping], like: Tensor) -> list[InstanceData]:
        """The boxes of a batch, moved as the images were.

        Args:
            metas: By image, ``img_id``, ``img_shape`` and ``homography_matrix``, of a pipeline that keeps it
                (:func:`mmilmil.datasets.moves.check_moves`).
            like: Tensor whose device and type the boxes get.

        Returns:
            By image, ``bboxes`` (D, 4) in pixels of the input, clipped to the image, ``labels`` (D,), ``scores`` (D,).
        """
        found = []
        for meta in metas:
            if 'homography_matrix' not in meta:
                raise InputError('the images do not tell how they were moved, so cached teacher boxes cannot follow: add '
                                 "'homography_matrix' to the meta_keys of PackDetInputs in the training pipeline, and 'img_id' "
                                 "and 'img_shape' too, or leave model.teacher_boxes out")
            self.check_images([meta['img_id']])
            table = self.images[meta['img_id']].to(like.device)
            matrix = torch.as_tensor(meta['homography_matrix'], dtype=table.dtype, device=table.device)
            boxes = bbox_project(table[:, :4], matrix, meta['img_shape'])
            inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
            found.append(InstanceData(
                bboxes=boxes[inside].to(like), labels=table[inside, 4].long(), scores=table[inside, 5].to(like)))
        return found


def _table(bboxes: list, labels: list, scores: list) -> Tensor:
    rows = [[*box, label, score] for box, label, score in zip(bboxes, labels, scores)]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)


def head_line(fingerprint: str, classes: Sequence[str], score_thr: float) -> str:
    """The first line of a cache's file."""
    return json.dumps(dict(teacher=fingerprint, classes=list(classes), score_thr=score_thr)) + '\n'


def image_line(img_id, found: InstanceData) -> str:
    """The line of an image.

    Args:
        img_id: The image's id in its dataset.
        found: ``bboxes`` (D, 4) in pixels of the image file, ``labels`` (D,), ``scores`` (D,).
    """
    bboxes = [[round(value, 2) for value in box] for box in found.bboxes.tolist()]
    scores = [round(score, 4) for score in found.scores.tolist()]
    return json.dumps(dict(img_id=img_id, bboxes=bboxes, labels=found.labels.tolist(), scores=scores)) + '\n'
