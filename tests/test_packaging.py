"""What make, pip and mim rely on."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import make_voc
from mmengine.config import Config

import mmilmil
from mmilmil.engine.cli import own_tools

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def setup_module_of_the_project():
    spec = importlib.util.spec_from_file_location('project_setup', ROOT / 'setup.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('link', [True, False])
def test_mim_folder_carries_configs_and_tools(tmp_path, setup_module_of_the_project, link):
    for name in ('configs', 'tools', 'mmilmil'):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    shutil.copy(ROOT / 'model-index.yml', tmp_path)
    for _ in range(2):  # a second build replaces the first
        setup_module_of_the_project.fill_mim_folder(tmp_path, link=link)
    folder = tmp_path / 'mmilmil/.mim'
    assert (folder / 'configs').is_symlink() is link
    assert (folder / 'model-index.yml').is_file()
    assert (folder / 'tools/train.py').read_text() == (ROOT / 'tools/train.py').read_text()
    assert Config.fromfile(folder / 'configs/ilmil/frcnn_pcb_4+2.py').metainfo.split == (4, 2)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder to call tools from."""
    folder = tmp_path / 'elsewhere'
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def clone(tmp_path):
    """A checkout that is not the one whose package is imported, as beside `pip install .`."""
    for name in ('configs', 'tools'):
        shutil.copytree(ROOT / name, tmp_path / 'clone' / name, ignore=shutil.ignore_patterns('__pycache__'))
    return tmp_path / 'clone'


NEW_SPLIT = ('--dataset', 'pcb', '--split', '1+5')
WRITTEN = {'ilmil/frcnn_pcb_1.py', 'ilmil/frcnn_pcb_1+5.py'}


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob('*.py')}


@pytest.mark.parametrize('inside', [True, False])
def test_configs_are_written_into_the_checkout_of_the_tool(tool, clone, elsewhere, monkeypatch, inside):
    before = files_below(clone / 'configs')
    if inside:
        monkeypatch.chdir(clone)
    done = tool(clone / 'tools/new_split.py', *NEW_SPLIT)
    assert done.status == 0, done.err
    assert files_below(clone / 'configs') - before == WRITTEN and not any(elsewhere.iterdir())
    folder = Path() if inside else clone  # what is told can be typed where one stands
    assert f'python {folder / "tools/train_chain.py"} {folder / "configs/ilmil/frcnn_pcb_1+5.py"}' in done.out


@pytest.mark.parametrize('link', [True, False])
def test_configs_of_the_packages_tool_are_written_to_where_it_is_called(tool, clone, elsewhere, setup_module_of_the_project,
                                                                        link):
    """`mim run mmilmil new_split`, whether the package is linked to a checkout or not: the next install replaces it."""
    (clone / 'mmilmil').mkdir()
    shutil.copy(ROOT / 'model-index.yml', clone)
    setup_module_of_the_project.fill_mim_folder(clone, link=link)
    package = clone / 'mmilmil/.mim'
    before = files_below(clone)
    done = tool(package / 'tools/new_split.py', *NEW_SPLIT)
    assert done.status == 0, done.err
    assert files_below(elsewhere / 'configs') == WRITTEN and files_below(clone) == before
    assert f'python {package}/tools/train_chain.py configs/ilmil/frcnn_pcb_1+5.py' in done.out
    assert Config.fromfile('configs/ilmil/frcnn_pcb_1+5.py').metainfo.split == (1, 5)


def test_a_linked_tool_belongs_to_its_checkout(clone, tmp_path):
    link = tmp_path / 'bin' / 'new_split'
    link.parent.mkdir()
    link.symlink_to(clone / 'tools/new_split.py')
    assert own_tools(str(link)) == clone / 'tools'


@pytest.mark.parametrize(('name', 'args'), [('train_chain.py', ('{}/configs/ilmil/frcnn_shapes_4.py', )), ('demo.py', ())])
def test_tools_beside_the_started_one_are_called(tool, clone, elsewhere, monkeypatch, name, args):
    # A chain looks at its test sets before it calls a tool.
    objects = [(label, 5, 5, 40, 40) for label in ('circle', 'cross', 'ring', 'square')]
    monkeypatch.setenv('MMILMIL_SHAPES_ROOT', str(make_voc(elsewhere / 'shapes', {'one': objects})))
    for stage_tool in {'train.py', 'train_chain.py'} - {name}:
        (clone / 'tools' / stage_tool).write_text('raise SystemExit(3)\n')
    done = tool(clone / 'tools' / name, *(arg.format(clone) for arg in args))
    assert done.status == 1
    assert 'frcnn_shapes_4: train.py failed with status 3' in done.err  # which only the clone's does


def test_version_is_told_once():
    assert version('mmilmil') == mmilmil.__version__
    assert f'## {mmilmil.__version__}' in (ROOT / 'CHANGELOG.md').read_text()


def test_model_index_names_existing_configs():
    text = (ROOT / 'configs/ilmil/metafile.yml').read_text()
    named = re.findall(r'Config: (\S+)', text)
    assert sorted(named) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'configs/ilmil').glob('*.py'))


def run_setup(tmp_path, python, **env):
    venv = tmp_path / 'venv'
    done = subprocess.run(
        ['bash', 'tools/setup_env.sh', python, str(venv)], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, **env})
    assert not venv.exists()
    return done


def test_setup_is_for_a_checkout(clone, tmp_path):
    """Not for what the folder holds that it is called from."""
    done = subprocess.run(['bash', clone / 'tools/setup_env.sh', 'python3', 'venv'], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1 and f'{clone} is no checkout of mmilmil' in done.stderr
    assert 'usage' in subprocess.run(['bash', clone / 'tools/setup_env.sh'], capture_output=True, text=True, check=False).stderr


def test_setup_stops_without_python(tmp_path):
    done = run_setup(tmp_path, '/nonexistent/python3.11')
    assert done.returncode == 1
    assert "error: no working '/nonexistent/python3.11'" in done.stderr and 'PYTHON=' in done.stderr


def test_setup_stops_with_an_old_python(tmp_path):
    old = tmp_path / 'python'
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = run_setup(tmp_path, str(old))
    assert done.returncode == 1 and 'is Python 3.8.1: Python 3.11 or newer is needed' in done.stderr


def test_setup_stops_without_a_compiler(tmp_path):
    done = run_setup(tmp_path, 'python3', CXX='no-such-compiler')
    assert done.returncode == 1 and "no C++ compiler 'no-such-compiler'" in done.stderr and 'apt-get install' in done.stderr


def test_setup_stops_without_headers(tmp_path):
    bare = tmp_path / 'python'
    bare.write_text(f'#!/bin/sh\ncase "$2" in *Python.h*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    bare.chmod(0o755)
    done = run_setup(tmp_path, str(bare))
    assert done.returncode == 1 and 'has no Python.h' in done.stderr and 'python3.11-dev' in done.stderr
