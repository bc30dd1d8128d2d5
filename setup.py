"""Puts configs, tools and the model index into the package, where `mim` looks for them (`mmilmil/.mim`).

An editable install gets links, so that an edited config counts at once; a built package gets copies.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import setup

CARRIED = ('configs', 'tools', 'model-index.yml')
LINKING_COMMANDS = {'develop', 'editable_wheel'}
COPYING_COMMANDS = {'sdist', 'bdist_wheel', 'install'}


def fill_mim_folder(root: Path, link: bool) -> None:
    """Fill ``<root>/mmilmil/.mim`` anew, with links to the originals or with copies of them."""
    folder = root / 'mmilmil' / '.mim'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in CARRIED:
        source, target = root / name, folder / name
        if link:
            target.symlink_to(os.path.relpath(source, folder))
        elif source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(source, target)


if __name__ == '__main__':
    commands = set(sys.argv)
    if commands & (LINKING_COMMANDS | COPYING_COMMANDS):
        fill_mim_folder(Path(__file__).resolve().parent, link=bool(commands & LINKING_COMMANDS))
    setup()
