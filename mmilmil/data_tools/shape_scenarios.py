"""What the drawn sets hold: which classes, and which objects share an image, as old and new ones do or do not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SPLITS = ('train', 'val', 'test')
DEFAULT = 'mixed'
_RADII = (0.07, 0.17)


class Planned(NamedTuple):
    """An object to be drawn.

    Attributes:
        name: Its class.
        radii: Bounds of its radius, as shares of the image's width.
    """

    name: str
    radii: tuple[float, float] = _RADII


@dataclass(frozen=True)
class Scenario:
    """A kind of set.

    Attributes:
        summary: What it is, in a few words.
        classes: In alphabetical order, which puts the new ones last.
        old: How many classes are meant to be the first stage's.
        images: Number of images of train, val and test unless another is asked for.
        plan: From an image's number within its split and the source of chance to its objects. The first one is always drawn,
            the others as far as there is room.
        overlap: What share of an object's box may lie on boxes of objects drawn before it.
    """

    summary: str
    classes: tuple[str, ...]
    old: int
    images: tuple[int, int, int]
    plan: Callable[['Scenario', int, np.random.Generator], list[Planned]]
    overlap: float = 0.05


def _any_classes(scenario: Scenario, index: int, rng: np.random.Generator) -> list[Planned]:
    """Two to five objects; every class is the first one of as many images."""
    classes = scenario.classes
    return [Planned(classes[label]) for label in (index % len(classes), *rng.integers(len(classes), size=rng.integers(1, 5)))]


def _one_group(scenario: Scenario, index: int, rng: np.random.Generator) -> list[Planned]:
    """The same, all of the first one's group."""
    first = scenario.classes[index % len(scenario.classes)]
    old, new = scenario.classes[:scenario.old], scenario.classes[scenario.old:]
    group = old if first in old else new
    return [Planned(first), *(Planned(group[label]) for label in rng.integers(len(group), size=rng.integers(1, 5)))]


def _crowd(scenario: Scenario, index: int, rng: np.random.Generator) -> list[Planned]:
    """A small new object among 10 to 14 old ones, of each old class one at least."""
    old, new = scenario.classes[:scenario.old], scenario.classes[scenario.old:]
    labels = [*range(len(old)), *rng.integers(len(old), size=rng.integers(10, 15) - len(old))]
    return [Planned(new[index % len(new)], (0.034, 0.045)), *(Planned(old[label], (0.06, 0.1)) for label in labels)]


SCENARIOS = {
    DEFAULT: Scenario('two to five objects of mixed classes an image',
                      ('circle', 'cross', 'ring', 'square', 'star', 'triangle'), 4, (400, 100, 100), _any_classes),
    'crowded': Scenario('about a dozen old objects and one small new one an image',
                        ('circle', 'cross', 'triangle'), 2, (300, 100, 100), _crowd, overlap=0),
    'apart': Scenario('no old object on the images of new ones',
                      ('circle', 'cross', 'ring', 'square', 'star', 'triangle'), 4, (600, 150, 150), _one_group),
    'look-alike': Scenario('as apart, and the new classes resemble old ones',
                           ('circle', 'cross', 'ring', 'square', 'squircle', 'washer'), 4, (600, 150, 150), _one_group),
}
