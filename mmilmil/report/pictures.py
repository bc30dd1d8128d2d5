"""An image of a test with boxes over it: the photograph once, as JPEG, and boxes and words as SVG that stay sharp."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import mmcv
import numpy as np

from ..evaluation.average_precision import Image
from ..evaluation.matching import match_objects
from ..stage import Stage

_LONG_SIDE, _QUALITY = 560, 78


@dataclass(frozen=True)
class Photo:
    """An image file as a page holds it.

    Attributes:
        data: URI with the JPEG.
        width, height: Of the image file in pixels, in which boxes are told.
    """

    data: str
    width: int
    height: int


def photo(path: str) -> Photo | None:
    """The image at a path, scaled down to what a page needs; ``None`` where it cannot be read."""
    if not Path(path).is_file():
        return None
    try:
        pixels = mmcv.imread(path)  # as the test read it, with the turn that a camera notes
    except (OSError, cv2.error):
        return None
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    scale = min(1, _LONG_SIDE / max(height, width))
    small = cv2.resize(pixels, (max(1, round(scale * width)), max(1, round(scale * height))), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Photo(f'data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}', width, height)


@dataclass(frozen=True)
class Mark:
    """A box to draw, in pixels of the image file.

    Attributes:
        kind: ``old`` or ``new``: what is there, or found; ``wrong``; ``missed-old`` or ``missed-new``; ``ignored``.
        x, y, width, height: The box.
        text: What is written at it.
        text_x, text_y: Where: the text's left end and its baseline.
        size: Height of the letters.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float
    text: str
    text_x: float
    text_y: float
    size: float


def truth_marks(image: Image, stage: Stage, size: tuple[int, int]) -> list[Mark]:
    """The objects of an image.

    Args:
        image: Objects and detections.
        stage: Classes and groups.
        size: Width and height of the image file.
    """
    ignored = [('ignored', box, '') for box in image.ignored_boxes]
    return _placed([*ignored, *((_group(label, stage), box, stage.classes[label])
                                for box, label in zip(image.boxes, image.labels))], size)


def found_marks(image: Image, stage: Stage, size: tuple[int, int], score_thr: float, classes: int) -> list[Mark]:
    """What a detector found in an image, right, wrong or on what is ignored, and the objects that it missed.

    Args:
        image: Objects and the detector's detections.
        stage: Classes and groups of the page.
        size: Width and height of the image file.
        score_thr: Detections of lower scores are not drawn.
        classes: How many of the stage's classes, the first ones, the detector knows: others it cannot miss.
    """
    matched = match_objects(image, score_thr)
    missed = (('missed-' + _group(label, stage), box, f'{stage.classes[label]} missed')
              for box, label, found in zip(image.boxes, image.labels, matched.found) if not found and label < classes)
    order = np.argsort(image.detections[:, 4], kind='stable')
    shown = []
    for index in order[matched.chosen[order]]:
        label, score, wrong = image.detected_labels[index], image.detections[index, 4], matched.wrong[index]
        kind = 'wrong' if wrong else _group(label, stage) if matched.right[index] else 'ignored'
        shown.append((kind, image.detections[index, :4], f'{stage.classes[label]} {score:.2f}{" ✕" if wrong else ""}'))
    return _placed([*missed, *shown], size)


def _group(label: int, stage: Stage) -> str:
    """The colours are those of :func:`mmilmil.class_colors.class_colors`: a single group has the old one's."""
    return 'old' if label < len(stage.old) or len(stage.groups) == 1 else 'new'


def _placed(boxes: Iterable[tuple[str, Sequence[float], str]], size: tuple[int, int]) -> list[Mark]:
    """Boxes with their words above them, or inside where there is no room, moved down where other words stand."""
    letters = max(size) / 27
    marks: list[Mark] = []
    for kind, box, text in boxes:
        x1, y1, x2, y2 = (float(value) for value in box)
        left = min(max(x1, 0), max(0., size[0] - 0.56 * letters * len(text)))
        baseline = y1 - 0.3 * letters if y1 > 1.3 * letters else y1 + letters
        while any(abs(other.text_y - baseline) < 1.05 * letters and left < other.text_x + 0.56 * letters * len(other.text)
                  and other.text_x < left + 0.56 * letters * len(text) for other in marks) and baseline < size[1]:
            baseline += 1.1 * letters
        marks.append(Mark(kind, *(round(value, 1) for value in (x1, y1, x2 - x1, y2 - y1)), text, round(left, 1),
                          round(min(baseline, size[1] - 2), 1), round(letters, 1)))
    return marks
