"""Growing a detector by new classes (docs/protocol.md, rule 5): by type of head, which rows of which layer are a class's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from mmdet.models.dense_heads import ATSSHead, GFLHead, RetinaHead, RTMDetHead, RTMDetSepBNHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from torch import Tensor, nn

from ..errors import InputError
from .heads import class_heads

Rule = Callable[[Tensor, Tensor, 'Growth'], Tensor]
"""From a teacher's rows, the student's fresh rows and what both heads are to the student's first rows."""


@dataclass(frozen=True)
class Growth:
    """What a rule asks of a pair of heads.

    Attributes:
        teacher_agnostic: Whether the teacher's boxes are class-agnostic. Shapes do not tell it: one class has four rows
            either way.
        student_agnostic: The student's.
        classes: The student's number of classes.
    """

    teacher_agnostic: bool
    student_agnostic: bool
    classes: int


def softmax_rows(teacher: Tensor, fresh: Tensor, growth: Growth) -> Tensor:
    """A softmax with the background last: old classes, fresh new ones, the teacher's background.

    Args:
        teacher: (C_o + 1, ...).
        fresh: (C_o + C_n + 1, ...).
        growth: Not used.
    """
    old = len(teacher) - 1
    return torch.cat([teacher[:old], fresh[old:-1], teacher[old:]])


def box_rows(teacher: Tensor, fresh: Tensor, growth: Growth) -> Tensor:
    """Four rows a class and none for the background: the teacher's first, then fresh ones.

    A class-agnostic layer stays as it is. Under a class-wise student its four rows become those of every class, old or new:
    they correct the box of any object, so they are a better start for a new class than fresh ones.

    Args:
        teacher: (4 * C_o, ...), or (4, ...) of a class-agnostic layer.
        fresh: (4 * (C_o + C_n), ...), or (4, ...).
        growth: Which of them is class-agnostic.
    """
    if growth.teacher_agnostic and not growth.student_agnostic:
        return teacher.repeat(len(fresh) // len(teacher), *[1] * (teacher.dim() - 1))
    return torch.cat([teacher, fresh[len(teacher):]])


def sigmoid_rows(teacher: Tensor, fresh: Tensor, growth: Growth) -> Tensor:
    """A sigmoid a class and no background, the classes of one anchor beside each other: old and fresh ones anchor by anchor.

    Args:
        teacher: (A * C_o, ...), A anchors a cell; 1 of a detector with points or a mask head.
        fresh: (A * (C_o + C_n), ...).
        growth: The number of classes.
    """
    anchors = len(fresh) // growth.classes
    old, new = (rows.reshape(anchors, -1, *rows.shape[1:]) for rows in (teacher, fresh))
    return torch.cat([old, new[:, old.size(1):]], dim=1).flatten(0, 1)


CLASS_ROWS: dict[type[nn.Module], dict[str, Rule]] = {
    BBoxHead: dict(fc_cls=softmax_rows, fc_reg=box_rows),
    FCNMaskHead: dict(conv_logits=sigmoid_rows),
    RetinaHead: dict(retina_cls=sigmoid_rows),
    ATSSHead: dict(atss_cls=sigmoid_rows),
    GFLHead: dict(gfl_cls=sigmoid_rows),
    RTMDetHead: dict(rtm_cls=sigmoid_rows),
    RTMDetSepBNHead: dict(rtm_cls=sigmoid_rows),  # a list, one layer a level
}
"""By type of head the layers whose rows belong to classes; of a list of layers every one."""


def head_kind(head: nn.Module | type) -> type[nn.Module] | None:
    """The type in :data:`CLASS_ROWS` that a head is of, the nearest one; ``None`` of a head that is not known."""
    kind = head if isinstance(head, type) else type(head)
    return next((base for base in kind.__mro__ if base in CLASS_ROWS), None)


def class_layers(head: nn.Module) -> dict[str, Rule]:
    """Name in the head and rule of each layer whose rows belong to classes."""
    layers = {}
    for name, rule in CLASS_ROWS[head_kind(head)].items():
        part = getattr(head, name)
        names = [f'{name}.{index}' for index in range(len(part))] if isinstance(part, nn.ModuleList) else [name]
        layers.update(dict.fromkeys(names, rule))
    return layers


def grown_state_dict(teacher: Mapping[str, Tensor], student: nn.Module, detector: nn.Module | None = None) -> dict[str, Tensor]:
    """The student's first weights: the teacher's everywhere, with class rows added where the student has more classes.

    Right after it the student's outputs for old classes and background equal the teacher's.

    Args:
        teacher: State dict of a detector with C_o classes.
        student: The same detector with C_o + C_n classes, its class rows freshly initialised.
        detector: The detector of ``teacher``, which tells whether its boxes are class-agnostic; without one they are what
            the student's are.

    Raises:
        InputError: the two are not the same detector but for their classes, or the teacher's boxes are class-wise and the
            student's class-agnostic.
    """
    fresh = student.state_dict()
    wrong = sorted(teacher.keys() ^ fresh.keys())
    if wrong:
        raise InputError(f'teacher and student are different detectors: {len(wrong)} weights are in one of them only, the '
                         f"first is {wrong[0]}. Let the student's config inherit the teacher's")
    rules = _rules(student, detector or student)
    grown = {}
    for name, old in teacher.items():
        new = fresh[name]
        rule, growth = rules.get(name.rpartition('.')[0], (None, None))
        if old.shape == new.shape:
            grown[name] = old.clone()
        elif rule and old.shape[1:] == new.shape[1:] and len(old) < len(new):
            grown[name] = rule(old.to(new), new, growth)
        else:
            raise InputError(f'{name} has shape {tuple(old.shape)} in the teacher and {tuple(new.shape)} in the student: only '
                             'the class rows of the heads may differ, and only grow')
    return grown


def _rules(student: nn.Module, detector: nn.Module) -> dict[str, tuple[Rule, Growth]]:
    """By name of a layer."""
    theirs, rules = class_heads(detector), {}
    for name, head in class_heads(student).items():
        agnostic = [getattr(one, 'reg_class_agnostic', False) for one in (theirs[name], head)]
        if agnostic == [False, True]:
            raise InputError(f'model.{name}.reg_class_agnostic is False in the teacher and True in the student: its boxes of '
                             'several classes cannot become one. Set it to False, or train the first stage with True')
        growth = Growth(*agnostic, head.num_classes)
        rules.update({f'{name}.{layer}': (rule, growth) for layer, rule in class_layers(head).items()})
    return rules
