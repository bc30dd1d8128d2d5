"""What the docs site needs beside mkdocs and its plugins: see `mkdocs.yml`.

The pages are those that GitHub shows. Three things differ on the site, and are made here:

- README, CONTRIBUTING and CHANGELOG lie beside `docs`, and are pages of the site too; so are notebooks;
- a link to a file or folder of the repository outside `docs` leads to a page that shows it, so that the site stands alone;
- `<!-- modules: FOLDER -->` in a page becomes the docstrings of all registered modules in that folder of `mmilmil`.
"""

import ast
import json
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent
BESIDE = {'README.md': 'index.md', 'README_zh-CN.md': 'README_zh-CN.md', 'CONTRIBUTING.md': 'CONTRIBUTING.md',
          'CHANGELOG.md': 'CHANGELOG.md'}
"""Pages that lie beside `docs`, by what the site calls them."""
SHOWN = 'source'
"""Folder of the site for pages that show a file of the repository."""
LANGUAGES = {'.py': 'python', '.json': 'json', '.yml': 'yaml', '.toml': 'toml', '.sh': 'bash'}

_CODE = re.compile(r'^(?P<fence>```+|~~~+).*?^(?P=fence)[ \t]*$|`[^`\n]+`', re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'(\]\()([^)#\s]*)((?:#[^)\s]*)?\))')
_MODULES = re.compile(r'^<!-- modules: (\S+) -->$', re.MULTILINE)
_ROLE = re.compile(r':(?:class|func|mod|meth|attr|data):<code>~?([^<]*)</code>')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages beside `docs`, notebooks, and a page for each file or folder of the repository that a page links to."""
    for name, place in BESIDE.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding='utf-8')))
    for notebook in [file for file in files if file.src_uri.endswith('.ipynb')]:
        place = _place_on_site(f'docs/{notebook.src_uri}')
        files.append(File.generated(config, place, content=_as_page(notebook.content_string)))
    shown = set()
    for page in [file for file in files if file.src_uri.endswith('.md')]:
        for _, target, _ in _LINK.findall(_CODE.sub('', page.content_string)):
            place = _in_repository(target, page.src_uri)
            if place is not None and _place_on_site(place) == f'{SHOWN}/{place}.md':
                shown.add(place)
    for place in sorted(shown):
        files.append(File.generated(config, f'{SHOWN}/{place}.md', content=_showing(ROOT / place, place)))
    return files


def on_page_markdown(markdown: str, page: Page, **_) -> str:
    """Turns links out of `docs` and marks of registered modules into what the site has."""
    if page.file.src_uri.startswith(f'{SHOWN}/'):
        return markdown
    pieces, end = [], 0
    for code in _CODE.finditer(markdown):  # a link in code is none
        pieces += [_links(markdown[end:code.start()], page.file.src_uri), code.group()]
        end = code.end()
    pieces.append(_links(markdown[end:], page.file.src_uri))
    return _MODULES.sub(lambda mark: '\n'.join(f'::: {name}\n' for name in registered(mark.group(1))), ''.join(pieces))


def on_page_content(html: str, **_) -> str:
    """Takes Sphinx's roles out of docstrings: the name is said as code."""
    return _ROLE.sub(r'<code>\1</code>', html)


def registered(folder: str) -> Iterator[str]:
    """Full names of the classes that a file or the files of a folder of `mmilmil` register, in the order of the files."""
    place = ROOT / 'mmilmil' / folder
    for path in [place] if place.is_file() else sorted(place.rglob('*.py')):
        module = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.ClassDef) and any('register_module' in ast.unparse(mark) for mark in node.decorator_list):
                yield f'{module}.{node.name}'


def _links(text: str, page: str) -> str:
    def turned(link: re.Match) -> str:
        place = _in_repository(link[2], page)
        target = None if place is None else _place_on_site(place)
        if target is None:
            return link.group()
        return f'{link[1]}{posixpath.relpath(target, posixpath.dirname(page) or ".")}{link[3]}'

    return _LINK.sub(turned, text)


def _in_repository(target: str, page: str) -> str | None:
    """The file or folder that a page's link is about, from the root; None where it is a URL, an anchor or not there."""
    if not target or '://' in target or target.startswith('mailto:'):
        return None
    folder = ROOT if page in BESIDE.values() else (ROOT / 'docs' / page).parent
    path = Path(os.path.normpath(folder / target))
    return path.relative_to(ROOT).as_posix() if path.exists() and path.is_relative_to(ROOT) else None


def _place_on_site(place: str) -> str:
    """Where the site has a file or folder of the repository."""
    if place in BESIDE:
        return BESIDE[place]
    inside = re.sub(r'\.ipynb$', '.md', place.removeprefix('docs/'))
    return inside if inside != place and (ROOT / place).is_file() else f'{SHOWN}/{place}.md'


def _as_page(notebook: str) -> str:
    """A notebook's cells as Markdown, without what they put out."""
    cells = [(cell['cell_type'], ''.join(cell['source'])) for cell in json.loads(notebook)['cells']]
    return '\n\n'.join(text if kind == 'markdown' else f'```python\n{text}\n```' for kind, text in cells)


def _showing(path: Path, place: str) -> str:
    """A page that shows a file, or lists a folder."""
    head = f'---\nsearch:\n  exclude: true\nhide: [navigation]\n---\n\n# {place}\n\n'
    if path.is_dir():
        names = sorted(f'{entry.name}/' if entry.is_dir() else entry.name for entry in path.iterdir()
                       if entry.name != '__pycache__')
        return head + ''.join(f'- `{name}`\n' for name in names)
    return f'{head}````` {LANGUAGES.get(path.suffix, "text")}\n{path.read_text(encoding="utf-8").rstrip()}\n`````\n'
