"""A page of sections: what a section can hold, and how it is written as one HTML file and as Markdown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..table_layout import markdown_table
from .charts import numbered
from .pictures import Mark, Photo


@dataclass(frozen=True)
class Tiles:
    """Figures that are seen first: each a label, a value, and a line below it."""

    tiles: Sequence[tuple[str, str, str]]
    kind: str = 'tiles'


@dataclass(frozen=True)
class Table:
    """Rows of cells, the titles of the columns first; a long one is folded below its caption."""

    rows: Sequence[Sequence[str]]
    caption: str = ''
    folded: bool = False
    kind: str = 'table'


@dataclass(frozen=True)
class Chart:
    """A chart of :mod:`.charts`; a wide one takes both columns."""

    svg: str
    caption: str
    wide: bool = False
    kind: str = 'chart'


@dataclass(frozen=True)
class Note:
    """A sentence; ``missing``: of what is not there, and what adds it."""

    text: str
    missing: bool = False
    kind: str = 'note'


@dataclass(frozen=True)
class Facts:
    """Terms and what they are."""

    facts: Sequence[tuple[str, str]]
    kind: str = 'facts'


@dataclass(frozen=True)
class Commands:
    """Lines for a shell, or of a log."""

    text: str
    caption: str = ''
    kind: str = 'commands'


@dataclass(frozen=True)
class Links:
    """Other pages, by words and relative address."""

    links: Sequence[tuple[str, str]]
    kind: str = 'links'


@dataclass(frozen=True)
class Panel:
    """One of the pictures of an image: a title, and the boxes over it."""

    title: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Shown:
    """An image with its panels; ``photo`` is ``None`` of a file that is gone."""

    name: str
    photo: Photo | None
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Gallery:
    """Images under a heading, with the rule by which they are chosen."""

    title: str
    rule: str
    images: Sequence[Shown]
    kind: str = 'gallery'


@dataclass(frozen=True)
class Section:
    """A part of the page; charts that follow one another stand side by side."""

    title: str
    blocks: Sequence[object]
    intro: str = ''

    @property
    def anchor(self) -> str:
        """Its place in the page."""
        return re.sub(r'\W+', '-', self.title.lower()).strip('-')


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: What it is of.
        subtitle: A line below.
        sections: Its parts; those without a block are left out.
        figures: What the page's script gives back as plain data to whoever reads the page by a program.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    figures: Mapping[str, object] = field(default_factory=dict)

    def html(self) -> str:
        """The page as one file that needs nothing else."""
        charts = iter(numbered([block.svg for section in self.sections for block in section.blocks if block.kind == 'chart']))
        sections = [replace(section, blocks=_grouped([
            replace(block, svg=Markup(next(charts))) if block.kind == 'chart' else block for block in section.blocks]))
            for section in self.sections if section.blocks]
        return _environment().get_template('page.html.j2').render(page=self, sections=sections, counter=_Counter)

    def markdown(self) -> str:
        """The page's words and tables; where a chart stands, its caption."""
        lines = [f'# {_plain(self.title)}', '', _plain(self.subtitle), '']
        for section in self.sections:
            if section.blocks:
                lines += [f'## {section.title}', '', *([_plain(section.intro), ''] if section.intro else [])]
                for block in section.blocks:
                    lines += [*_MARKDOWN[block.kind](block), '']
        return '\n'.join(lines).rstrip() + '\n'


def rows_of(table: str) -> list[list[str]]:
    """The cells of a table in Markdown, as :func:`mmilmil.table_layout.markdown_table` makes them."""
    rows = [re.split(r'(?<!\\)\|', line)[1:-1] for line in table.splitlines() if line.startswith('|')]
    return [[cell.strip().replace('\\|', '|') for cell in row] for place, row in enumerate(rows) if place != 1]


def _grouped(blocks: Sequence[object]) -> list[list[object]]:
    """Blocks in rows: charts and folded tables that follow one another share one."""
    rows: list[list[object]] = []
    for block in blocks:
        if rows and block.kind == rows[-1][-1].kind == 'chart':
            rows[-1].append(block)
        else:
            rows.append([block])
    return rows


class _Counter:
    """Numbers for ids of a page."""

    def __init__(self) -> None:
        self._numbers = count()

    def next(self) -> int:
        """A number that no id has yet."""
        return next(self._numbers)


@lru_cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader('mmilmil.report'), autoescape=True,
                       undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _plain(text: str) -> str:
    """Text that Markdown does not take for HTML."""
    return text.replace('&', '&amp;').replace('<', '&lt;')


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    return markdown_table([[_plain(str(cell)).replace('\n', ' ') for cell in row] for row in rows]).splitlines()


def _gallery(block: Gallery) -> list[str]:
    names = [f'- {_plain(one.name)}{"" if one.photo else " (the file is gone)"}' for one in block.images]
    return [f'{_plain(block.title)}: {_plain(block.rule)}', '', *names]


_MARKDOWN = {
    'tiles': lambda block: _table([('', 'value', ''), *block.tiles]),
    'table': lambda block: [*([_plain(block.caption), ''] if block.caption else []), *_table(block.rows)],
    'chart': lambda block: [f'*In index.html: {_plain(block.caption)}*'],
    'note': lambda block: [_plain(block.text)],
    'facts': lambda block: [f'- {_plain(term)}: {_plain(text)}' for term, text in block.facts],
    'commands': lambda block: [*([_plain(block.caption), ''] if block.caption else []), '```bash', block.text, '```'],
    'links': lambda block: [f'- [{_plain(text)}](<{address}>)' for text, address in block.links],
    'gallery': _gallery,
}
