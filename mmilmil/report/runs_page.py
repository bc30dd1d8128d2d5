"""The report of several runs: a chain with what stands beside it, a comparison, or any runs side by side."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluation.comparison_table import MethodRow, MethodRun, Over, comparison_table, lines_below
from ..evaluation.confusion import Confusion
from ..evaluation.error_kinds import ERROR_KINDS, error_counts
from ..evaluation.tables import chains_table, measure_name, results_table
from ..table_layout import size_told
from ..version import __version__
from . import charts
from .choice import choose
from .judged import Pair, galleries, picture_words
from .page import Chart, Commands, Facts, Links, Note, Page, Section, Table, Tiles, rows_of
from .relatives import Settings, aligned, apart, chains_among, comparable, joint_of, runs_in
from .run import Run, is_run
from .stage_page import group_matrix, percent, problems_section, table_blocks, unique_names

COMPARISON_FILE = 'comparison.json'
_COLUMNS, _CLASSES = 4, 40  # pictures side by side, classes in a chart


@dataclass(frozen=True)
class Family:
    """Runs of one split: those of the same classes in the same groups, and the stages before them.

    Attributes:
        name: What it is called in headings; empty where there is one.
        runs: All, the first stages first.
        finals: Those of all the classes, joint training last.
        names: Of all runs, by folder.
    """

    name: str
    runs: Sequence[Run]
    finals: Sequence[Run]
    names: Mapping[Path, str]

    def called(self, run: Run) -> str:
        """A run's name among those of the page."""
        return self.names[run.folder.resolve()]

    @property
    def main(self) -> Run:
        """The run that pictures are chosen by: the one with a teacher of the shortest name, else the first."""
        taught = [run for run in self.finals if run.has_teacher and not run.is_joint]
        return min(taught or self.finals, key=lambda run: (len(run.name), run.name))

    @property
    def chains(self) -> list[list[Run]]:
        """Those that end in a final run, each from the stage on whose figures compare with its."""
        ends = {run.folder.resolve() for run in self.finals}
        chains = [comparable(chain) for chain in chains_among(self.runs) if chain[-1].folder.resolve() in ends]
        return [chain for chain in chains if len(chain) > 1]

    @property
    def joint(self) -> Run | None:
        """Joint training, where its figures compare with the main run's."""
        found = joint_of(self.finals)
        return found if found and not apart(self.main, found) else None

    def title(self, words: str) -> str:
        """A heading."""
        return f'{words}: {self.name}' if self.name else words


def families(runs: Sequence[Run]) -> list[Family]:
    """Runs that have figures, by the split that they belong to."""
    shown = [run for run in runs if run.figures]
    mixed = len({run.tested for run in shown}) > 1
    names = {run.folder.resolve(): f'{name}{" (validation)" * (mixed and not run.tested)}'
             for run, name in zip(shown, unique_names(shown))}
    chains = chains_among(shown)
    key = {run.folder.resolve(): (tuple(run.figures['classes']), tuple(run.figures['split'])) for run in shown}
    by_split: dict[tuple, list[list[Run]]] = {}
    for chain in chains:
        by_split.setdefault(key[chain[-1].folder.resolve()], []).append(chain)
    found = []
    for chains in by_split.values():
        members: dict[Path, Run] = {}
        for run in sorted((run for chain in chains for run in chain), key=lambda run: len(run.figures['classes'])):
            members.setdefault(run.folder.resolve(), run)
        finals = sorted({chain[-1].folder.resolve(): chain[-1] for chain in chains}.values(), key=lambda run: run.is_joint)
        found.append(Family('', list(members.values()), finals, names))
    if len(found) > 1:
        found = [Family(family.main.name, family.runs, family.finals, family.names) for family in found]
    return found


def runs_page(title: str, runs: Sequence[Run], settings: Settings, out: Path) -> Page:
    """Runs side by side.

    Args:
        title: Of the page.
        runs: The runs.
        settings: What is drawn.
        out: The folder that the page will lie in.

    Raises:
        InputError: none has figures.
    """
    found = families(runs)
    if not found:
        raise InputError(f'no run has figures, so there is nothing to report: {"; ".join(runs[0].problems)}')
    first = found[0]
    stages = max((len(chain) for family in found for chain in family.chains), default=1)
    measure = ' or '.join(dict.fromkeys(measure_name(run.figures) for run in first.runs))
    sections = [section for family in found for section in family_sections(family, settings)]
    measured = {run.tested for family in found for run in family.runs}
    where = ('the test set, of runs that are not tested on the validation set' if len(measured) > 1
             else 'the test set' if True in measured else 'the validation set, as no run is tested')
    return Page(title, f'{len(runs)} runs, chains of {stages} stage{"s" * (stages != 1)}. {measure} on {where}.'
                if stages > 1 else f'{len(runs)} runs. {measure} on {where}.',
                [*sections, costs_section(runs), links_section(runs, out), made_of_runs(runs), problems_section(runs)],
                {'runs': {name: run.figures for family in found for run in family.runs for name in [family.called(run)]}})


def family_sections(family: Family, settings: Settings) -> list[Section]:
    """Everything about the runs of one split."""
    pairs = _pairs(family)
    return [glance_section(family), figures_section(family), *stage_sections(family), class_section(family),
            errors_section(family, pairs, settings), losses_section(family), pictures_section(family, pairs, settings)]


def glance_section(family: Family) -> Section:
    """The figures of the main run."""
    run, joint = family.main, family.joint
    figures = run.figures
    measure = measure_name(figures)
    tiles = []
    for name in ('old', 'new', 'all'):
        if figures[name] is not None and not (name == 'new' and len(figures['groups']) == 1):
            bound = joint.figures[name] if joint and joint is not run else None
            under = f'joint {percent(bound)} ({100 * (figures[name] - bound):+.1f})' if bound is not None else ''
            tiles.append((f'{measure}, {name} classes', f'{percent(figures[name])} %', under))
    warned = [Note(one.other_weights, missing=True) for one in family.runs if one.other_weights]
    return Section(family.title('At a glance'), [Tiles(tiles), *warned], f'The run {family.called(run)}, after its last stage.')


def figures_section(family: Family) -> Section:
    """All runs in a table, and what chains forgot."""
    rows = {family.called(run): run.row for run in family.runs}
    joint, chains = family.joint, family.chains
    main = next((chain for chain in chains if chain[-1] is family.main), None)
    blocks = table_blocks(results_table(rows, teacher=family.called(main[0]) if main else None,
                                        joint=family.called(joint) if joint else None))
    if chains:
        told = {family.called(chain[-1]): [run.figures for run in chain] for chain in chains}
        table = chains_table(told, joint.figures if joint else None)
        blocks += [Note('What was forgotten, in points of AP, and what lies between a chain and joint training, in per cent '
                        '(docs/protocol.md, section 11):'), *table_blocks(table)]
    if len(family.finals) > 1:
        blocks.append(Chart(charts.method_dots(
            {family.called(run): {name: (run.figures[name], None) for name in ('old', 'new', 'all')} for run in family.finals},
            f'{measure_name(family.main.figures)} (%)'), 'Old, new and all classes after the last stage.'))
    return Section(family.title('Figures'), blocks, 'Per cent, a row a run.')


def stage_sections(family: Family) -> list[Section]:
    """AP of each group over the stages, of the main chain as a heat map and of all as curves of the first group."""
    chains = family.chains
    if not chains:
        return []
    main = next((chain for chain in chains if chain[-1] is family.main), chains[0])
    values, measure = group_matrix(main), measure_name(main[-1].figures)
    groups = [f'group {index}' for index in range(values.shape[1])]
    told = [f'{index + 1} {family.called(run)}' for index, run in enumerate(main)]
    series = {name: (list(range(len(main))), _gaps(column)) for name, column in zip(groups, values.T)}
    numbers = [str(index + 1) for index in range(len(main))]
    blocks = [
        Chart(charts.group_heat(told, groups, values, f'{measure} (%)'), f'{family.called(main[-1])}: each row is a stage, '
              'each column a group of classes.', wide=len(groups) > 6),
        Chart(charts.curves(series, 'stage', f'{measure} (%)', bounds=(0, 100), marks=True, ticks=numbers, columns=3),
              'The same as curves, one a group.')]
    same = [chain for chain in chains if len(chain) == len(main)]
    if len(same) > 1:
        first = {family.called(chain[-1]): (list(range(len(chain))), _gaps(group_matrix(chain)[:, 0])) for chain in same}
        blocks.append(Chart(charts.curves(first, 'stage', f'{measure} (%)', bounds=(0, 100), marks=True, ticks=numbers,
                                          columns=1), 'The first group over the stages, of each chain.'))
    blocks.append(Table([['stage', *groups], *([name, *(percent(None if np.isnan(value) else value) for value in row)]
                                               for name, row in zip(told, values))], 'The numbers', folded=True))
    return [Section(family.title('Over the stages'), blocks)]


def _gaps(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else 100 * float(value) for value in values]


def class_section(family: Family) -> Section:
    """AP of each class, a column a run."""
    finals, main = family.finals, family.main
    chain = next((chain for chain in family.chains if chain[-1] is main), [main])
    before = chain[-2] if len(chain) > 1 else None
    classes, stage = list(main.stage.classes), main.stage
    columns = [*([before] if before else []), *finals]
    names = [family.called(run) for run in columns]
    rows = [['class', *names], *([name, *(percent(run.figures['per_class'].get(name)) for run in columns)] for name in classes)]
    old = before.figures['per_class'] if before else {}
    after = main.figures['per_class']
    shown = classes[:_CLASSES] if len(classes) <= _CLASSES else sorted(
        classes, key=lambda name: (after[name] or 0) - (old.get(name) or 0))[:_CLASSES]
    shown = [name for name in classes if name in set(shown)]
    rule = '' if len(shown) == len(classes) else f' Of {len(classes)} classes the {_CLASSES} that lost most; the table has all.'
    blocks = [Chart(charts.class_bars({name: (old.get(name), after[name]) for name in shown},
                                      len(shown) if len(stage.groups) == 1 else sum(name in stage.old for name in shown),
                                      family.called(before) if before else '',
                                      f'{measure_name(main.figures)} (%)'),
                    f'{family.called(main)}{", upright lines are its teacher" if before else ""}.{rule}')]
    if 1 < len(columns) <= 12:
        values = np.array([[run.figures['per_class'].get(name) for run in columns] for name in shown], dtype=float)
        blocks.append(Chart(charts.group_heat(shown, [str(index + 1) for index in range(len(columns))], values,
                                              f'{measure_name(main.figures)} (%)'),
                            'Each class by each run: ' + ', '.join(f'{index + 1} {name}' for index, name in enumerate(names))
                            + '.'))
    blocks.append(Table(rows, f'All {len(classes)} classes', folded=True))
    return Section(family.title('Classes'), blocks)


def _pairs(family: Family) -> dict[str, Pair]:
    """The final runs' detections, those of the same images as the main one's."""
    main = family.main
    if main.judged is None:
        return {}
    chain = next((chain for chain in family.chains if chain[-1] is main), [main])
    pair = Pair.of(main.judged, chain[-2] if len(chain) > 1 else None)
    found = {family.called(main): pair}
    for run in family.finals:
        places = aligned(main.judged, run.judged)
        if run is not main and places is not None:
            found[family.called(run)] = Pair(pair.stage, pair.paths, pair.sizes, [run.judged.images[place] for place in places])
    return found


def errors_section(family: Family, pairs: Mapping[str, Pair], settings: Settings) -> Section:
    """Blocks of the confusion matrices and errors by kind, a column a run."""
    if not pairs:
        return Section(family.title('Errors'), [Note('No run has the detections of its test: see “What is missing”.',
                                                     missing=True)])
    stage = next(iter(pairs.values())).stage
    blocks, kinds = {}, {}
    for name, pair in pairs.items():
        confusion = Confusion(len(stage.classes), len(stage.old), settings.score_thr)
        for image in pair.student:
            confusion.add(image)
        blocks[name] = confusion.blocks()
        kinds[name] = error_counts(pair.student, len(stage.classes), len(stage.old), settings.score_thr)
    rows = [['objects taken for what', *pairs]]
    for block in next(iter(blocks.values())):
        if stage.old or 'old' not in block:
            rows.append([block, *(str(blocks[name][block]) for name in pairs)])
    groups = ('old', 'new') if stage.old else ('new', )
    errors = [['errors by kind', *pairs]]
    for group in groups:
        errors += [[f'{group}: {kind}', *(str(kinds[name][group][kind]) for name in pairs)] for kind in ERROR_KINDS]
    return Section(family.title('Errors'), [Table(rows), Table(errors)],
                   f'Counts at a score of {settings.score_thr:g}; the report of each run says what they mean.')


def losses_section(family: Family) -> Section:
    """Total losses beside each other."""
    series = {family.called(run): ([line['step'] for line in run.steps], [line.get('loss') for line in run.steps])
              for run in family.runs if run.steps}
    if not series:
        return Section(family.title('Training'), [])
    return Section(family.title('Training'), [Chart(charts.curves(series, 'step', 'loss', columns=1),
                                                    'The total loss of each run; the report of each has all terms.')])


def pictures_section(family: Family, pairs: Mapping[str, Pair], settings: Settings) -> Section:
    """Ground truth, the teacher and up to three runs side by side."""
    if not pairs:
        return Section(family.title('Pictures'), [])
    name = family.called(family.main)
    pair = pairs[name]
    kinds = choose(pair.student, pair.teacher, len(pair.stage.classes), len(pair.stage.old), settings.images,
                   settings.score_thr, settings.seed)
    classes = len(pair.stage.classes)
    columns = {'teacher': (pair.teacher, pair.taught)} if pair.teacher is not None else {}
    columns |= {title: (one.student, classes) for title, one in pairs.items()}
    columns = dict(list(columns.items())[:_COLUMNS - 1])
    return Section(family.title('Pictures'), galleries(pair, kinds, columns, settings),
                   f'Chosen by {name}. {picture_words(settings, bool(pair.stage.old))}')


def costs_section(runs: Sequence[Run]) -> Section:
    """What the trainings cost."""
    rows = [['run', 'step (s)', 'peak (MiB)', 'memory', 'images', 'final.pth', 'device']]
    for name, run in zip(unique_names(runs), runs):
        if run.figures is None or not run.cost:
            continue
        cost, kept = run.cost, run.cost['kept']
        size = (run.folder / 'final.pth').stat().st_size if (run.folder / 'final.pth').is_file() else None
        rows.append([name, _number(cost.get('step_seconds'), 3), _number(cost.get('peak_memory_mib'), 0),
                     size_told(kept.get('memory_bytes', 0)), str(kept.get('images', 0)),
                     '-' if size is None else size_told(size), str(cost.get('device', '-'))])
    return Section('Cost, and what is kept', [Table(rows)] if len(rows) > 1 else [])


def _number(value: float | None, decimals: int) -> str:
    return '-' if value is None else f'{value:.{decimals}f}'


def links_section(runs: Sequence[Run], out: Path) -> Section:
    """The reports of the runs themselves, where they are written."""
    links = [(name, os.path.relpath(page, out)) for name, run in zip(unique_names(runs), runs)
             if (page := run.folder / 'report' / 'index.html').is_file()]
    return Section('Reports of the runs', [Links(links)] if links else [])


def made_of_runs(runs: Sequence[Run]) -> Section:
    """Where the runs lie, and how they are made."""
    rows = [['run', 'folder', 'config', 'seed', 'teacher']]
    for name, run in zip(unique_names(runs), runs):
        seed = (run.training_config.get('randomness') or {}).get('seed')
        rows.append([name, str(run.folder.resolve()), run.config_file.name if run.config_file else '-', str(seed),
                     run.teacher.name if run.teacher else '-'])
    if not runs:
        return Section('What was run', [])
    command = shlex.join(['python', 'tools/report.py', *(str(run.folder.resolve()) for run in runs), '--out', 'FOLDER'])
    facts = [('report by', f'mmilmil {__version__}')]
    return Section('What was run', [Table(rows), Facts(facts), Commands(command, 'To set these runs side by side once more:')])


def comparison_page(folder: Path, figures: Path, seeds: Sequence[Path], settings: Settings, out: Path) -> Page:
    """Methods on splits over seeds.

    Args:
        folder: The comparison's work dir.
        figures: Its ``comparison.json``.
        seeds: The folders with its runs, one a seed; used where there is no ``comparison.json`` that tells.
        settings: What is drawn.
        out: The folder that the page will lie in.

    Raises:
        InputError: there are neither figures nor runs with some.
    """
    notes: list[object] = []
    content = _content(figures, notes)
    sections = comparison_sections(content) if content else []
    by_seed = _runs_of(content, folder) if content else {seed.name: runs_in(seed) for seed in seeds}
    runs = list({run.folder: run for of_seed in by_seed.values() for run in of_seed}.values())
    first = next(iter(by_seed), '')
    found = families(by_seed.get(first, []))
    if not content and not found:
        raise InputError(f'{folder} has neither {COMPARISON_FILE} nor runs with figures: let tools/compare.py end')
    sections += [section for family in found for section in family_sections(family, settings)]
    seed = f' The sections of single runs are of {first}.' if len(by_seed) > 1 else ''
    title = folder.resolve().name
    methods = len({row['method'] for row in content['rows']}) if content else len(runs)
    what = f'{methods} method{"s" * (methods != 1)}' if content else f'{methods} runs'
    return Page(title, f'A comparison of {what} over {len(by_seed)} seed{"s" * (len(by_seed) != 1)}.{seed}',
                [Section('Not complete', notes), *sections, costs_section(runs), links_section(runs, out), made_of_runs(runs),
                 problems_section(runs)],
                {'rows': content['rows'] if content else []})


def _content(path: Path, notes: list[object]) -> dict[str, Any] | None:
    """The comparison's figures; without them a note that says so."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if not all(isinstance(content.get(key), list) for key in ('rows', 'runs', 'failed', 'configs')):
            raise ValueError('it holds no figures by method')
        for one in content['runs']:
            if not isinstance(one['seed'], int) or not all(isinstance(name, str) for name in one.get('work_dirs', ())):
                raise ValueError('it holds no figures by seed and work dir')
        for row in content['rows']:
            _row(row)
        return content
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        notes.append(Note(f'{path} cannot be used ({error}): it is written when tools/compare.py ends; call it again.',
                          missing=True))
        return None


def _runs_of(content: Mapping[str, Any], folder: Path) -> dict[str, list[Run]]:
    """The runs that a comparison is of, by the folder of their seed: those that it names, with figures of its split.

    Of a comparison that names no folders, as one of an earlier version, all of its seeds.
    """
    found: dict[str, dict[Path, None]] = {}
    for one in content['runs']:
        seed = f'seed{one["seed"]}'
        named = [folder / name for name in one['work_dirs']] if 'work_dirs' in one else [
            run.folder for run in runs_in(folder / seed)]
        found.setdefault(seed, {}).update(dict.fromkeys(path for path in named if is_run(path)))
    on_val = content.get('split') == 'val'
    return {seed: [Run(path, on_val=on_val) for path in sorted(paths)] for seed, paths in found.items()}


def _row(row: Mapping[str, Any]) -> MethodRow:
    return MethodRow(row['split'], row['method'], row['is_joint'], row['seeds'], {
        name: Over({int(seed): value for seed, value in over['values'].items()}) for name, over in row['figures'].items()})


def comparison_sections(content: Mapping[str, Any]) -> list[Section]:
    """The table of methods, a chart of each split, and how the comparison was made."""
    rows = [_row(row) for row in content['rows']]
    runs = [MethodRun(one['split'], one['method'], one['seed'], one['stages'], is_joint=one['is_joint'], cost=one['cost'])
            for one in content['runs']]
    measure = ' or '.join(dict.fromkeys(measure_name(run.stages[-1]) for run in runs))
    blocks: list[object] = [Table(rows_of(comparison_table(rows)))]
    for split in dict.fromkeys(row.split for row in rows):
        mine = [row for row in rows if row.split == split]
        blocks.append(Chart(charts.method_dots(
            {row.method: {name: (row.figures[name].mean, row.figures[name].spread) for name in ('old', 'new', 'all')}
             for row in mine}, f'{measure} (%)'),
            f'{split}{": bars are half of the range over seeds" * (len(mine[0].seeds) > 1)}.'))
    blocks += [Note(line) for line in lines_below(runs, content.get('split') == 'val')]
    blocks += [Note(f'failed: {line}', missing=True) for line in content['failed']]
    made = content.get('made') or {}
    told = [Section('Methods', blocks)]
    if made:
        versions = ', '.join(f'{name} {value}' for name, value in (made.get('versions') or {}).items())
        machine = made.get('machine') or {}
        told.append(Section('How it was made', [
            Facts([('versions', versions),
                   ('machine', ', '.join(map(str, (machine.get('cpu'), machine.get('system'), *machine.get('gpus', ()))))),
                   ('commit', f'{made.get("commit") or "-"}{" with changes" if made.get("changed") else ""}')]),
            Commands(made.get('command', ''))]))
    return told
