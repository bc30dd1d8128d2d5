"""A diagnosis as text to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..table_layout import ascii_table
from .ap_gaps import KINDS
from .class_groups import cell
from .confusion import BLOCKS
from .image_subsets import SUBSETS
from .sampled_positives import GROUPS

_LARGEST_MATRIX = 30  # classes; a wider one is no table to read


def diagnosis_text(rows: Mapping[str, Mapping[str, Any]], teacher_boxes: Mapping | None = None,
                   positives: Mapping | None = None) -> str:
    """All tables, one below the other.

    Args:
        rows: :meth:`mmilmil.evaluation.diagnosis.DiagnosedDetector.figures` by title, the student's first.
        teacher_boxes: See :func:`teacher_boxes_text`.
        positives: See :func:`positives_text`.
    """
    parts = [_ap(rows), _gaps(rows), _blocks(rows), _matrix(*next(iter(rows.items()))), _proposals(rows), _drift(rows)]
    if teacher_boxes:
        parts.append(teacher_boxes_text(teacher_boxes))
    if positives:
        parts.append(positives_text(positives))
    return '\n\n'.join(filter(None, parts))


def _ap(rows: Mapping[str, Mapping]) -> str:
    table = [['', 'old', 'new', 'all', *(f'{group}, {name}' for group in ('old', 'new') for name in SUBSETS[1:])]]
    for title, row in rows.items():
        table.append([title, *(cell(row['ap'][name]) for name in ('old', 'new', 'all')),
                      *(cell(row['subsets'][group][name]['ap']) for group in ('old', 'new') for name in SUBSETS[1:])])
    subsets = next(iter(rows.values()))['subsets']
    counts = '; '.join(f'{group}: {subsets[group]["holding"]["images"]} and {subsets[group]["alone"]["images"]}'
                       for group in ('old', 'new'))
    return (f'AP at IoU 0.5, area under the curve; holding: on images with an object of the group, alone: on those with no '
            f'others\n{ascii_table(table)}\nimages: {subsets["new"]["all"]["images"]}; holding and alone of {counts}')


def _gaps(rows: Mapping[str, Mapping]) -> str:
    first, *others = rows
    table = [['without', 'old', 'new', 'all', *(f'all, {title}' for title in others)]]
    for kind in KINDS:
        table.append([kind, *(_gain(rows[first]['gaps'][kind][name]) for name in ('old', 'new', 'all')),
                      *(_gain(rows[title]['gaps'][kind]['all']) for title in others)])
    return f'AP gained where one kind of error is repaired, {first}\n{ascii_table(table)}'


def _blocks(rows: Mapping[str, Mapping]) -> str:
    table = [['', *rows]]
    for name in BLOCKS:
        table.append([name, *(row['confusion']['blocks'][name] for row in rows.values())])
    score_thr = next(iter(rows.values()))['confusion']['score_thr']
    return f'objects, and false and further detections, by blocks of the confusion matrix; scores from {score_thr:g}\n' \
           f'{ascii_table(table)}'


def _matrix(title: str, row: Mapping) -> str:
    names, matrix = row['confusion']['classes'], row['confusion']['matrix']
    if len(names) > _LARGEST_MATRIX:
        return f'the confusion matrix of {len(names) - 1} classes is in the JSON file alone (--out)'
    table = [['', *names[:-1], 'missed'], *([name, *counts[:-1], '-' if name is names[-1] else counts[-1]]
                                             for name, counts in zip(names, matrix))]
    return f'confusion matrix, {title}: rows are what is there, columns what it was taken for\n{ascii_table(table)}'


def _proposals(rows: Mapping[str, Mapping]) -> str:
    table = [['', 'old', 'new', 'old objects', 'new objects']]
    for title, row in rows.items():
        if found := row['proposals']:
            table.append([title, *(cell(found[group]['recall']) for group in ('old', 'new')),
                          *(found[group]['objects'] for group in ('old', 'new'))])
    return f'recall of the RPN: objects with a proposal of IoU 0.5 or more\n{ascii_table(table)}' if len(table) > 1 else ''


def _drift(rows: Mapping[str, Mapping]) -> str:
    table = [['', 'KL', 'difference', 'same class', 'objects']]
    for title, row in rows.items():
        if drift := row['drift']:
            table.append([title, *(cell(drift[name]) for name in ('kl', 'difference', 'same')), drift['objects']])
    return (f"drift from the teacher: logits of the old classes on old objects' boxes, mean over objects\n{ascii_table(table)}"
            if len(table) > 1 else '')


def teacher_boxes_text(figures: Mapping) -> str:
    """``precision`` and ``recall`` of the teacher's boxes on ``images``, with the counts behind them."""
    return (f'the teacher on {figures["images"]} training images, scores above {figures["score_thr"]:g}: precision '
            f'{cell(figures["precision"])} ({figures["right"]} right, {figures["wrong"]} wrong), recall '
            f'{cell(figures["recall"])} ({figures["found"]} of {figures["objects"]} old objects that the stage hides)')


def positives_text(figures: Mapping) -> str:
    """``means`` of :class:`mmilmil.evaluation.sampled_positives.SampledPositives` and the number of ``steps``."""
    table = [['a step', *GROUPS]]
    for name, counts in figures['means'].items():
        table.append([name if name == 'objects' else f'positives, {name}', *(f'{counts[group]:.1f}' for group in GROUPS)])
    return f'sampled in {figures["steps"]} training steps without learning\n{ascii_table(table)}'


def _gain(value: float | None) -> str:
    return '-' if value is None else f'{value:+.3f}'


def left_out_text(lines: Sequence[str]) -> str:
    """What could not be told and why, a line each."""
    return '\n'.join(f'left out: {line}' for line in lines)
