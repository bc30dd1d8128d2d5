"""Which images a detector does worst on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .average_precision import Image
from .confusion import Confusion
from .evaluated_sets import EvaluatedSet


@dataclass(frozen=True)
class Mistakes:
    """What a detector does in one image, by the matching of :class:`mmilmil.evaluation.confusion.Confusion`.

    Attributes:
        right: Objects taken for what they are.
        missed: Objects that no detection took.
        wrong_class: Objects taken for another class.
        background: Detections where nothing is.
        on_top: Detections of an object that another one had taken.
    """

    right: int
    missed: int
    wrong_class: int
    background: int
    on_top: int

    @property
    def total(self) -> int:
        """By how many mistakes an image is ranked."""
        return self.missed + self.wrong_class + self.background + self.on_top

    def __str__(self) -> str:
        return (f'{self.total} mistakes: {self.missed} missed, {self.wrong_class} taken for another class, {self.background} '
                f'on background, {self.on_top} on top of a found object; {self.right} right')


def mistakes_of(image: Image, num_classes: int, score_thr: float = 0.3) -> Mistakes:
    """The mistakes in one image.

    Args:
        image: Objects and detections.
        num_classes: Number of classes.
        score_thr: Detections of lower scores are left out.
    """
    confusion = Confusion(num_classes, 0, score_thr)
    confusion.add(image)
    taken = confusion.matrix[:num_classes, :num_classes]
    right = int(np.trace(taken))
    return Mistakes(right, int(confusion.matrix[:num_classes, num_classes].sum()), int(taken.sum()) - right,
                    int(confusion.matrix[num_classes].sum()), int(confusion.on_top.sum()))


def ranked(mistakes: Sequence[Mistakes]) -> list[int]:
    """Places of the images that have a mistake, the worst first; of as many mistakes the one with fewer right objects."""
    found = [index for index, one in enumerate(mistakes) if one.total]
    return sorted(found, key=lambda index: (-mistakes[index].total, mistakes[index].right))


def judged(image: Image, labels: Collection[int]) -> Image:
    """An image whose other classes are neither to be found nor wrong.

    Args:
        image: Objects and detections.
        labels: What its annotation holds.
    """
    return replace(image, evaluated=EvaluatedSet(image.evaluated.file, frozenset(labels)))
