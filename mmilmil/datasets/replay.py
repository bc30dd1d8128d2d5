"""Exemplar replay: a few images of each earlier stage that a later one keeps (protocol 1)."""

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..errors import InputError

_REMEDY = 'give dict(per_class=10), and seed=1 for other images, or leave it out'


@dataclass(frozen=True)
class Replay:
    """Which images are kept of an earlier stage.

    Attributes:
        per_class: Images of each old class, 1 or more; all of a class that has fewer.
        seed: Of the draw, 0 or more.
    """

    per_class: int
    seed: int = 0

    @classmethod
    def of(cls, setting: Any) -> Optional['Replay']:
        """The dataset's setting ``replay``; ``None`` is none.

        Raises:
            InputError: it is no ``dict(per_class=..., seed=...)`` of whole numbers in range.
        """
        if setting is None:
            return None
        if not isinstance(setting, Mapping) or 'per_class' not in setting or not setting.keys() <= {'per_class', 'seed'}:
            raise InputError(f'dataset replay = {setting!r}: {_REMEDY}')
        for name, least in (('per_class', 1), ('seed', 0)):
            value = setting.get(name, least)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f'dataset replay.{name} = {value!r} is no whole number of {least} or more: {_REMEDY}')
        return cls(**setting)

    def drawn(self, name: str, img_ids: Iterable[Hashable]) -> set:
        """The images that are kept for a class.

        They come in an order that depends on seed, class and image alone. So a later stage keeps those that the one before it
        kept, whatever else it lists, and a larger ``per_class`` keeps those of a smaller one.

        Args:
            name: The class.
            img_ids: The images of its stage that hold an object of it.
        """
        order = sorted(img_ids, key=lambda img_id: hashlib.sha256(f'{self.seed}/{name}/{img_id}'.encode()).digest())
        return set(order[:self.per_class])
