"""The docs site is built, stands alone, and its reference leaves no registered module out; both READMEs say the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO
from markdown_it import MarkdownIt
from mmengine.registry import Registry

from mmilmil import registry


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The built site. `--strict`: a dead link, an anchor that is not there, or a page out of the navigation fails."""
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet', '-d', str(folder)]
    done = subprocess.run(command, cwd=REPO, env=dict(os.environ, NO_MKDOCS_2_WARNING='1'), capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def pages(site: Path) -> list[Path]:
    return [page for page in sorted(site.glob('*.html')) if page.name != '404.html']


def test_it_needs_no_network(site):
    """Nothing is loaded from elsewhere: scripts, styles, fonts, pictures. Links may lead there."""
    outside = re.compile(r'<(?:script|img|iframe|link)[^>]*\s(?:src|href)="(?:https?:)?//[^"]+"')
    assert [tag for page in pages(site) for tag in outside.findall(page.read_text(encoding='utf-8'))] == []
    styles = ''.join(path.read_text(encoding='utf-8') for path in site.rglob('*.css'))
    assert re.findall(r'(?:@import|url\()\s*["\']?(?:https?:)?//[^)"\']+', styles) == []


def test_links_out_of_docs_lead_to_pages_of_the_site(site):
    page = (site / 'method.html').read_text(encoding='utf-8')
    assert 'href="source/mmilmil/models/merging.py.html"' in page and 'href="index.html"' in page
    shown = (site / 'source/mmilmil/models/merging.py.html').read_text(encoding='utf-8')
    assert 'merge_teacher_boxes' in re.sub(r'<[^>]+>', '', shown)


def test_reference_has_every_registered_module(site):
    page = (site / 'reference.html').read_text(encoding='utf-8')
    told = {name.rpartition('.')[2] for name in re.findall(r'<h3 id="(mmilmil\.[\w.]+)"', page)}
    registries = [found for found in vars(registry).values() if isinstance(found, Registry)]
    for found in registries:
        found.import_from_location()
    modules = [module for found in registries for module in found.module_dict.values()]
    ours = {module.__name__ for module in modules if module.__module__.startswith('mmilmil.')}
    assert len(ours) > 50 and ours - told == set()
    assert told >= {'IterativePruning', 'GroupFisherPruning'}  # in MMRazor's registry


def test_reference_has_arguments_and_defaults(site):
    text = re.sub(r'<[^>]+>', '', (site / 'reference.html').read_text(encoding='utf-8'))
    text = re.sub(r'\s+', ' ', text)
    assert 'num_rois=32' in text and 'Number of distillation RoIs an image.' in text  # of a signature, and of its Args
    assert ':class:' not in text and '&lt;!-- modules' not in text


@pytest.mark.parametrize('page', ['method.md', 'running.md', 'results.md', 'faq.md', 'configs.md'])
def test_it_shows_what_github_shows(site, page):
    """The site's Markdown is not GitHub's: a list without an empty line before it would run into the text."""
    ours = (site / page).with_suffix('.html').read_text(encoding='utf-8')
    ours = ours[ours.index('<article'):ours.index('</article>')]
    theirs = MarkdownIt('commonmark').enable('table').render((REPO / 'docs' / page).read_text(encoding='utf-8'))
    for kind in ('li', 'tr', 'h2', 'h3', 'img'):
        assert len(re.findall(rf'<{kind}[ >]', ours)) == len(re.findall(rf'<{kind}[ >]', theirs)), kind


# README in two languages


@pytest.fixture(scope='module')
def readmes():
    return [(REPO / name).read_text(encoding='utf-8') for name in ('README.md', 'README_zh-CN.md')]


def blocks(text: str) -> list[str]:
    """Blocks of code, without comments, which are in the page's language."""
    found = re.findall(r'^```.*?^```', text, re.MULTILINE | re.DOTALL)
    return [re.sub(r'\s+#.*$', '', block, flags=re.MULTILINE) for block in found]


@pytest.mark.parametrize('of', [
    blocks,
    lambda text: re.findall(r'^#+ ', text, re.MULTILINE),
    lambda text: re.findall(r'\d+\.\d+|\d+\+\d+', text),  # figures, versions and splits, in their order
    lambda text: [re.sub(r'^README.*', 'README', target) for target in re.findall(r'\]\(([^)]*)\)', text)],
    lambda text: [line.count('|') for line in text.splitlines() if line.startswith('|')],
    lambda text: len(re.findall(r'^- \*\*', text, re.MULTILINE)),
    lambda text: re.findall(r'`[^`\n]+`', text),
], ids=['code', 'headings', 'figures', 'links', 'tables', 'reasons', 'names'])
def test_both_readmes_say_the_same(readmes, of):
    english, chinese = map(of, readmes)
    assert english and english == chinese


def test_readme_begins_with_the_two_commands(readmes):
    for text in readmes:
        assert [block.split()[1:5] for block in blocks(text)][0] == ['make', 'demo', 'make', 'test']
        assert len(text.splitlines()) < 130


def test_pictures_are_small():
    assert [path.name for path in (REPO / 'docs/pictures').iterdir() if path.stat().st_size > 300_000] == []
