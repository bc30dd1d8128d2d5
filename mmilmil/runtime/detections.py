"""What was found in an image, and its plain form for a JSON file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Detections:
    """What was found in an image, the surest first.

    Attributes:
        boxes: (N, 4), float32: x1, y1, x2, y2 in pixels of the image, turned by its EXIF orientation.
        scores: (N,), float32.
        labels: (N,), int64: places in the list of classes.
        names: Names of the classes.
        groups: Of each, the class group that its class belongs to: 0 the first that was learnt.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    groups: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, classes: Sequence[str], split: Sequence[int],
           score_thr: float = 0.) -> 'Detections':
        """With names and groups, and without those of a lower score than ``score_thr``.

        Args:
            boxes, scores, labels: See above, in any order.
            classes: All names.
            split: Number of classes of each group.
            score_thr: In [0, 1].
        """
        order = np.argsort(-scores, kind='stable')
        order = order[scores[order] >= score_thr]
        labels = labels[order].astype(np.int64)
        group_of = np.repeat(np.arange(len(split)), split)
        return cls(boxes[order].astype(np.float32).reshape(-1, 4), scores[order].astype(np.float32), labels,
                   tuple(classes[label] for label in labels), tuple(group_of[labels].tolist()))


def plain(detections: Detections) -> list[dict[str, Any]]:
    """As lists and numbers: of each detection ``box``, ``score``, ``label``, ``name`` and ``group``."""
    return [dict(box=[round(value, 2) for value in box], score=round(score, 4), label=label, name=name, group=group)
            for box, score, label, name, group in zip(
                detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), detections.names,
                detections.groups)]


def document(model: str, classes: Sequence[str], split: Sequence[int], score_thr: float,
             images: Sequence[Mapping]) -> dict[str, Any]:
    """What stands in a file of detections.

    Args:
        model: What detected.
        classes: Names in the order of the labels.
        split: Number of classes of each group.
        score_thr: Detections of lower scores were left out.
        images: Of each image or frame its ``file`` or ``frame``, ``width``, ``height``, and ``detections``, or ``error``.
    """
    return dict(model=model, classes=list(classes), split=list(split), score_thr=score_thr, images=list(images))
