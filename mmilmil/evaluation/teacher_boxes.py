"""How right a teacher's boxes are on the images of the student's stage, where its old classes are not annotated."""

from dataclasses import dataclass, field

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.evaluation.functional.mean_ap import tpfp_default

SCORE_BANDS = (0.5, 0.8)
"""Lower bounds of the bands of scores that are counted apart."""
IOU_BANDS = (0.0, 0.3, 0.5, 0.7)
"""Lower bounds of the bands of the highest IoU with an annotated box."""


def match(detections: np.ndarray, labels: np.ndarray, boxes: np.ndarray, box_labels: np.ndarray,
          iou_thr: float = 0.5) -> np.ndarray:
    """Which detections find an object, each object once, the highest score first: MMDetection's ``tpfp_default``.

    Args:
        detections: Boxes and scores, (D, 5), in pixels.
        labels: Their labels, (D,).
        boxes: Objects, (G, 4), in pixels.
        box_labels: Their labels, (G,).
        iou_thr: IoU from which a detection of the same class finds an object.

    Returns:
        (D,), bool.
    """
    right = np.zeros(len(detections), dtype=bool)
    for label in np.unique(labels):
        mine = labels == label
        tp, _ = tpfp_default(detections[mine], boxes[box_labels == label], np.zeros((0, 4)), iou_thr)
        right[mine] = tp[0] > 0
    return right


@dataclass
class TeacherBoxes:
    """Counts over images; :meth:`add` each, then read.

    Attributes:
        right: Detections that find an old object, by band of the IoU with annotated boxes and band of the score.
        wrong: The others, alike.
        objects: Old objects that the stage's annotation hides.
        found: Those that a detection finds.
    """

    right: np.ndarray = field(default_factory=lambda: np.zeros((len(IOU_BANDS), len(SCORE_BANDS)), dtype=int))
    wrong: np.ndarray = field(default_factory=lambda: np.zeros((len(IOU_BANDS), len(SCORE_BANDS)), dtype=int))
    objects: int = 0
    found: int = 0

    def add(self, detections: np.ndarray, labels: np.ndarray, hidden: np.ndarray, hidden_labels: np.ndarray,
            annotated: np.ndarray) -> None:
        """Count one image.

        Args:
            detections: The teacher's, boxes and scores, (D, 5), in pixels; scores below the first band are left out.
            labels: Their labels, (D,).
            hidden: Old objects, (G, 4), in the same pixels.
            hidden_labels: Their labels, (G,).
            annotated: Boxes of the stage's own classes, (A, 4).
        """
        shown = detections[:, 4] > SCORE_BANDS[0]
        detections, labels = detections[shown], labels[shown]
        right = match(detections, labels, hidden, hidden_labels)
        self.objects += len(hidden)
        self.found += int(right.sum())
        overlaps = bbox_overlaps(detections[:, :4], annotated).max(axis=1) if len(annotated) else np.zeros(len(labels))
        # A bound belongs to the band above it, as merging keeps what is below its threshold.
        rows = np.searchsorted(IOU_BANDS, overlaps, side='right') - 1
        columns = np.searchsorted(SCORE_BANDS, detections[:, 4], side='left') - 1
        np.add.at(self.right, (rows[right], columns[right]), 1)
        np.add.at(self.wrong, (rows[~right], columns[~right]), 1)

    def table(self) -> str:
        """Right and wrong boxes by band, in Markdown."""
        bounds = [*zip(SCORE_BANDS, [*SCORE_BANDS[1:], 1.0])]
        names = [f'{kind}, score {low}-{high}' for low, high in bounds for kind in ('right', 'wrong')]
        lines = ['| IoU with an annotated box | ' + ' | '.join(names) + ' |', '|---' + '|--:' * len(names) + '|']
        for row, (low, high) in enumerate(zip(IOU_BANDS, [*IOU_BANDS[1:], 1.0])):
            counts = [table[row, column] for column in range(len(SCORE_BANDS)) for table in (self.right, self.wrong)]
            lines.append(f'| {low}-{high} | ' + ' | '.join(map(str, counts)) + ' |')
        return '\n'.join(lines)
