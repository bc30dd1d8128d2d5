"""How many objects the proposals of a two-stage detector find, by class."""

from dataclasses import dataclass

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps


@dataclass
class ProposalRecall:
    """Counts over images; :meth:`add` each, then read.

    Args:
        num_classes: Number of classes C.
        iou_thr: IoU with any proposal from which an object is found.

    Attributes:
        objects: Objects by class, (C,); ignored ones are not given.
        found: Those that a proposal finds, (C,).
    """

    num_classes: int
    iou_thr: float = 0.5

    def __post_init__(self) -> None:
        self.objects, self.found = np.zeros((2, self.num_classes), dtype=int)

    def add(self, proposals: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> None:
        """Count one image.

        Args:
            proposals: (P, 4), in the same pixels as the objects.
            boxes: Objects, (G, 4).
            labels: Their labels, (G,).
        """
        highest = bbox_overlaps(boxes, proposals).max(axis=1, initial=0)
        np.add.at(self.objects, labels, 1)
        np.add.at(self.found, labels[highest >= self.iou_thr], 1)

    def of(self, labels: slice) -> dict[str, int | float | None]:
        """``objects``, ``found`` and ``recall`` (None without an object) of some classes."""
        objects, found = int(self.objects[labels].sum()), int(self.found[labels].sum())
        return dict(objects=objects, found=found, recall=found / objects if objects else None)
