"""One picture that shows what several detectors found in the same images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps

from ..class_colors import class_colors
from ..stage import Stage
from .sheet import Cell, Sheet

# Boxes of one image, (N, 4) as (x1, y1, x2, y2) in pixels, labels (N,), scores (N,) or None for ground truth.
Found = tuple[Sequence, Sequence, Sequence | None]

_GAP = 10
_MARGIN = 18
_TITLE = 40
_LEGEND_ROW = 26


def draw_comparison(images: Sequence[np.ndarray],
                    columns: Mapping[str, Sequence[Found]],
                    stage: Stage,
                    out_file: str,
                    score_thr: float = 0.5,
                    truth: str | None = 'ground truth',
                    cell_width: int = 400) -> None:
    """Draw a grid: a row for each image, a column for each detector, the class colours below by old and new.

    Old classes have cool colours, new ones warm ones; see :func:`~mmilmil.class_colors.class_colors`.

    Boxes of the ground truth that a detector did not find (no drawn detection of the class with an IoU of 0.5) are
    dashed in its column, the classes it never learnt included.

    Args:
        images: Pictures in RGB, (H, W, 3), uint8.
        columns: For each column title the boxes in every image: ``(boxes, labels, scores)`` with boxes (N, 4) as
            ``(x1, y1, x2, y2)`` in pixels of the image, labels (N,) in the stage's order, scores (N,) in [0, 1] or
            None.
        stage: Classes and groups.
        out_file: File to write; its ending is the format (png, pdf, ...).
        score_thr: Detections below it are not drawn.
        truth: Column that holds the ground truth; None or absent: nothing is dashed.
        cell_width: Width of each picture in the grid, in pixels.

    Raises:
        ValueError: no image or column, or a column without an entry for each image.
    """
    if not len(images) or not columns:
        raise ValueError('nothing to draw: give at least one image and one column')
    for title, found in columns.items():
        if len(found) != len(images):
            raise ValueError(f'column {title!r} has {len(found)} entries for {len(images)} images')
    colors = class_colors(stage.split)
    width = _MARGIN * 2 + len(columns) * (cell_width + _GAP) - _GAP
    # The legend's height, and so the sheet's, is known only when its words are measured.
    legend = list(_legend(Sheet(width, 1), stage, colors, dashed=truth in columns))
    heights = [round(cell_width * image.shape[0] / image.shape[1]) for image in images]
    bottom = _TITLE + sum(heights) + _GAP * len(images) + 14
    sheet = Sheet(width, bottom + _LEGEND_ROW * (1 + legend[-1].row) + 10)
    for index, (title, found) in enumerate(columns.items()):
        left = _MARGIN + index * (cell_width + _GAP)
        sheet.text(title, left + cell_width / 2, _TITLE / 2, size=17, weight='bold', ha='center')
        top = _TITLE
        for row, (image, height) in enumerate(zip(images, heights)):
            cell = Cell(sheet, left, top, cell_width, height, cell_width / image.shape[1])
            cell.picture(image)
            expected = columns[truth][row] if truth in columns and title != truth else None
            _draw_found(cell, found[row], expected, stage.classes, colors, score_thr)
            top += height + _GAP
    for entry in legend:
        entry.draw(sheet, bottom + _LEGEND_ROW * (entry.row + 0.5))
    sheet.save(out_file)


def _draw_found(cell: Cell, found: Found, expected: Found | None, classes: Sequence[str], colors: Sequence[str],
                score_thr: float) -> None:
    boxes, labels, scores = _arrays(found)
    if scores is not None:
        order = np.argsort(-scores, kind='stable')
        order = order[scores[order] >= score_thr]
        boxes, labels, scores = boxes[order], labels[order], scores[order]
    if expected is not None:
        for box, label in _missed(boxes, labels, expected):
            cell.box(box, colors[label], dashed=True)
    for box, label in zip(boxes, labels):
        cell.box(box, colors[label])
    # Labels last, over all boxes; the surest detection has the first choice of place.
    for index, (box, label) in enumerate(zip(boxes, labels)):
        text = classes[label] if scores is None else f'{classes[label]} {scores[index]:.2f}'
        cell.label(text, box, boxes, colors[label])


def _missed(boxes: np.ndarray, labels: np.ndarray, expected: Found) -> list[tuple[np.ndarray, int]]:
    true_boxes, true_labels, _ = _arrays(expected)
    hits = (bbox_overlaps(true_boxes, boxes) >= 0.5) & (true_labels[:, None] == labels[None])
    return [(true_boxes[index], true_labels[index]) for index in np.flatnonzero(~hits.any(axis=1))]


def _arrays(found: Found) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    boxes, labels, scores = found
    return (np.asarray(boxes, dtype=np.float32).reshape(-1, 4), np.asarray(labels, dtype=int).reshape(-1),
            None if scores is None else np.asarray(scores, dtype=float).reshape(-1))


@dataclass
class _Entry:
    """A piece of the legend: words, after a box where it has a colour."""

    text: str
    left: float
    row: int
    color: str | None = None
    dashed: bool = False

    def draw(self, sheet: Sheet, y: float) -> None:
        if self.color is None:
            sheet.text(self.text, self.left, y, size=13, weight='bold')
            return
        sheet.box(self.left, y - 7, self.left + 20, y + 7, self.color, dashed=self.dashed)
        sheet.text(self.text, self.left + 28, y, size=13)


def _legend(sheet: Sheet, stage: Stage, colors: Sequence[str], dashed: bool) -> Iterator[_Entry]:
    """A line for each group, broken where it is full; measured on ``sheet``, which stays empty."""
    row = 0
    label = 0
    last = len(stage.groups) - 1
    for index, group in enumerate(stage.groups):
        heading = 'classes' if last == 0 else 'new classes' if index == last else \
            'old classes' if last == 1 else f'old classes, group {index}'
        yield _Entry(heading, _MARGIN, row)
        left = start = _MARGIN + 20 + sheet.measure(heading, size=13, weight='bold')[0]
        for name in group:
            width = 28 + sheet.measure(name, size=13)[0] + 20
            if left + width > sheet.width and left > start:
                left, row = start, row + 1
            yield _Entry(name, left, row, colors[label])
            left, label = left + width, label + 1
        row += 1
    if dashed:
        yield _Entry('not found', _MARGIN, row, '#555555', dashed=True)
