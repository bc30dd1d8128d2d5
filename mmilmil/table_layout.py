"""Tables to read in a terminal and in Markdown: the first column to the left, all others, which are figures, to the right."""

from collections.abc import Sequence

from terminaltables import AsciiTable, GithubFlavoredMarkdownTable


def ascii_table(rows: Sequence[Sequence]) -> str:
    """A table in a frame.

    Args:
        rows: Cells by row, the titles of the columns first.
    """
    return _laid_out(AsciiTable, rows)


def markdown_table(rows: Sequence[Sequence]) -> str:
    """A table in GitHub's Markdown, aligned for reading as plain text too; a ``|`` in a cell is escaped.

    Args:
        rows: Cells by row, the titles of the columns first.
    """
    return _laid_out(GithubFlavoredMarkdownTable, [[str(cell).replace('|', '\\|') for cell in row] for row in rows])


def _laid_out(kind: type, rows: Sequence[Sequence]) -> str:
    table = kind([list(map(str, row)) for row in rows])
    table.justify_columns = dict.fromkeys(range(1, len(rows[0])), 'right')
    return table.table


def size_told(size: float) -> str:
    """Bytes in the units of disks: 1 MB is 10^6 of them."""
    return f'{size / 1e6:.2f} MB' if size >= 1e6 else f'{size / 1e3:.1f} kB' if size else '0'
