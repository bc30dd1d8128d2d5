"""Per-class AP over the class groups of a stage: means, and tables to read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..stage import Stage
from ..table_layout import ascii_table


def group_means(stage: Stage, aps: Sequence[float]) -> dict[str, Any]:
    """Means of per-class AP over groups of classes (protocol 9).

    Args:
        stage: Classes and groups.
        aps: AP by class, (C,); NaN where a class has none, which no mean then counts.

    Returns:
        ``old`` (all groups but the newest), ``new``, ``all``, ``avg`` (= (old + new) / 2) and the list ``groups``,
        oldest first; None where there is nothing to average. With one group ``old`` and ``avg`` are None.
    """
    aps = np.asarray(aps, dtype=float)
    old, new = _mean(aps[:len(stage.old)]), _mean(aps[len(stage.old):])
    ends = np.cumsum(stage.split)
    return dict(
        old=old,
        new=new,
        all=_mean(aps),
        avg=None if old is None or new is None else (old + new) / 2,
        groups=[_mean(aps[end - size:end]) for end, size in zip(ends, stage.split)])


def group_figures(stage: Stage, aps: Sequence[float]) -> dict[str, Any]:
    """:func:`group_means` and, as ``per_class``, the AP of each class by name; None where undefined."""
    return dict(group_means(stage, aps), per_class={name: plain(ap) for name, ap in zip(stage.classes, aps)})


def flat_means(figures: Mapping) -> dict[str, float]:
    """The means of :func:`group_means` by name, the groups as ``group0``, ...; without what is undefined."""
    flat = {name: figures[name] for name in ('old', 'new', 'all', 'avg')}
    flat.update({f'group{index}': value for index, value in enumerate(figures['groups'])})
    return {name: value for name, value in flat.items() if value is not None}


def reported(headline: Mapping, others: Mapping[str, Mapping]) -> dict[str, float]:
    """What a metric hands to the runner; undefined figures are left out.

    Args:
        headline: :func:`group_figures` of the measure that stands in front.
        others: Those of the other measures by name.

    Returns:
        The headline's means by name and its APs as ``AP/<class>``; the other means as ``<measure>_<name>``.
    """
    flat = flat_means(headline)
    flat.update({f'AP/{name}': ap for name, ap in headline['per_class'].items() if ap is not None})
    for measure, figures in others.items():
        flat.update({f'{measure}_{name}': value for name, value in flat_means(figures).items()})
    return flat


def figures_tables(stage: Stage, counts: Mapping[str, Sequence], measures: Mapping[str, Mapping]) -> str:
    """A table of the classes and below it one of the means.

    Args:
        stage: Classes and groups.
        counts: Further columns of the first table by title, with a cell for each class.
        measures: :func:`group_figures` by title. Those of the first decide which means have a row.
    """
    group_of = {name: index for index, group in enumerate(stage.groups) for name in group}
    classes = [('class', 'group', *counts, *measures)]
    for name, *cells in zip(stage.classes, *counts.values()):
        classes.append((name, group_of[name], *cells, *(cell(figures['per_class'][name]) for figures in measures.values())))
    flat = [flat_means(figures) for figures in measures.values()]
    means = [('mean', *measures), *((name, *(cell(figures.get(name)) for figures in flat)) for name in flat[0])]
    return f'{ascii_table(classes)}\n{ascii_table(means)}'


def cell(value: float | None) -> str:
    """A figure in a table, ``-`` where it is undefined."""
    return '-' if value is None else f'{value:.3f}'


def plain(value: float) -> float | None:
    """A figure for JSON: None for NaN."""
    return None if np.isnan(value) else float(value)


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None
