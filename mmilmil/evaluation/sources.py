"""From which sets the figures of a table come, as ``sets`` in ``metrics.json`` tells (protocol 9)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..stage import Stage

_SHOWN = 10  # class names


def sources(figures: Mapping) -> dict[str, tuple[tuple[str, int], ...]]:
    """By class the sets that it is measured on, each its file and number of images.

    Nothing of figures that do not tell, as those of earlier versions, or of a stock dataset.

    Args:
        figures: The content of ``metrics.json``.
    """
    sets = figures.get('sets') or ()
    return {name: tuple((one['file'], one['images']) for one in sets if name in one['classes'])
            for name in figures['classes'] if sets and all(one['file'] for one in sets)}


def same_sets(one: Mapping, other: Mapping) -> bool:
    """Whether two runs measure the classes that both have on the same sets, as far as they tell.

    Args:
        one: The content of a ``metrics.json``.
        other: That of another.
    """
    mine, theirs = sources(one), sources(other)
    return all(mine[name] == theirs[name] for name in mine.keys() & theirs.keys())


def sources_told(rows: Mapping[str, Mapping]) -> list[str]:
    """Lines to print below a table: from which sets its figures come; none where that is the same one for all.

    Args:
        rows: By row title, the content of ``metrics.json``.
    """
    known = {title: figures for title, figures in rows.items() if sources(figures)}
    runs = list(known.values())
    if not all(same_sets(one, other) for index, one in enumerate(runs) for other in runs[:index]):
        return ['measured on different sets, so these figures do not compare:',
                *(f'- {title}: {_told(figures)}' for title, figures in known.items())]
    if len({one for figures in runs for found in sources(figures).values() for one in found}) < 2:
        return []
    told: dict[str, Mapping] = {}
    for title, figures in sorted(known.items(), key=lambda row: -len(row[1]['classes'])):
        if not any(set(figures['classes']) <= set(other['classes']) for other in told.values()):
            told[title] = figures
    return [f'{title}: ' * (len(told) > 1) + _told(figures) for title, figures in told.items()]


def _told(figures: Mapping) -> str:
    stage = Stage.from_metainfo(figures)
    title_of = {group: f'group {index}' for index, group in enumerate(stage.groups)}
    title_of |= {stage.old: 'old', stage.new: 'new', stage.classes: 'all'}
    names_of = defaultdict(list)
    for name, found in sources(figures).items():
        names_of[found].append(name)
    return '; '.join(f'{title_of.get(tuple(names)) or _listed(names)}: {_sets(found)}' for found, names in names_of.items())


def _sets(found: Sequence[tuple[str, int]]) -> str:
    sets = ' and '.join(f'{file} ({images} images)' for file, images in found)
    return f'{sets}, together' if len(found) > 1 else sets or 'no set annotates it'


def _listed(names: Sequence[str]) -> str:
    return ', '.join(names[:_SHOWN]) + (f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else '')
