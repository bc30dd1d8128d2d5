"""What the pages promise of the code: which room imports which, and that the rules which comments name by number are there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO

PACKAGE = REPO / 'mmilmil'
# By room, the other rooms that it may import; `.` are the modules that stand in the package itself.
MAY_IMPORT = {
    '.': set(),
    'datasets': {'.'},
    'models': {'.'},
    'evaluation': {'.', 'datasets', 'models'},
    'visualization': {'.'},
    'runtime': {'.'},
    'pruning': {'.', 'models'},
    'engine': {'.', 'datasets', 'models', 'visualization'},
    'data_tools': {'.', 'datasets'},
    'config_writing': {'.', 'data_tools', 'datasets', 'models'},
    'report': {'.', 'engine', 'evaluation', 'models'},
    'deploy': {'.', 'data_tools', 'datasets', 'evaluation', 'models', 'runtime'},
}


def imported_rooms(text: str, folders: tuple[str, ...]) -> set[str]:
    """The rooms that a module imports from, by its text and the folders below the package that it lies in."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name.split('.') for alias in node.names if alias.name.split('.')[0] == 'mmilmil']
        elif isinstance(node, ast.ImportFrom):
            base = ['mmilmil', *folders][:len(folders) + 2 - node.level] if node.level else []
            path = [*base, *(node.module.split('.') if node.module else ())]
            names += [[*path, alias.name] for alias in node.names if path[0] == 'mmilmil']
    return {name[1] if (PACKAGE / name[1]).is_dir() else '.' for name in names if len(name) > 1}


@pytest.mark.parametrize('text, folders, rooms', [
    ('from ..errors import InputError', ('engine', ), {'.'}),
    ('from ...models.detectors import X\nfrom ..cli import y', ('engine', 'hooks'), {'models', 'engine'}),
    ('def f():\n    from ..models import X', ('datasets', ), {'models'}),
    ('from .. import evaluation, stage', ('models', ), {'evaluation', '.'}),
    ('import torch, mmilmil.engine.cli\nfrom mmilmil.datasets import x', (), {'engine', 'datasets'}),
    ('import torch\nfrom mmdet.datasets import x', ('models', ), set()),
])
def test_imports_are_found(text, folders, rooms):
    assert imported_rooms(text, folders) == rooms


def test_every_room_has_its_rule():
    assert {path.parent.name for path in PACKAGE.glob('*/__init__.py')} == MAY_IMPORT.keys() - {'.'}


def test_rooms_import_what_they_may():
    wrong = []
    for path in sorted(PACKAGE.rglob('*.py')):
        folders = path.relative_to(PACKAGE).parts[:-1]
        if folders[:1] == ('.mim', ):  # links to configs and tools
            continue
        room = folders[0] if folders else '.'
        found = imported_rooms(path.read_text(encoding='utf-8'), folders) - {room}
        wrong += [f'{path.relative_to(REPO)} imports {other}' for other in sorted(found - MAY_IMPORT[room])]
    assert wrong == []


def test_contributing_tells_the_same():
    """A row of the table is `| `room/` | what it holds | what it may import |`."""
    rows = re.findall(r'^\| `mmilmil/(\w*)/?`[^|]*\|[^|]*\|([^|]*)\|$', (REPO / 'CONTRIBUTING.md').read_text(), re.MULTILINE)
    told = {room or '.': set(re.findall(r'`(\w+)/`', cell)) for room, cell in rows}
    assert told == {room: others - {'.'} for room, others in MAY_IMPORT.items()}


def test_rules_that_comments_name_are_there():
    text = (REPO / 'docs/protocol.md').read_text(encoding='utf-8')
    sections = [int(number) for number in re.findall(r'^## (\d+)\. ', text, re.MULTILINE)]
    assert sections == list(range(1, 16))
    files = [path for folder in ('mmilmil', 'configs', 'tools', 'tests') for path in (REPO / folder).rglob('*.py')]
    naming = re.compile(r'[Pp]rotocol(?:\.md)?,? (\d+(?:(?:, | and )\d+)*)')
    named = [int(number) for path in files if path != Path(__file__)
             for numbers in naming.findall(path.read_text(encoding='utf-8'))
             for number in re.findall(r'\d+', numbers)]
    assert len(named) > 15 and set(named) <= set(sections)


@pytest.mark.parametrize('page', sorted([*(REPO / 'docs').glob('*.md'), *REPO.glob('README*.md'), REPO / 'CONTRIBUTING.md']),
                         ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Files exist, and so do the headings behind a #, in GitHub's way of naming them."""
    lost = []
    for target, anchor in re.findall(r'\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)', page.read_text(encoding='utf-8')):
        file = page.parent / target if target else page
        if not file.exists():
            lost.append(target)
        elif anchor:
            headings = re.findall(r'^#+ (.+)$', file.read_text(encoding='utf-8'), re.MULTILINE)
            slugs = {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}
            lost += [] if anchor in slugs else [f'{target}#{anchor}']
    assert lost == []


def test_stock_config_is_found_before_anything_else_is_imported():
    code = ("from mmilmil.stock import stock_model_cfg\n"
            "assert stock_model_cfg(dict(type='IncrementalGFL', teacher=dict(checkpoint='a'))) == dict(type='GFL')")
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)
