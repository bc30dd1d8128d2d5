"""What `import mmilmil` promises to MMEngine holds whoever is imported first, and costs nothing where MMEngine is not."""

import subprocess
import sys

import pytest
from tiny import ROOT

JOINED = ('from mmengine.registry import MODELS\n'
          "assert MODELS.children['mmdet'].children['mmilmil'].scope == 'mmilmil'\n"
          'from mmengine.runner.checkpoint import CheckpointLoader\n'
          "assert CheckpointLoader._schemes[''].__module__ == 'mmilmil.compat'\n")


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_package_alone_imports_nothing_of_the_stack():
    done = run('import mmilmil, sys\nprint([name for name in ("torch", "mmengine", "mmcv", "mmdet") if name in sys.modules])')
    assert done.stdout.strip() == '[]', done.stderr


@pytest.mark.parametrize('first', [
    # A look is no import; and MMCV asks for MMEngine when it is half imported itself.
    "import mmilmil, importlib.util; importlib.util.find_spec('mmdet')\nimport mmcv",
    'from mmilmil.config import config_file',  # a module that the mending uses, half imported
])
def test_everything_is_there_after_the_first_import(first):
    done = run(f'{first}\n{JOINED}')
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_unfit_version_is_told_by_that_import():
    done = run("import importlib.metadata as metadata\nfound = metadata.version\n"
               "metadata.version = lambda name: '3.9.9' if name == 'mmcv' else found(name)\n"
               'import mmilmil\n'
               'for _ in range(2):\n    try:\n        import mmengine\n    except ImportError as error:\n        print(error)')
    assert done.stdout.count('mmilmil needs mmcv >=2.0.0,<2.2.0, but 3.9.9 is installed') == 2, done.stderr
