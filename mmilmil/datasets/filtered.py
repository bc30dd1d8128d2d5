"""What the stage filter made of an image, for people to look at."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

KEPT, IGNORED, HIDDEN, LEFT_OUT = 'kept', 'ignored', 'hidden', 'left out'
FATES = (KEPT, IGNORED, HIDDEN, LEFT_OUT)
"""What becomes of an object: it is trained on, it is neither learnt nor taken for background, the stage does not get to see it,
or nothing of it is inside its image."""


@dataclass(frozen=True)
class FilteredObject:
    """An annotated object.

    Attributes:
        name: Its class.
        bbox: ``(x1, y1, x2, y2)`` in pixels of the image file, clipped to it where the object is kept or ignored.
        fate: One of :data:`FATES`.
        reason: Why it is ignored or left out; empty of the others.
    """

    name: str
    bbox: tuple[float, float, float, float]
    fate: str
    reason: str = ''


@dataclass(frozen=True)
class FilteredImage:
    """An image that a dataset lists.

    Attributes:
        img_id: As the dataset numbers it.
        path: Its file.
        width, height: In pixels.
        objects: All that are annotated, of whatever class.
        dropped: Why it is not trained on; empty where it is.
        replayed: Whether it is kept of an earlier stage.
        unlabelled: Whether nobody has annotated it.
    """

    img_id: Hashable
    path: str
    width: int
    height: int
    objects: tuple[FilteredObject, ...]
    dropped: str = ''
    replayed: bool = False
    unlabelled: bool = False

    @classmethod
    def of(cls, image: Mapping, fates: Sequence[tuple[Mapping, Mapping | None, str]], **more: str | bool) -> 'FilteredImage':
        """From what the stage filter knows of it.

        Args:
            image: With all of its objects as ``instances``.
            fates: Of the objects that the stage may see, itself, as it is fitted into the image or None, and why it is not
                trained on or ''.
            more: ``dropped``, ``replayed``, ``unlabelled``.
        """
        seen = {id(instance): (fitted, reason) for instance, fitted, reason in fates}
        objects = []
        for instance in image['instances']:
            fitted, reason = seen.get(id(instance), (instance, ''))
            fate = HIDDEN if id(instance) not in seen else LEFT_OUT if fitted is None else \
                IGNORED if fitted['ignore_flag'] else KEPT
            objects.append(FilteredObject(instance['name'], tuple(map(float, (fitted or instance)['bbox'])), fate,
                                          '' if fate in (HIDDEN, KEPT) else reason))
        return cls(image['img_id'], image['img_path'], image['width'], image['height'], tuple(objects), **more)
