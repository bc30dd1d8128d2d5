"""What a stage is: all classes seen so far, and how they are grouped. Read from ``metainfo`` by everything else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True)
class Stage:
    """The class groups of one incremental stage (protocol 4: labels are global, the newest group comes last).

    Args:
        classes: Names of all classes seen so far, in label order.
        split: Number of classes in each group, oldest first; sums to ``len(classes)``.
    """

    classes: tuple[str, ...]
    split: tuple[int, ...]

    @classmethod
    def from_metainfo(cls, metainfo: Mapping, where: str = 'metainfo') -> 'Stage':
        """Read and check ``metainfo``; a missing ``split`` means one group.

        Raises:
            InputError: no classes, a name that is no text, a class twice, or a split that does not sum to the number of
                classes.
        """
        classes = metainfo.get('classes') or ()
        classes = (classes,) if isinstance(classes, str) else tuple(classes)
        if not classes:
            raise InputError(f'{where}.classes is empty: list the names of all classes seen so far, in label order')
        if other := [name for name in classes if not isinstance(name, str)]:
            raise InputError(f'{where}.classes has {", ".join(map(repr, other))}: class names are texts, so put them in quotes')
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            raise InputError(f'{where}.classes names {", ".join(map(repr, twice))} more than once: name each class once')
        split = metainfo.get('split')
        split = (len(classes),) if split is None else split
        split = (split,) if isinstance(split, int) else tuple(split)
        if not all(isinstance(size, int) and size > 0 for size in split):
            raise InputError(f'{where}.split = {split}: every group needs a positive whole number of classes')
        if sum(split) != len(classes):
            raise InputError(f'{where}.split = {split} sums to {sum(split)}, but {where}.classes has {len(classes)} names: '
                             'make the two agree')
        return cls(classes, split)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Class names by group, oldest first."""
        ends = [sum(self.split[:i + 1]) for i in range(len(self.split))]
        return tuple(self.classes[end - size:end] for end, size in zip(ends, self.split))

    @property
    def old(self) -> tuple[str, ...]:
        """Classes of all groups but the newest; empty in a first stage."""
        return self.classes[:len(self.classes) - self.split[-1]]

    @property
    def new(self) -> tuple[str, ...]:
        """Classes of the newest group."""
        return self.groups[-1]


def parse_split(text: str) -> tuple[int, ...]:
    """The group sizes behind a split's name, as ``(15, 5)`` behind ``15+5``; ``15+1x5`` adds five groups of one class.

    Raises:
        InputError: the text is no such name.
    """
    sizes: list[int] = []
    for part in text.split('+'):
        found = re.fullmatch(r'([1-9]\d*)(?:x([1-9]\d*))?', part)
        if not found:
            raise InputError(f'the split {text!r} is invalid at {part!r}: write the sizes of the groups, oldest first, such '
                             'as 15+5, 10+5+5, or 15+1x5 for five groups of one class')
        sizes += [int(found[1])] * int(found[2] or 1)
    return tuple(sizes)
