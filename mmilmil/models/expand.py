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


def spread_box_rows(teacher: Tensor, fresh: Tensor) -> Tensor:
    """Rows of a class-wise box layer from a class-agnostic one: every class, old or new, starts with the teacher's four.

    They correct the box of any object, so they are a better start for a new class than fresh ones.

    Args:
        teacher: (4, ...).
        fresh: (4 * C, ...).
    """
    return teacher.repeat(len(fresh) // len(teacher), *[1] * (teacher.dim() - 1))


def grown_state_dict(teacher: dict[str, Tensor], fresh: dict[str, Tensor], teacher_agnostic: bool = False,
                     student_agnostic: bool = False) -> dict[str, Tensor]:
    """The student's first weights: the teacher's everywhere, with class rows added where the student has more classes.

    Right after it the student's logits of old classes and background and its boxes of old classes equal the teacher's.
    A class-agnostic box layer is copied into a class-agnostic one and spread over the classes of a class-wise one.

    Args:
        teacher: State dict of a stock detector with C_o classes.
        fresh: State dict of the same detector with C_o + C_n classes, freshly initialised.
        teacher_agnostic: The teacher's ``roi_head.bbox_head.reg_class_agnostic``. Shapes do not tell it: one class has four
            rows either way.
        student_agnostic: The student's.

    Raises:
        InputError: the two are not the same detector but for their classes, or the teacher's boxes are class-wise and the
            student's class-agnostic.
    """
    wrong = sorted(teacher.keys() ^ fresh.keys())
    if wrong:
        raise InputError(f'teacher and student are different detectors: {len(wrong)} weights are in one of them only, the '
                         f"first is {wrong[0]}. Let the student's config inherit the teacher's")
    if student_agnostic and not teacher_agnostic:
        raise InputError('model.roi_head.bbox_head.reg_class_agnostic is False in the teacher and True in the student: '
                         'its boxes of several classes cannot become one. Set it to False, or train the first stage with True')
    grow_boxes = spread_box_rows if teacher_agnostic and not student_agnostic else grow_box_rows
    grown = {}
    for name, old in teacher.items():
        new = fresh[name]
        rows = _CLASS_ROWS.search(name)
        if old.shape == new.shape:
            grown[name] = old.clone()
        elif rows and old.shape[1:] == new.shape[1:] and len(old) < len(new):
            grow = grow_class_rows if rows[1] == 'cls' else grow_boxes
            grown[name] = grow(old.to(new), new)
        else:
            raise InputError(f'{name} has shape {tuple(old.shape)} in the teacher and {tuple(new.shape)} in the student: only '
                             'the class rows of the RoI head may differ, and only grow')
    return grown
