"""Methods beside each other on several splits, over seeds: what ``tools/compare.py`` tabulates. Pure functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..table_layout import markdown_table, size_told
from .sources import same_sets, sources_told
from .tables import COLUMNS, figures_of_chain, mean_figures, measure_name

MEAN = 'mean of splits'
"""What stands in the place of a split in the rows of the mean over all splits."""


@dataclass
class MethodRun:
    """One method on one split with one seed.

    Attributes:
        split: The split's name.
        method: The method's.
        seed: The seed.
        stages: The content of each stage's ``metrics.json``, the first stage first; of joint training its only one. A stage
            without figures, as a teacher that was brought may be, is left out.
        complete: Whether ``stages`` are all stages.
        is_joint: Whether it is joint training, which the others are compared with.
        cost: The content of the last stage's ``cost.json``; ``None`` where there is none.
    """

    split: str
    method: str
    seed: int
    stages: Sequence[Mapping]
    complete: bool = True
    is_joint: bool = False
    cost: Mapping | None = None


@dataclass
class Over:
    """A figure over seeds.

    Attributes:
        values: By seed; those where it is undefined are left out.
        mean: Their mean, ``None`` of none.
        spread: Half of their range, ``(max - min) / 2``; ``None`` of fewer than two.
    """

    values: Mapping[int, float]
    mean: float | None = field(init=False)
    spread: float | None = field(init=False)

    def __post_init__(self) -> None:
        found = list(self.values.values())
        self.mean = sum(found) / len(found) if found else None
        self.spread = (max(found) - min(found)) / 2 if len(found) > 1 else None


@dataclass
class MethodRow:
    """A row of the table.

    Attributes:
        split: The split, or :data:`MEAN`.
        method: The method.
        is_joint: Whether it is joint training.
        seeds: Those that have figures.
        figures: By the names of :func:`run_figures`.
    """

    split: str
    method: str
    is_joint: bool
    seeds: Sequence[int]
    figures: Mapping[str, Over]


def run_figures(run: MethodRun, joint: MethodRun | None = None, finetune: MethodRun | None = None) -> dict[str, float | None]:
    """The figures of one run (protocol 11).

    Args:
        run: The run.
        joint: Joint training of the same split with the same seed.
        finetune: Fine-tuning of them, or whatever its step is compared with.

    Returns:
        ``old``, ``new``, ``all``, ``avg`` as fractions; ``forgetting``, the mean over all groups but the newest of the best
        earlier AP minus the final one, and ``fpp`` (both of a chain whose stages all have figures); ``gap``, ``all/joint``,
        ``omega``, ``rsd``, ``rpd``, see :mod:`mmilmil.evaluation.forgetting`; ``step``, the time of a step without data as a
        multiple of fine-tuning's, measured on the same device in as many threads and processes; ``step_seconds``;
        ``peak_memory_mib``; ``memory_bytes``, ``images``, ``image_bytes`` that the method keeps. ``None`` where undefined.
    """
    last = run.stages[-1]
    found = {name: last[name] for name in COLUMNS}
    bound = joint.stages[-1] if joint else None
    chain = figures_of_chain(run.stages, bound)
    lost = [value for value in chain['group_forgetting'][:-1] if value is not None]
    # Other sets in an earlier stage: what was lost there was not measured.
    followed = run.complete and len(run.stages) > 1 and all(same_sets(stage, last) for stage in run.stages)
    found['forgetting'] = sum(lost) / len(lost) if followed and lost else None
    found['fpp'] = chain['fpp'] if followed else None
    found['gap'], relative = chain.get('abs_gap'), chain.get('rel_gap')
    found['all/joint'] = None if relative is None else 1 - relative
    found['omega'] = chain.get('omega') if followed else None
    found['rsd'], found['rpd'] = chain.get('rsd'), chain.get('rpd')
    return {**found, **_cost(run, finetune)}


def _cost(run: MethodRun, finetune: MethodRun | None) -> dict[str, float | None]:
    cost, other = run.cost or {}, (finetune.cost if finetune else None) or {}
    step, least = cost.get('step_seconds'), other.get('step_seconds')
    alike = all(cost.get(key) == other.get(key) for key in ('device', 'threads', 'processes'))
    # What joint training keeps is everything, which its file does not count.
    kept = {} if run.is_joint else cost.get('kept', {})
    return dict(
        step=step / least if step and least and alike else None,
        step_seconds=step,
        peak_memory_mib=cost.get('peak_memory_mib'),
        **{name: kept.get(name) for name in ('memory_bytes', 'images', 'image_bytes')})


def method_rows(runs: Sequence[MethodRun], finetune: str | None = None) -> list[MethodRow]:
    """A row for each method on each split, in their order, then, of several splits, the mean over them of each method.

    Args:
        runs: Those that are finished.
        finetune: The method whose step the others' is told relative to.

    Raises:
        ValueError: runs of a method are not of the same classes, or measured in other ways or on other sets.
    """
    rows = []
    for split in dict.fromkeys(run.split for run in runs):
        here = [run for run in runs if run.split == split]
        joint = next((run.method for run in here if run.is_joint), None)
        for method in dict.fromkeys(run.method for run in here):
            mine = [run for run in here if run.method == method]
            mean_figures([run.stages[-1] for run in mine])  # refuses what has no mean
            figures = {run.seed: run_figures(run, _of(here, joint, run.seed), _of(here, finetune, run.seed)) for run in mine}
            rows.append(MethodRow(split, method, mine[0].is_joint, [run.seed for run in mine], _over(figures)))
    return [*rows, *_means(rows)]


def _of(runs: Sequence[MethodRun], method: str | None, seed: int) -> MethodRun | None:
    return next((run for run in runs if (run.method, run.seed) == (method, seed)), None)


def _over(figures: Mapping[int, Mapping[str, float | None]]) -> dict[str, Over]:
    names = next(iter(figures.values()))
    return {name: Over({seed: found[name] for seed, found in figures.items() if found[name] is not None}) for name in names}


def _means(rows: Sequence[MethodRow]) -> list[MethodRow]:
    """Of the methods that all splits have, the mean over the splits of each seed that all have."""
    splits = list(dict.fromkeys(row.split for row in rows))
    means = []
    for method in dict.fromkeys(row.method for row in rows) if len(splits) > 1 else ():
        mine = [row for row in rows if row.method == method]
        seeds = [seed for seed in mine[0].seeds if all(seed in row.seeds for row in mine)]
        if len(mine) < len(splits) or not seeds:
            continue
        figures = {}
        for name in mine[0].figures:
            values = [row.figures[name].values for row in mine]
            figures[name] = Over({seed: sum(one[seed] for one in values) / len(values) for seed in seeds
                                  if all(seed in one for one in values)})
        means.append(MethodRow(MEAN, method, mine[0].is_joint, seeds, figures))
    return means


def comparison_table(rows: Sequence[MethodRow], finetune: str | None = None) -> str:
    """The rows as a Markdown table.

    Args:
        rows: See :func:`method_rows`.
        finetune: The method whose step the others' is told relative to.

    Returns:
        Lines of Markdown: APs, differences and shares times 100, spread behind a ±, ``-`` where a figure is undefined.
    """
    columns: dict[str, Callable[[MethodRow], str]] = {
        'seeds': lambda row: str(len(row.seeds)),
        **{title: _percent(name) for title, name in (
            ('old', 'old'), ('new', 'new'), ('all', 'all'), ('avg', 'avg'), ('forgetting', 'forgetting'), ('FPP', 'fpp'),
            ('gap to joint', 'gap'), ('all/joint', 'all/joint'), ('Omega', 'omega'), ('RSD', 'rsd'), ('RPD', 'rpd'))},
        f'step / {finetune or "fine-tuning"}': lambda row: _told(row.figures['step'], 1, 2),
        'peak MiB': lambda row: _told(row.figures['peak_memory_mib'], 1, 0),
        'kept memory': lambda row: _size(row, 'memory_bytes'),
        'kept images': _images,
    }
    cells = [['split', 'method', *columns]]
    cells += [[row.split, row.method, *(cell(row) for cell in columns.values())] for row in rows]
    return markdown_table(cells)


def lines_below(runs: Sequence[MethodRun], on_val: bool = False) -> list[str]:
    """What a reader of the table has to know: measure, split, what ± is, sets, and what the costs were measured by.

    Args:
        runs: Those that are finished.
        on_val: Whether the figures are those of the validation set.
    """
    measures = ' or '.join(dict.fromkeys(measure_name(run.stages[-1]) for run in runs))
    seeds = sorted({run.seed for run in runs})
    told = f'seed {seeds[0]}' if len(seeds) == 1 else f'mean over the seeds {", ".join(map(str, seeds))} ± half of their range'
    lines = [f'old, new, all, avg: {measures} in per cent on {"val" if on_val else "test"}, {told}. '
             'In per cent too: forgetting (mean over the old groups), FPP, gap to joint (AbsGap), all/joint, '
             'Omega, RSD and RPD; lower is better, but for all/joint and Omega. docs/protocol.md, section 11, defines them.']
    devices = dict.fromkeys((run.cost['device'], run.cost['peak_memory_of'], run.cost['threads']) for run in runs if run.cost)
    for device, kind, threads in devices:
        lines.append(f'Costs are those of the last stage, on {device} ({threads} thread{"s" * (threads != 1)}): step is the '
                     f'median time of a training step without loading its batch, peak memory that of the process ({kind}).')
    for split in dict.fromkeys(run.split for run in runs):
        lasts = {f'{run.method}, seed {run.seed}': run.stages[-1] for run in runs if run.split == split}
        lines += [f'{split}: {line}' for line in sources_told(lasts)]
    return lines


def rows_for_json(rows: Sequence[MethodRow]) -> list[dict]:
    """The rows as plain data; APs and shares as fractions, forgotten points too."""
    return [dict(split=row.split, method=row.method, is_joint=row.is_joint, seeds=list(row.seeds), figures={
        name: dict(mean=over.mean, spread=over.spread, values={str(seed): value for seed, value in over.values.items()})
        for name, over in row.figures.items()}) for row in rows]


def _percent(name: str) -> Callable[[MethodRow], str]:
    return lambda row: _told(row.figures[name], 100, 1)


def _told(figure: Over, factor: float, digits: int) -> str:
    if figure.mean is None:
        return '-'
    spread = '' if figure.spread is None else f' ±{factor * figure.spread:.{digits}f}'
    # What rounds to zero has no sign.
    return f'{round(factor * figure.mean, digits) + 0.:.{digits}f}{spread}'


def _size(row: MethodRow, name: str) -> str:
    size = row.figures[name].mean
    return '-' if size is None else size_told(size)


def _images(row: MethodRow) -> str:
    if row.is_joint:
        return 'all'
    number, size = row.figures['images'].mean, row.figures['image_bytes'].mean
    if number is None:
        return '-'
    return f'{number:.0f} ({size_told(size)})' if number and size is not None else f'{number:.0f}'
