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
from mmengine.config import Config

import mmilmil

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
