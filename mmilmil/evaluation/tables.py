"""Figures of several runs as one table."""

from collections.abc import Mapping, Sequence

from ..table_layout import markdown_table, size_told
from .forgetting import ap_matrix, chain_figures
from .sources import same_sets, sources_told

COLUMNS = ('old', 'new', 'all', 'avg')


def results_table(rows: Mapping[str, Mapping], teacher: str | None = None, joint: str | None = None) -> str:
    """A Markdown table of AP in per cent, aligned for reading as plain text too.

    Runs with more than two class groups add a column for each group. A run with one group has no ``old``: its classes
    are what later stages call old, so its ``all`` stands there. The first cell is the :func:`measure_name`.

    Args:
        rows: By row title, the content of ``metrics.json``: ``old``, ``new``, ``all``, ``avg`` and ``groups`` in [0, 1]
            or None, for the first cell ``iou_thr``, for the ratios ``classes`` and ``split``, and ``sets`` and ``kept`` where
            it tells them.
        teacher: Title of the teacher's row; adds the column ``old/teacher``, in per cent.
        joint: Title of the joint row; adds the columns ``new/joint`` and ``all/joint``, in per cent.

    Returns:
        Lines of Markdown. ``-`` stands where a figure is undefined, or a ratio would compare different classes, or figures of
        different sets. Below the table, where there are several sets, a line tells which classes are measured on which, and
        another what a run keeps of earlier stages.
    """
    groups = max((len(figures['groups']) for figures in rows.values()), default=0)
    shown = [f'group {index}' for index in range(groups if groups > 2 else 0)]
    ratios = ['old/teacher'] * (teacher is not None) + ['new/joint', 'all/joint'] * (joint is not None)
    measure = ' or '.join(dict.fromkeys(map(measure_name, rows.values())))
    cells = [[f'{measure} (%)', *COLUMNS, *shown, *ratios]]
    for title, figures in rows.items():
        values = _by_column(figures)
        if teacher is not None:
            values['old/teacher'] = _old_kept(figures, rows[teacher])
        if joint is not None:
            values.update(_share_of_joint(figures, rows[joint]))
        cells.append([title, *(_per_cent(values.get(column)) for column in cells[0][1:])])
    return '\n'.join([markdown_table(cells), *_below([*sources_told(rows), *kept_told(rows)])])


def kept_told(rows: Mapping[str, Mapping]) -> list[str]:
    """A line for each run that used more of earlier stages than their detector.

    Args:
        rows: By row title, figures with ``kept`` as :class:`RunCostHook` tells it; a run without is passed over.
    """
    lines = []
    for title, figures in rows.items():
        kept = figures.get('kept') or {}
        memory, images = kept.get('memory_bytes', 0), kept.get('images', 0)
        if memory or images:
            what = f'memory: {size_told(memory)}, ' if memory else ''
            of_images = f'{images} images, {size_told(kept.get("image_bytes", 0))}' if images else 'no images'
            lines.append(f'{title} keeps of earlier stages: {what}{of_images}')
    return lines


def _below(lines: Sequence[str]) -> list[str]:
    """A blank line before them, without which Markdown would take them for rows."""
    return ['', *lines] if lines else []


def chains_table(chains: Mapping[str, Sequence[Mapping]], joint: Mapping | None = None) -> str:
    """A Markdown table of what chains of stages forgot, in points and per cent; see :mod:`forgetting`.

    Args:
        chains: By row title, the content of each stage's ``metrics.json``, the first stage first.
        joint: That of joint training; the figures that compare with it are ``-`` for a chain of other classes, or without.

    Returns:
        Lines of Markdown: by group the best earlier AP minus the final one, FPP, AbsGap, RelGap, Omega, RSD and RPD. Below the
        table chains are told whose stages measure a class on different sets.
    """
    figures = {title: figures_of_chain(runs, joint) for title, runs in chains.items()}
    groups = max(len(found['group_forgetting']) for found in figures.values()) - 1  # the last one has nothing to forget
    names = ('fpp', 'abs_gap', 'rel_gap', 'omega', 'rsd', 'rpd')
    lost_titles = [f'forgot of group {index}' for index in range(groups)]
    cells = [['chain', *lost_titles, 'FPP', 'AbsGap', 'RelGap', 'Omega', 'RSD', 'RPD']]
    for title, found in figures.items():
        lost = [*found['group_forgetting'][:-1], *[None] * groups][:groups]
        cells.append([title, *map(_per_cent, [*lost, *(found.get(name) for name in names)])])
    told = []
    for title, runs in chains.items():
        if others := [str(number) for number, run in enumerate(runs, start=1) if not same_sets(run, runs[-1])]:
            told.append(f'{title}: stage {" and ".join(others)} measured classes on other sets than the last stage, so these '
                        'figures do not tell what was forgotten')
    return '\n'.join([markdown_table(cells), *_below(told)])


def figures_of_chain(runs: Sequence[Mapping], joint: Mapping | None) -> dict:
    """:func:`mmilmil.evaluation.forgetting.chain_figures` of a chain.

    Args:
        runs: The content of each stage's ``metrics.json``, the first stage first.
        joint: That of joint training; what compares with it is absent where it is of other classes or measured on other sets.
    """
    last = runs[-1]
    comparable = joint is not None and joint['classes'] == last['classes'] and same_sets(joint, last)
    bound = ap_matrix([joint])[0] if comparable else None
    return chain_figures(ap_matrix(runs, last['classes']), last['split'], bound)


def measure_name(figures: Mapping) -> str:
    """What the figures of a run are: ``AP50``, or ``AP50:95`` for a mean over IoU thresholds.

    Args:
        figures: The content of ``metrics.json``; the IoU threshold or thresholds are its ``iou_thr``, .5 by default.
    """
    ious = figures.get('iou_thr') or .5
    ious = [ious[0], ious[-1]] if isinstance(ious, list) else [ious]
    return 'AP' + ':'.join(f'{100 * iou:.0f}' for iou in ious)


def mean_figures(runs: Sequence[Mapping]) -> dict:
    """The mean of runs of one stage, such as over seeds, in the form that :func:`results_table` takes.

    Args:
        runs: The content of each run's ``metrics.json``.

    Returns:
        ``old``, ``new``, ``all``, ``avg`` and ``groups``, None where a run has none, with ``classes``, ``split``, ``iou_thr``
        and, where the runs tell them, ``sets``.

    Raises:
        ValueError: the runs are not of the same classes in the same groups, measured at other IoUs, or on sets of other sizes.
    """
    first = runs[0]
    shared = {key: first.get(key) for key in ('classes', 'split', 'iou_thr')}
    for key, value in shared.items():
        if any(run.get(key) != value for run in runs):
            raise ValueError(f'runs of different {key} have no common mean: {[run.get(key) for run in runs]}')
    sets = [run['sets'] for run in runs if run.get('sets')]
    # By size: the same set may lie elsewhere on another machine.
    if any([_size(one) for one in found] != [_size(one) for one in sets[0]] for found in sets):
        raise ValueError(f'runs measured on different sets have no common mean: {sets}')
    means = {column: _mean([run[column] for run in runs]) for column in COLUMNS}
    groups = [_mean(group) for group in zip(*(run['groups'] for run in runs))]
    return dict(means, groups=groups, **shared, **(dict(sets=sets[0]) if sets else {}))


def _size(one: Mapping) -> tuple:
    return one['images'], one['boxes'], one['classes']


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(values) / len(values)


def _by_column(figures: Mapping) -> dict[str, float | None]:
    groups = {f'group {index}': value for index, value in enumerate(figures['groups'])}
    if len(figures['groups']) == 1:
        return dict(groups, old=figures['all'])
    return dict(groups, **{column: figures.get(column) for column in COLUMNS})


def _old_kept(figures: Mapping, teacher: Mapping) -> float | None:
    """What is left of the teacher's AP, where the old classes are the teacher's, measured on the same sets."""
    old = len(figures['classes']) - figures['split'][-1]
    comparable = figures['classes'][:old] == teacher['classes'] and same_sets(figures, teacher)
    return _ratio(figures['old'], teacher['all']) if comparable else None


def _share_of_joint(figures: Mapping, joint: Mapping) -> dict[str, float | None]:
    if figures['classes'] != joint['classes'] or not same_sets(figures, joint):
        return {}
    same_new = figures['split'][-1] == joint['split'][-1]
    return {
        'new/joint': _ratio(figures['new'], joint['new']) if same_new else None,
        'all/joint': _ratio(figures['all'], joint['all']),
    }


def _ratio(value: float | None, bound: float | None) -> float | None:
    return value / bound if value is not None and bound else None


def _per_cent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'
