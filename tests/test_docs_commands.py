"""Commands in README and docs: the tools take them, and what is not run by `run_docs_commands.py` says why."""

import ast
import re
import runpy
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from conftest import REPO, make_voc
from docs_commands import NOT_RUN, PAGES, WRITTEN, Command, calls, commands

from mmilmil.config import load_config
from mmilmil.data_tools.shapes import ShapesSettings, write_shapes
from mmilmil.runtime.__main__ import parse_args as parse_runtime

COMMANDS = commands()
# Methods of earlier versions, by which the figures of the section were made; it says so.
FORMER = {('results.md', 'heavy'), ('results.md', 'paper')}
PLACEHOLDERS = {'CONFIG': 'configs/ilmil/frcnn_pcb_4+2.py', '[DIR': 'DIR', '...]': 'DIR'}
PLAIN = {'mkdir', 'tensorboard', 'cp', 'curl', 'source', 'sbatch', 'export', '.venv/mutants/bin/mutmut'}


@pytest.fixture(scope='module')
def called():
    return calls(COMMANDS)


@pytest.fixture(scope='module')
def parsers():
    """The `parse_args` of a tool by its path, loaded once."""
    loaded = {}

    def of(tool: str):
        if tool not in loaded:
            loaded[tool] = runpy.run_path(str(REPO / tool), run_name='of_the_docs').get('parse_args')
        return loaded[tool]

    return of


def test_commands_are_found():
    assert len(COMMANDS) > 130 and {command.page for command in COMMANDS} >= {'README.md', 'README_zh-CN.md', 'running.md'}


def test_each_command_is_run_or_says_why():
    used = {command.excuse for command in COMMANDS} - {None}
    assert [pattern for pattern in NOT_RUN if pattern not in used] == []
    assert sum(command.excuse is None for command in COMMANDS) > 60


def test_commands_of_the_readme_are_run_elsewhere():
    """Its row in `NOT_RUN` says so."""
    run = {command.text for command in COMMANDS if command.excuse is None}
    row = ('README*.md', '*')
    assert [command.text for command in COMMANDS if command.excuse == row and command.text.rstrip() not in run] == []


@pytest.mark.parametrize('page', [page.name for page in PAGES])
def test_tools_take_the_commands_of(page, called, parsers, monkeypatch, capsys):
    """Unknown flags, methods, scripts, configs and files of the repository: each is told with page and line."""
    monkeypatch.chdir(REPO)
    wrong = [f'{command.name}: {command.text}\n    {problem}' for command in COMMANDS if command.page == page
             for words in called[command] for problem in problems(command, words, parsers, monkeypatch, capsys)]
    assert wrong == [], '\n'.join(wrong)


def problems(command: Command, words: list[str], parsers, monkeypatch, capsys) -> list[str]:
    program, *args = [PLACEHOLDERS.get(word, word) for word in words]
    missing = [word for word in args if re.match(r'(configs|tools|tests|benchmarks)/\S+\.\w+$|(requirements\S*\.txt)$', word)
               and not (REPO / word).exists() and not any(fnmatchcase(word, written) for written in WRITTEN)]
    if missing:
        return [f'{word} is not there' for word in missing]
    if program == 'make':
        return [] if re.search(rf'^{args[0]}:', (REPO / 'Makefile').read_text(), re.MULTILINE) else [f'no target {args[0]}']
    if program == 'pip':
        asked = re.findall(r'\.\[(\w+)\]', ' '.join(args))
        settings = (REPO / 'pyproject.toml').read_text()
        return [f'no extra {name}' for name in asked if not re.search(rf'^{name} = \[', settings, re.MULTILINE)]
    if program == 'mim':
        return mim_problems(*args[:3])
    if program == 'bash':
        return bash_problems(args)
    if program == '--cfg-options':  # a part of a command for any config of a two-stage detector
        load_config(str(REPO / 'configs/ilmil/frcnn_pcb_4+2.py'), {key: ast.literal_eval(value) for key, _, value in
                                                                   (arg.partition('=') for arg in args)})
        return []
    if program in PLAIN:
        return []
    if program not in ('python', '.venv/bin/python', 'python3.11'):
        return [f'nothing is known of {program}']
    if args[:2] == ['-m', 'mmilmil.runtime']:
        return parsed(parse_runtime, ['runtime', *args[2:]], monkeypatch, capsys)
    if args[0] == '-m':
        return [] if args[1] in ('venv', 'pytest') else [f'nothing is known of {args[1]}']
    if not (REPO / args[0]).exists() and args[0].startswith('MMDET/'):
        return []
    former = [name for page, name in FORMER if page == command.page and name in args]
    args = [arg for arg in args if arg not in former]
    parse = parsers(args[0])
    return parsed(parse, args, monkeypatch, capsys) if parse else []


def parsed(parse, argv: list[str], monkeypatch, capsys) -> list[str]:
    monkeypatch.setattr(sys, 'argv', argv)
    try:
        parse()
    except SystemExit:
        return [capsys.readouterr().err.strip().splitlines()[-1]]
    except Exception as error:
        return [str(error)]
    return []


def bash_problems(args: list[str]) -> list[str]:
    """Of the scripts that start several processes: what they want in front stands there."""
    usage = re.search(r'usage: .*\$0 ([A-Z_ ]+)', (REPO / args[0]).read_text())[1].split()
    return [] if len(args) > len(usage) else [f'it wants {" ".join(usage)}']


def mim_problems(verb: str, package: str, config: str) -> list[str]:
    known = (REPO / config).is_file() or (package == 'mmilmil' and (REPO / 'configs/ilmil' / config).is_file())
    return [] if verb in ('train', 'test') and package in ('mmilmil', 'mmdet') and known else [f'no config {config}']


def test_a_wrong_command_is_found(tmp_path, parsers, monkeypatch, capsys):
    (tmp_path / 'page.md').write_text(
        'text\n\n```bash\n# a comment\npython tools/train.py configs/ilmil/frcnn_pcb_4.py --wrok-dir a   # told\n'
        'python tools/train.py configs/ilmil/gone.py\npython tools/test.py \\\n    configs/ilmil/frcnn_pcb_4.py\nmake cake\n'
        'for name in mma nma; do\n  python tools/train.py configs/ilmil/frcnn_pcb_4+2.py --method $name\ndone\nrm -r /\n```\n')
    found = commands([tmp_path / 'page.md'])
    assert [command.line for command in found] == [5, 6, 7, 9, 10, 13]
    monkeypatch.chdir(REPO)
    with pytest.raises(AssertionError, match='rm'):
        calls(found)
    made = calls(found[:-1])
    told = [problem for command in found[:-1] for words in made[command]
            for problem in problems(command, words, parsers, monkeypatch, capsys)]
    assert len(told) == 4
    assert '--wrok-dir' in told[0] and 'gone.py is not there' in told[1] and 'cake' in told[2] and 'nma' in told[3]


# Run here


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A checkout of tools and configs to stand in, so that commands of the docs can be typed as they are."""
    for name in ('configs', 'tools'):
        shutil.copytree(REPO / name, tmp_path / name, ignore=shutil.ignore_patterns('__pycache__'))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(page: str, beginning: str) -> list[str]:
    """The script in `tools` and the arguments of the command of a page that begins so, or is that."""
    begin = f'python tools/{beginning}'
    fitting = {command.text.rstrip() for command in COMMANDS if command.page == page and command.text.startswith(begin)}
    text, = {begin} & fitting or fitting
    return text.replace('python tools/', '').split()


@pytest.fixture
def typed(clone, tool):
    """`typed(page, beginning)` runs that command in this process, and expects it to succeed; what it says."""

    def run(page, beginning):
        script, *args = shown(page, beginning)
        done = tool(clone / 'tools' / script, *args)
        assert done.status == 0, done.out[-2000:] + done.err[-2000:]
        return done.out

    return run


def test_own_data_from_a_folder_to_configs(typed, clone):
    """Sections 2 and 3 of docs/own_data.md."""
    names = ('bolt', 'nut', 'washer', 'pin', 'hook')
    objects = [(name, 5 + 4 * place, 8, 25 + 4 * place, 40) for place, name in enumerate(names)]
    make_voc(clone / 'data/screws', {f'{number:02}': objects for number in range(20)})
    shutil.rmtree(clone / 'data/screws/ImageSets')
    typed('own_data.md', 'split_dataset.py data/screws')
    lists = clone / 'data/screws/ImageSets/Main'
    assert [len((lists / f'{split}.txt').read_text().split()) for split in ('train', 'val', 'test')] == [14, 2, 4]
    typed('own_data.md', 'check_dataset.py --voc')
    told = typed('own_data.md', 'new_split.py --ann data/screws --split 3+2')
    _, written, *_ = shown('own_data.md', 'train_chain.py configs/ilmil/frcnn_screws_3+2.py --methods')
    assert f'train_chain.py {written}' in told and tuple(load_config(written).metainfo.classes) == names


def test_the_steps_of_the_quick_start(typed, clone):
    """Data, what is in it, and the first stage, on a set of a few images."""
    write_shapes('data/shapes', ShapesSettings(train=8, val=4, test=4))
    assert 'star' in typed('quick_start.md', 'check_dataset.py')
    for config in ('frcnn_shapes_4.py', 'frcnn_shapes_4+2.py'):
        path = Path('configs/ilmil') / config
        path.write_text(re.sub(r'^(epochs|joint_epochs) = \d+', r'\1 = 1', path.read_text(), flags=re.MULTILINE))
    typed('quick_start.md', 'train.py configs/ilmil/frcnn_shapes_4.py')
    typed('quick_start.md', 'train.py configs/ilmil/frcnn_shapes_4+2.py')
    typed('quick_start.md', 'test.py')
    run = clone / 'work_dirs/frcnn_shapes_4+2'
    page = (REPO / 'docs/quick_start.md').read_text()
    named = re.findall(r'`([\w.]+\.(?:pth|py|json))`', page[page.index('## What a run leaves'):page.index('## Use the result')])
    assert len(named) == 6 and [name for name in named if not (run / name).is_file()] == []
