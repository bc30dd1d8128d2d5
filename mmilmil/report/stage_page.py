"""The report of one stage."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..evaluation.forgetting import ap_matrix, group_ap
from ..evaluation.tables import measure_name, results_table
from ..table_layout import size_told
from . import charts
from .judged import Pair, confusion_section, curve_section, error_section, picture_section
from .page import Chart, Note, Page, Section, Table, Tiles, rows_of
from .relatives import Settings, ancestors, apart, beside, comparable, joint_of
from .run import Run
from .training import cost_section, made_of_section, pruned_section, teacher_section, training_section

_SHOWN_CLASSES = 40


def stage_page(run: Run, settings: Settings) -> Page:
    """What a stage learned and forgot, from the files of its work dir.

    Raises:
        InputError: the folder has nothing that a report could tell.
    """
    if run.figures is None and not run.steps and not run.config:
        raise InputError(f'{run.folder} holds nothing of a run: {"; ".join(run.problems)}. Give the work dir of a training, a '
                         'chain or a comparison')
    chain = ancestors(run)
    teacher = chain[-2] if len(chain) > 1 else None
    others = beside(run)
    if run.figures:
        found = run.judged
        pair = Pair.of(found, teacher) if found else None
        compared = comparable(chain)
        before = compared[-2] if len(compared) > 1 else None
        warned = [Note(run.other_weights, missing=True)] if run.other_weights else []
        sections = [
            Section('At a glance', [tiles(run, before, others), Note(glance(run, before, others)), *warned]),
            figures_section(run, before, others),
            stages_section(compared),
            classes_section(run, before),
            curve_section(run, pair, _per_class(before)),
            confusion_section(pair, settings),
            error_section(pair, settings),
            picture_section(pair, settings)]
    else:
        pair, sections = None, [Section('At a glance', [Note('The run has no figures yet.', missing=True)])]
    sections += [training_section(run), teacher_section(run, pair), cost_section(run), pruned_section(run),
                 made_of_section(run)]
    return Page(f'{run.name}', subtitle(run), [*sections, problems_section([run, *chain[:-1]])],
                {'name': run.name, 'figures': run.figures})


def subtitle(run: Run) -> str:
    """What kind of run it is, in a line."""
    stage = run.stage
    if stage is None:
        return 'A run of which no classes are known.'
    if len(stage.groups) == 1:
        kind = f'First stage: {_number(len(stage.classes), "class")}'
    elif run.is_joint:
        kind = f'Joint training on all {len(stage.classes)} classes, the upper bound of {"+".join(map(str, stage.split))}'
    else:
        kind = (f'Stage {len(stage.groups)}: {_number(len(stage.new), "new class")} beside {_number(len(stage.old), "old one")}'
                f' ({"+".join(map(str, stage.split))})')
    if not run.figures:
        return kind
    where = 'the test set' if run.tested else 'the validation set, as the run is not tested'
    of = f', of {" and ".join(run.measured)}' if run.measured else ''
    return f'{kind}. {measure_name(run.figures)} on {where}, {run.figures.get("images", "?")} images{of}.'


def _number(count: int, word: str) -> str:
    plural = {'class': 'classes', 'new class': 'new classes', 'old one': 'old ones'}[word]
    return f'{count} {word if count == 1 else plural}'


def percent(value: float | None) -> str:
    """A fraction as tables tell it."""
    return '-' if value is None else f'{100 * value:.1f}'


def tiles(run: Run, teacher: Run | None, others: Sequence[Run]) -> Tiles:
    """The figures that are seen first."""
    figures, joint = run.figures, joint_of(others)
    measure = measure_name(figures)
    if figures['old'] is None and len(figures['groups']) == 1:
        shown = [(f'{measure}, all classes', f'{percent(figures["all"])} %', '')]
    else:
        shown = [
            (f'{measure}, old classes', f'{percent(figures["old"])} %',
             _against(figures['old'], _old_of(run, teacher), 'teacher')),
            (f'{measure}, new classes', f'{percent(figures["new"])} %', _against(figures['new'], _of(joint, 'new'), 'joint')),
            (f'{measure}, all classes', f'{percent(figures["all"])} %', _against(figures['all'], _of(joint, 'all'), 'joint'))]
    if run.cost:
        kept = run.cost['kept']
        images = kept.get('images', 0)
        size = size_told(kept.get('memory_bytes', 0) + kept.get('image_bytes', 0))
        shown.append(('Kept of old data', 'nothing' if size == '0' else size, f'{images or "no"} image{"s" * (images != 1)}'))
    return Tiles(shown)


def _of(run: Run | None, name: str) -> float | None:
    return run.figures[name] if run else None


def _old_of(run: Run, teacher: Run | None) -> float | None:
    """The teacher's AP of the old classes, where the two compare."""
    if teacher is None or list(teacher.stage.classes) != list(run.stage.old) or apart(teacher, run):
        return None
    return teacher.figures['all']


def _against(value: float | None, other: float | None, name: str) -> str:
    if value is None or other is None:
        return ''
    return f'{name} {percent(other)} ({100 * (value - other):+.1f})'


def glance(run: Run, teacher: Run | None, others: Sequence[Run]) -> str:
    """Two sentences on what was kept and learned."""
    figures, told = run.figures, []
    old = _old_of(run, teacher)
    if old and figures['old'] is not None:
        told.append(f'It keeps {100 * figures["old"] / old:.1f} % of what its teacher knew.')
    joint = joint_of(others)
    if joint and joint.figures['new'] and joint.figures['all']:
        told.append(f'It learns the new classes to {100 * figures["new"] / joint.figures["new"]:.1f} % of joint training, and '
                    f'has {100 * figures["all"] / joint.figures["all"]:.1f} % of its AP over all classes.')
    known = {name: ap for name, ap in figures['per_class'].items() if ap is not None}
    if known:
        low, high = min(known, key=known.get), max(known, key=known.get)
        told.append(f'The best class is {high} ({percent(known[high])}), the worst {low} ({percent(known[low])}).'
                    if low != high else f'Its one class with an object is {low}.')
    return ' '.join(told) or 'No class has an object in the evaluated set.'


def figures_section(run: Run, teacher: Run | None, others: Sequence[Run]) -> Section:
    """The run beside its teacher and whatever compares."""
    runs = [*([teacher] if teacher else []), run, *others]
    names = unique_names(runs)
    rows = {name: one.row for name, one in zip(names, runs)}
    joint = joint_of([*others, run])
    table = results_table(rows, teacher=names[0] if teacher else None, joint=names[runs.index(joint)] if joint else None)
    intro = 'Per cent. Beside it stand the runs in the same folder that know the same classes, measured on the same sets.'
    if not others:
        intro = ('Per cent. Nothing stands beside it: `tools/train_chain.py CONFIG --methods finetune joint --work-dir FOLDER` '
                 'trains a lower and an upper bound.') if len(run.stage.groups) > 1 else 'Per cent.'
    return Section('Figures', table_blocks(table), intro)


def table_blocks(table: str) -> list[object]:
    """A Markdown table with the lines below it."""
    below = [line for line in table.splitlines() if line and not line.startswith('|')]
    return [Table(rows_of(table)), *(Note(line) for line in below)]


def unique_names(runs: Sequence[Run]) -> list[str]:
    """Names of runs, with the folder before those that others have too."""
    names = [run.name for run in runs]
    return [f'{run.folder.resolve().parent.name}/{run.name}' if names.count(run.name) > 1 else run.name for run in runs]


def stages_section(chain: Sequence[Run]) -> Section:
    """AP of each group after each stage."""
    title = 'Over the stages'
    if len(chain) < 2:
        return Section(title, [])
    last = chain[-1].stage
    values = group_matrix(chain)
    groups = [f'group {index}' for index in range(len(last.groups))]
    numbers = [str(index + 1) for index in range(len(chain))]
    measure = measure_name(chain[-1].figures)
    series = {name: (list(range(len(chain))), [None if np.isnan(value) else 100 * value for value in column])
              for name, column in zip(groups, values.T)}
    told = [f'{index + 1} {run.name}' for index, run in enumerate(chain)]
    return Section(title, [
        Chart(charts.group_heat(told, groups, values, f'{measure} (%)'), 'Each row is a stage, each column a group of classes: '
              'down a column is what becomes of it.', wide=len(groups) > 6),
        Chart(charts.curves(series, 'stage', f'{measure} (%)', bounds=(0, 100), marks=True, ticks=numbers, columns=3),
              'The same as curves, one a group.'),
        Table([['stage', *groups], *([name, *(percent(None if np.isnan(value) else value) for value in row)]
                                     for name, row in zip(told, values))], 'The numbers', folded=True)])


def group_matrix(chain: Sequence[Run]) -> np.ndarray:
    """AP of each of the last stage's groups after each stage, (T, G); NaN where a stage does not know all of a group."""
    classes, split = chain[-1].figures['classes'], chain[-1].figures['split']
    values = group_ap(ap_matrix([run.figures for run in chain], classes), split)
    for row, run in zip(values, chain):
        ends = np.cumsum(split)
        row[ends > len(run.figures['classes'])] = np.nan
    return values


def classes_section(run: Run, teacher: Run | None) -> Section:
    """AP of each class before and after."""
    before, after = _per_class(teacher), run.figures['per_class']
    stage, measure = run.stage, measure_name(run.figures)
    names = list(stage.classes)
    shown, rule = names, ''
    if len(names) > _SHOWN_CLASSES:
        order = sorted(names, key=lambda name: -abs((after[name] or 0) - (before[name] or 0)) if before.get(name) is not None
                       else (after[name] or 0) - 2)
        shown = [name for name in names if name in set(order[:_SHOWN_CLASSES])]
        rule = (f' Of {len(names)} classes the {_SHOWN_CLASSES} are drawn that changed most, or where none was there before, '
                'have the lowest AP; the table has all.')
    num_old = len(shown) if len(stage.groups) == 1 else sum(name in stage.old for name in shown)
    caption = f'{measure} of each class{", upright lines are its teacher" if before else ""}.{rule}'
    rows = [['class', 'group', *(['before'] if before else []), 'after', *(['change'] if before else [])]]
    for index, group in enumerate(stage.groups):
        for name in group:
            old, new = before.get(name), after[name]
            change = f'{100 * (new - old):+.1f}' if old is not None and new is not None else '-'
            rows.append([name, str(index), *([percent(old)] if before else []), percent(new), *([change] if before else [])])
    return Section('Classes', [
        Chart(charts.class_bars({name: (before.get(name), after[name]) for name in shown}, num_old,
                                teacher.name if teacher else '', f'{measure} (%)'), caption),
        Table(rows, f'All {len(names)} classes', folded=True)])


def _per_class(run: Run | None) -> Mapping[str, float | None]:
    return run.figures['per_class'] if run else {}


def problems_section(runs: Sequence[Run]) -> Section:
    """Everything that is missing or broken, with what adds it."""
    lines = list(dict.fromkeys(line for run in runs for line in run.problems))
    return Section('What is missing', [Note(line, missing=True) for line in lines])
