"""The commands that README and docs show: what they are, which of them are run, and on what.

`test_docs_commands.py` parses every one of them by the tool's own parser and runs a few; `run_docs_commands.py` runs all but
those of `NOT_RUN`, on tiny drawn sets.
"""

import re
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted([*REPO.glob('README*.md'), REPO / 'CONTRIBUTING.md', *(REPO / 'docs').glob('*.md')])

NOT_RUN = {
    # (page, command) as patterns of the shell: why it is not run. The first that fits counts.
    ('*', 'make [dts]*'): 'sets up first; CI calls `make test`, the demo is in test_demo.py, the site in test_docs_site.py',
    ('*', 'make [lm]*'): 'ruff and mutmut on this repository: make lint is called before a commit, mutants take hours',
    ('*', '*pip install*'): 'installs from a package index: what `make setup` does',
    ('*', '*-m venv*'): 'the same',
    ('*', 'source *'): 'enters an environment',
    ('*', 'export *'): 'names folders of the reader',
    ('*', 'mkdir weights'): 'for the line below it',
    ('*', 'curl *'): 'needs a network; what the file is for is in test_weights.py',
    ('*', '*download_dataset.py*'): 'needs a network; test_download.py fetches from a server of its own',
    ('*', '*-m pytest*'): 'a part of `make test`',
    ('*', '*mutmut*'): 'hours, in an environment of its own',
    ('*', '*tests/mutants.py*'): 'tells what the line above it found',
    ('*', 'mim *'): 'openmim needs an environment of its own; by hand, see running.md',
    ('*', '*MMDET/*'): "MMDetection's own tool, from a folder of the reader; test_stock.py and test_packaging.py call it",
    ('*', '*slurm*'): 'needs Slurm; test_distributed.py and test_processes.py call it with stand-ins of srun',
    ('*', 'sbatch *'): 'needs Slurm',
    ('*', '*--gpus 4*'): 'four processes of R50-FPN; the line with --gpus 2 is run',
    ('*', '* 0 *--json*'): 'needs a camera',
    ('*', 'tensorboard *'): 'serves until it is stopped; test_live_view.py reads what it reads',
    ('protocol.md', '--cfg-options *'): 'a part of a command',
    ('results.md', '*'): 'makes the recorded figures, by the code that the section names: hours on real sets',
    ('pruning.md', '*--no-eval*'): 'the figures recorded there, of R50-FPN; the command above it is run',
    ('quick_start.md', '*real_run_picture.py*'): 'draws finished runs on a real set',
    ('README*.md', '*'): 'stands in quick_start.md, configs.md or own_data.md too, where it is run',
}

# What `new_split.py` writes where a page's command is run.
WRITTEN = ('configs/ilmil/frcnn_screws_*.py', 'configs/ilmil/frcnn_nails_*.py')


@dataclass(frozen=True)
class Command:
    """A line of a page that a shell takes, continued ones and loops being one."""

    page: str
    line: int
    text: str

    @property
    def name(self) -> str:
        return f'{self.page}:{self.line}'

    def fits(self, pattern: tuple[str, str]) -> bool:
        return fnmatchcase(self.page, pattern[0]) and fnmatchcase(self.text, pattern[1])

    @property
    def excuse(self) -> tuple[str, str] | None:
        """The row of `NOT_RUN` that it is in."""
        return next((pattern for pattern in NOT_RUN if self.fits(pattern)), None)


def commands(pages: list[Path] = PAGES) -> list[Command]:
    """Every command in a block that is marked as `bash`, but for whole scripts, in the order of the pages."""
    found = []
    for page in pages:
        text = page.read_text(encoding='utf-8')
        for block in re.finditer(r'^```bash\n(.*?)^```$', text, re.MULTILINE | re.DOTALL):
            if block[1].startswith('#!'):
                continue
            first = text[:block.start(1)].count('\n') + 1
            found += [Command(page.name, first + line, piece) for line, piece in _pieces(block[1])]
    return found


def _pieces(block: str) -> list[tuple[int, str]]:
    pieces, waiting, begin = [], [], 0
    for number, line in enumerate(block.splitlines()):
        if not waiting:
            begin = number
        if line.strip() and not line.lstrip().startswith('#'):
            waiting.append(re.sub(r'\s+# .*$', '', line))
        text = '\n'.join(waiting)
        if waiting and not text.endswith('\\') and text.count('for ') - len(re.findall(r'^done\b', text, re.MULTILINE)) <= 0:
            pieces.append((begin, text.replace('\\\n', ' ')))
            waiting = []
    assert not waiting, waiting
    return pieces


_PROGRAMS = ('python', 'bash', 'make', 'pip', 'mim', 'mkdir', 'cp', 'curl', 'source', 'sbatch', 'export', '.venv/bin/python',
             '.venv/mutants/bin/mutmut', 'python3.11', 'tensorboard', '--cfg-options')
# Words parted by 0x1f, calls by 0x1e.
_RECORDER = ["""record() { printf '%s\\x1f' "$at" "$@"; printf '\\x1e'; }""",
             *(f'function {name} {{ record {name} "$@"; }}' for name in _PROGRAMS),
             # A variable counts for the commands of the page below it.
             'function export { record export "$@"; builtin export "$@"; }', 'PATH=']


def calls(found: list[Command]) -> dict[Command, list[list[str]]]:
    """The programs that a shell would start for each command, with their arguments: bash itself takes them apart."""
    script = [*_RECORDER]
    for page in dict.fromkeys(command.page for command in found):
        lines = [f'at={number}\n{command.text}' for number, command in enumerate(found) if command.page == page]
        script.append('(\n{}\n)'.format('\n'.join(lines)))  # variables hold for the rest of the page
    done = subprocess.run(['/bin/bash', '-c', '\n'.join(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    made = {command: [] for command in found}
    for record in done.stdout.split('\x1e')[:-1]:
        number, *words = record.split('\x1f')[:-1]
        made[found[int(number)]].append(words)
    return made
