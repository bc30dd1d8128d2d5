"""Figures of several runs as one table."""

from collections.abc import Mapping

COLUMNS = ('old', 'new', 'all', 'avg')


def results_table(rows: Mapping[str, Mapping]) -> str:
    """A Markdown table of AP50 in per cent, aligned for reading as plain text too.

    Args:
        rows: By row title, figures as in ``metrics.json``: ``old``, ``new``, ``all``, ``avg`` in [0, 1] or None. A run with one
            group has no ``old``: its classes are what later stages call old, so its ``all`` stands there.
    """
    cells = [('AP50 (%)', *COLUMNS)]
    for title, figures in rows.items():
        if len(figures['groups']) == 1:
            figures = dict(old=figures['all'])
        cells.append((title, *(_per_cent(figures.get(column)) for column in COLUMNS)))
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [_line(row, widths) for row in cells]
    rule = '|'.join('-' * (width + 1) + ('-' if i == 0 else ':') for i, width in enumerate(widths))
    return '\n'.join([lines[0], f'|{rule}|', *lines[1:]])


def _per_cent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    padded = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
    return f'| {" | ".join(padded)} |'
