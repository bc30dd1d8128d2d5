"""Growing a RoI head by new classes (protocol 5)."""

import re

import torch
from torch import Tensor

from ..errors import InputError

_CLASS_ROWS = re.compile(r'roi_head\.bbox_head\.(?:\d+\.)?fc_(cls|reg)\.(?:weight|bias)$')


def grow_class_rows(teacher: Tensor, fresh: Tensor) -> Tensor:
    """Rows of the classification layer: old classes, fresh new classes, and the teacher's background last.

    Args:
        teacher: (C_o + 1, ...), background last.
        fresh: (C_o + C_n + 1, ...), freshly initialised; its rows of the new classes are kept.
    """
    old = len(teacher) - 1
    return torch.cat([teacher[:old], fresh[old:-1], teacher[old:]])


def grow_box_rows(teacher: Tensor, fresh: Tensor) -> Tensor:
    """Rows of the class-wise box layer, four a class and none for the background: teacher's first, then fresh ones.

    Args:
        teacher: (4 * C_o, ...).
        fresh: (4 * (C_o + C_n), ...).
    """
    return torch.cat([teacher, fresh[len(teacher):]])


def grown_state_dict(teacher: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """The student's first weights: the teacher's everywhere, with class rows added where the student has more classes.

    Right after it the student's logits of old classes and background and its boxes of old classes equal the teacher's.

    Args:
        teacher: State dict of a stock detector with C_o classes.
        fresh: State dict of the same detector with C_o + C_n classes, freshly initialised.

    Raises:
        InputError: the two are not the same detector but for their classes.
    """
    wrong = sorted(teacher.keys() ^ fresh.keys())
    if wrong:
        raise InputError(f'teacher and student are different detectors: {len(wrong)} weights are in one of them only, the '
                         f"first is {wrong[0]}. Let the student's config inherit the teacher's")
    grown = {}
    for name, old in teacher.items():
        new = fresh[name]
        rows = _CLASS_ROWS.search(name)
        if old.shape == new.shape:
            grown[name] = old.clone()
        elif rows and old.shape[1:] == new.shape[1:] and len(old) < len(new):
            grow = grow_class_rows if rows[1] == 'cls' else grow_box_rows
            grown[name] = grow(old.to(new), new)
        else:
            raise InputError(f'{name} has shape {tuple(old.shape)} in the teacher and {tuple(new.shape)} in the student: only '
                             'the class rows of the RoI head may differ, and only grow')
    return grown
