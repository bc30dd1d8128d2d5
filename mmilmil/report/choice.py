"""Which images of a test a report shows: forgotten worst, kept best, learned best and worst, and random ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.average_precision import Image
from ..evaluation.error_kinds import error_counts
from ..evaluation.matching import match_objects


@dataclass(frozen=True)
class Kind:
    """A heading of pictures.

    Attributes:
        title: Its words.
        rule: How its images are chosen, in a sentence.
        images: Places of the images.
    """

    title: str
    rule: str
    images: tuple[int, ...]


def choose(students: Sequence[Image], teachers: Sequence[Image] | None, num_classes: int, num_old: int, number: int,
           score_thr: float, seed: int = 0) -> list[Kind]:
    """Images to show, none twice.

    Args:
        students: Objects and the student's detections, by image.
        teachers: The same images with the teacher's; ``None`` without one.
        num_classes: Number of classes C.
        num_old: How many of them are old.
        number: Images of each kind at most.
        score_thr: Detections of lower scores do not count.
        seed: Of the random ones.

    Returns:
        The kinds that have an image.
    """
    objects, found, errors = np.zeros((3, len(students), 2), dtype=int)  # by image, of old and of new classes
    known = np.zeros(len(students), dtype=int)
    lost = np.zeros(len(students), dtype=int)
    for place, image in enumerate(students):
        mine, old = match_objects(image, score_thr), image.labels < num_old
        counts = error_counts([image], num_classes, num_old, score_thr)
        for column, (name, group) in enumerate((('old', old), ('new', ~old))):
            objects[place, column], found[place, column] = group.sum(), (mine.found & group).sum()
            errors[place, column] = sum(counts[name][kind] for kind in ('class', 'place', 'both', 'twice', 'background'))
        if teachers is not None:
            hers = match_objects(teachers[place], score_thr).found & old
            known[place], lost[place] = hers.sum(), (hers & ~mine.found).sum()
    missed, total, used = objects - found, errors.sum(axis=1), set()

    def best(wanted: np.ndarray, *order: np.ndarray) -> tuple[int, ...]:
        places = np.lexsort([np.arange(len(wanted)), *reversed(order)])
        chosen = [int(place) for place in places if wanted[place] and place not in used][:number]
        used.update(chosen)
        return tuple(chosen)

    kinds = []
    if teachers is not None and num_old:
        kinds += [Kind('Forgotten worst', 'most old objects that the teacher finds and the student does not; then most errors',
                       best(lost > 0, -lost, -total))]
    if num_old:
        kinds += [
            Kind('Learned worst', 'most new objects missed; then most errors with new classes',
                 best(missed[:, 1] > 0, -missed[:, 1], -errors[:, 1])),
            Kind('Kept best', 'every old object found and no error, most old objects first',
                 best((objects[:, 0] > 0) & (missed.sum(axis=1) == 0) & (total == 0) & (objects[:, 1] == 0), -objects[:, 0])),
            Kind('Learned best', 'every new object found and no error, most new objects first',
                 best((objects[:, 1] > 0) & (missed.sum(axis=1) == 0) & (total == 0), -objects[:, 1]))]
    else:
        kinds += [Kind('Worst', 'most objects missed; then most errors',
                       best(missed[:, 1] > 0, -missed[:, 1], -errors[:, 1])),
                  Kind('Best', 'every object found and no error, most objects first',
                       best((objects[:, 1] > 0) & (missed[:, 1] == 0) & (total == 0), -objects[:, 1]))]
    rest = [place for place in range(len(students)) if place not in used]
    drawn = np.random.default_rng(seed).permutation(len(rest))[:number]
    kinds.append(Kind('Drawn at random', f'from all other images, by seed {seed}',
                      tuple(sorted(rest[place] for place in drawn))))
    return [kind for kind in kinds if kind.images]
