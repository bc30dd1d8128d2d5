"""How right a teacher's boxes are on the images of the student's stage, where its old classes are not annotated."""

from dataclasses import dataclass, field

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.evaluation.functional.mean_ap import tpfp_default

from ..models.merging import IGNORED_IOF
from ..table_layout import markdown_table

SCORE_BANDS = (0.5, 0.8)
"""Lower bounds of the bands of scores that are counted apart."""
IOU_BANDS = (0.0, 0.3, 0.5, 0.7)
"""Lower bounds of the bands of the highest IoU with an annotated box."""


def match(detections: np.ndarray,
          labels: np.ndarray,
          boxes: np.ndarray,
          box_labels: np.ndarray,
          ignored: np.ndarray | None = None,
          iou_thr: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Which detections find an object, each object once, the highest score first: MMDetection's ``tpfp_default``.

    Args:
        detections: Boxes and scores, (D, 5), in pixels.
        labels: Their labels, (D,).
        boxes: Objects, (G, 4), in pixels.
        box_labels: Their labels, (G,).
        ignored: Which of them are difficult or crowds, (G,), bool; by default none.
        iou_thr: IoU from which a detection of the same class finds an object.

    Returns:
        Which detections are right and which wrong, (D,) each, bool; one that finds an ignored object is neither.
    """
    ignored = np.zeros(len(boxes), dtype=bool) if ignored is None else ignored
    right, wrong = np.zeros((2, len(detections)), dtype=bool)
    for label in np.unique(labels):
        mine, theirs = labels == label, box_labels == label
        tp, fp = tpfp_default(detections[mine], boxes[theirs & ~ignored], boxes[theirs & ignored], iou_thr)
        right[mine], wrong[mine] = tp[0] > 0, fp[0] > 0
    return right, wrong


@dataclass
class TeacherBoxes:
    """Counts over images; :meth:`add` each, then read.

    A detection that merging never takes, because at least half of it lies in an ignored box of a new class, is in none of the
    bands. One that finds an ignored old object is neither right nor wrong, as in a test.

    Attributes:
        right: Detections that find an old object, by band of the IoU with annotated boxes and band of the score.
        wrong: The others, alike.
        objects: Old objects that the stage's annotation hides, ignored ones left out.
        found: Those that a detection finds.
        on_ignored: Detections with at least half of their area in an ignored box of a new class.
    """

    right: np.ndarray = field(default_factory=lambda: np.zeros((len(IOU_BANDS), len(SCORE_BANDS)), dtype=int))
    wrong: np.ndarray = field(default_factory=lambda: np.zeros((len(IOU_BANDS), len(SCORE_BANDS)), dtype=int))
    objects: int = 0
    found: int = 0
    on_ignored: int = 0

    def add(self, detections: np.ndarray, labels: np.ndarray, boxes: np.ndarray, box_labels: np.ndarray, ignored: np.ndarray,
            num_old: int) -> None:
        """Count one image.

        Args:
            detections: The teacher's, boxes and scores, (D, 5), in pixels; scores below the first band are left out.
            labels: Their labels, (D,).
            boxes: Objects of all classes seen so far, (G, 4), in the same pixels.
            box_labels: Their labels, (G,).
            ignored: Which of them are difficult or crowds, (G,), bool.
            num_old: Number of old classes, whose labels come first; the stage's annotation names the others only.
        """
        shown = detections[:, 4] > SCORE_BANDS[0]
        detections, labels = detections[shown], labels[shown]
        old = box_labels < num_old
        right, wrong = match(detections, labels, boxes[old], box_labels[old], ignored[old])
        self.objects += int((old & ~ignored).sum())
        self.found += int(right.sum())
        on_ignored = _highest(detections, boxes[~old & ignored], 'iof') >= IGNORED_IOF
        self.on_ignored += int(on_ignored.sum())
        # A bound belongs to the band above it, as merging keeps what is below its threshold.
        rows = np.searchsorted(IOU_BANDS, _highest(detections, boxes[~old], 'iou'), side='right') - 1
        columns = np.searchsorted(SCORE_BANDS, detections[:, 4], side='left') - 1
        for table, mine in ((self.right, right & ~on_ignored), (self.wrong, wrong & ~on_ignored)):
            np.add.at(table, (rows[mine], columns[mine]), 1)

    def table(self) -> str:
        """Right and wrong boxes by band, in Markdown."""
        bounds = [*zip(SCORE_BANDS, [*SCORE_BANDS[1:], 1.0])]
        names = [f'{kind}, score {low}-{high}' for low, high in bounds for kind in ('right', 'wrong')]
        rows = [['IoU with an annotated box', *names]]
        for row, (low, high) in enumerate(zip(IOU_BANDS, [*IOU_BANDS[1:], 1.0])):
            counts = [table[row, column] for column in range(len(SCORE_BANDS)) for table in (self.right, self.wrong)]
            rows.append([f'{low}-{high}', *counts])
        return markdown_table(rows)


def _highest(detections: np.ndarray, boxes: np.ndarray, mode: str) -> np.ndarray:
    """Highest overlap of each detection with a box, (D,); 0 where there is none."""
    return bbox_overlaps(detections[:, :4], boxes, mode).max(axis=1, initial=0)
