"""Which class is taken for which: a confusion matrix of all classes, ordered old, new, background."""

from dataclasses import dataclass

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps

from .average_precision import Image

BLOCKS = ('old right', 'old taken for another old', 'old taken for new', 'old missed', 'new right', 'new taken for another new',
          'new taken for old', 'new missed', 'background taken for old', 'background taken for new', 'new on top of old',
          'old on top of new')


@dataclass
class Confusion:
    """Counts over images; :meth:`add` each, then read.

    Detections of one image with a score of at least ``score_thr``, the highest first, each take the object of highest IoU, 0.5
    or more, that none has taken yet, whatever its class. An object counts once: in the column of the class that took it, or as
    missed. A detection with such an IoU with objects that are taken only is *on top* of the one of highest IoU; one without
    any is taken for background, but for those on ignored objects (IoU 0.5 or more), which count nowhere.

    Args:
        num_classes: Number of classes C.
        num_old: How many of them, the first ones, are old.
        score_thr: Detections of lower scores are left out.

    Attributes:
        matrix: (C + 1, C + 1): rows are what is there, columns what it was taken for; the last row is background, the last
            column missed.
        on_top: (C, C): detections by their class (column) on objects (row) that another one had taken.
    """

    num_classes: int
    num_old: int
    score_thr: float = 0.3
    iou_thr: float = 0.5

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.num_classes + 1, self.num_classes + 1), dtype=int)
        self.on_top = np.zeros((self.num_classes, self.num_classes), dtype=int)

    def add(self, image: Image) -> None:
        """Count one image; classes that its set does not measure are left out."""
        measured = [image.evaluated.measures(label) for label in image.detected_labels.tolist()]
        chosen = np.array(measured, dtype=bool) & (image.detections[:, 4] >= self.score_thr)
        detections, labels = image.detections[chosen], image.detected_labels[chosen]
        overlaps = bbox_overlaps(detections[:, :4], image.boxes, use_legacy_coordinate=True)
        on_ignored = bbox_overlaps(detections[:, :4], image.ignored_boxes, use_legacy_coordinate=True).max(axis=1, initial=0)
        taken = np.full(len(image.boxes), self.num_classes)
        for index in np.argsort(-detections[:, 4], kind='stable'):
            over = overlaps[index] >= self.iou_thr
            free = over & (taken == self.num_classes)
            if free.any():
                taken[np.where(free, overlaps[index], -1).argmax()] = labels[index]
            elif over.any():
                self.on_top[image.labels[overlaps[index].argmax()], labels[index]] += 1
            elif on_ignored[index] < self.iou_thr:
                self.matrix[self.num_classes, labels[index]] += 1
        np.add.at(self.matrix, (image.labels, taken), 1)

    def blocks(self) -> dict[str, int]:
        """Sums of the matrix's blocks, by name of :data:`BLOCKS`."""
        classes, old = self.num_classes, self.num_old
        of_old, of_new = self.matrix[:old, :old], self.matrix[old:classes, old:classes]
        sums = (np.trace(of_old), of_old.sum() - np.trace(of_old), self.matrix[:old, old:classes].sum(),
                self.matrix[:old, classes].sum(), np.trace(of_new), of_new.sum() - np.trace(of_new),
                self.matrix[old:classes, :old].sum(), self.matrix[old:classes, classes].sum(), self.matrix[classes, :old].sum(),
                self.matrix[classes, old:classes].sum(), self.on_top[:old, old:].sum(), self.on_top[old:, :old].sum())
        return {name: int(value) for name, value in zip(BLOCKS, sums, strict=True)}
