"""From a user's detector and data to what its student learns and is measured on."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence

from ..data_tools.finding import TestSet
from ..data_tools.own_data import OwnData
from ..datasets.stage_filter import close_names
from ..errors import InputError
from .student_configs import MeasuredSet, NewData
from .teachers import BroughtTeacher

ROLES = ('val', 'test')
_ALIKE = 0.85  # of two names, from here on the share of common letters that is no accident
_SHOWN = 10


def chosen_new(teacher: BroughtTeacher, data: OwnData, asked: Sequence[str], distinct: Sequence[str]) -> tuple[str, ...]:
    """The classes that the student learns.

    Args:
        teacher: The detector.
        data: The data.
        asked: Their names in label order; by default all that the data has boxes of and the teacher does not know.
        distinct: New classes that are others than the teacher's in spite of nearly the same name.

    Raises:
        InputError: a name has no box to train on, is known to the teacher, or is nearly a name that it knows.
    """
    train, known = data.splits['train'], set(teacher.classes)
    there = ', '.join(f'{name!r} ({train.boxes[name]})' for name in data.found if train.boxes[name]) or 'none'
    for name in asked:
        if list(asked).count(name) > 1:
            raise InputError(f'--new names {name!r} more than once: name each class once')
        if name in known:
            raise InputError(f'--new {name!r}: the teacher {teacher.checkpoint} knows a class of that name already, and a '
                             'second one would be told apart by nothing. Leave it out; or rename it in the annotations, if '
                             'they mean something else')
        if not train.boxes[name]:
            near = close_names(name, [other for other in data.found if other not in asked])
            hint = f'did you mean {" or ".join(map(repr, near))}? ' if near else ''
            ignored = f' ({train.unusable[name]} are ignored or without area)' if train.unusable[name] else ''
            raise InputError(f'--new {name!r} has no box to train on in {train.source}{ignored}: {hint}there are boxes of '
                             f'{there}')
    new = tuple(asked) or tuple(name for name in data.found if name not in known and train.boxes[name])
    if not new:
        raise InputError(f'{train.source} has boxes of {there}, all of which the teacher {teacher.checkpoint} knows: nothing '
                         'is new. Add images with boxes of a new class')
    for name in distinct:
        if name not in new:
            raise InputError(f'--distinct {name!r} is none of the new classes, {", ".join(map(repr, new))}: leave it out')
    for name in new:
        if name not in distinct and (like := _alike(name, teacher.classes)):
            raise InputError(f'the new class {name!r} is nearly {like!r}, which the teacher {teacher.checkpoint} knows. If it '
                             f'is the same thing, rename it to {like!r} in the annotations or leave it out (--new names the '
                             f'classes to learn); if it is another, add --distinct {_quoted(name)}')
    return new


def _alike(name: str, known: Sequence[str]) -> str | None:
    """The known class that may be the same thing: letter case, blanks, hyphens, a plural and small slips apart."""
    form = _form(name)
    by_form = {_form(other): other for other in known}
    if form in by_form:
        return by_form[form]
    near = difflib.get_close_matches(form, by_form, n=1, cutoff=_ALIKE)
    return by_form[near[0]] if near else None


def _form(name: str) -> str:
    return re.sub(r'[\W_]+', '', name.casefold()).removesuffix('s')


def _quoted(name: str) -> str:
    return name if re.fullmatch(r'[\w.-]+', name) else repr(name)


def new_data(teacher: BroughtTeacher, data: OwnData, new: Sequence[str], name: str, old: Mapping[str, TestSet]) -> NewData:
    """What the student learns from and is measured on.

    Args:
        teacher: The detector.
        data: The new data.
        new: The new classes.
        name: What files call the data.
        old: Sets that show the teacher's classes, by ``val`` and ``test``; where one lacks, those that the teacher's own config
            measures it on, if it is a stage of this project, and else what the new data shows of them.

    Raises:
        InputError: such a set shows none of the teacher's classes, or a mask head has no masks to learn from.
    """
    if teacher.with_mask and data.kind == 'IncrementalVOCDataset':
        raise InputError(f'the teacher {teacher.config} has a mask head, and VOC XML holds no masks: give the data as a COCO '
                         'file with a segmentation for each object')
    measured = {}
    for role in ROLES:
        others = [_old_set(teacher, old[role], role)] if role in old else _own_sets(teacher, role)
        shown = () if others else tuple(one for one in teacher.classes if data.splits[role].boxes[one])
        measured[role] = (*others, MeasuredSet(data.kind, data.settings[role], (*shown, *new)))
    train = data.splits['train']
    images = min(len(train.images), sum(train.boxes[one] for one in new))
    return NewData(name, data.root, data.kind, data.settings['train'], images, measured)


def _old_set(teacher: BroughtTeacher, found: TestSet, role: str) -> MeasuredSet:
    # A category without a box is told as not measured; a file that lists none has those with boxes.
    listed = found.data.categories or found.data.boxes
    shown = tuple(name for name in teacher.classes if name in listed)
    if not any(found.data.boxes[name] for name in shown):
        others = sorted(found.data.boxes)
        more = f' and {len(others) - _SHOWN} more' if len(others) > _SHOWN else ''
        raise InputError(f'--old-{role} {found.data.source} has no box of a class that the teacher knows: it has '
                         f'{", ".join(map(repr, others[:_SHOWN]))}{more}. Give a set that annotates the old classes; names are '
                         'compared exactly')
    return MeasuredSet(found.kind, found.settings, shown)


def _own_sets(teacher: BroughtTeacher, role: str) -> list[MeasuredSet]:
    """The sets that the teacher's own config measures it on; none where their files are not here."""
    if _absent_sets(teacher, role):
        return []
    return [MeasuredSet(leaf['type'], dict(data_root=leaf.get('data_root', ''), **{
        key: value for key, value in leaf.items() if key not in ('type', 'data_root', 'annotated')}),
                        tuple(leaf.get('annotated') or teacher.classes)) for leaf in teacher.tests[role]]


def _absent_sets(teacher: BroughtTeacher, role: str) -> list[str]:
    paths = [os.path.join(leaf.get('data_root') or '', leaf.get('ann_file') or '') for leaf in teacher.tests[role]]
    return [path for path in paths if not os.path.isfile(path)]


def told(teacher: BroughtTeacher, data: OwnData, new: Sequence[str], measured: NewData,
         old: Mapping[str, TestSet]) -> list[str]:
    """What is learnt, hidden and measured where, as lines to tell; arguments as :func:`new_data`'s, ``measured`` its answer."""
    hidden = {name: count for name in teacher.classes if (count := data.splits['train'].boxes[name])}
    seen = [*hidden, *new]
    lines = [f'{len(teacher.classes)} classes of the teacher {teacher.checkpoint}, behind them the new: {", ".join(new)}',
             *data.notes(seen, '--new')]
    if hidden:
        lines.append('boxes of classes that the teacher knows are hidden in training, its own are taken: ' +
                     ', '.join(f'{name!r} ({count})' for name, count in hidden.items()))
    lines += [line for found in old.values() for line in found.data.notes]
    for role in ROLES:
        if role not in old and (absent := _absent_sets(teacher, role)):
            lines.append(f'{role}: {teacher.config} measures the teacher by {", ".join(absent)}, which is not here, so that is '
                         'left out')
        showing = [one for one in measured.measured[role] if set(one.annotated) & set(teacher.classes)]
        if not showing:
            lines.append(f'{role}: the classes of the teacher are measured nowhere; --old-{role} DATA names a set that shows '
                         'them')
        for one in showing:
            count = len(set(one.annotated) & set(teacher.classes))
            lines.append(f"{role}: the teacher's classes are measured on {one.settings['ann_file']} in "
                         f"{one.settings.get('data_root', data.root)} ({count} of {len(teacher.classes)})")
    return lines
