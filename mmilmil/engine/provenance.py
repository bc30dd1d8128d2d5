"""What has to be told of a program's run so that somebody can do it again."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Optional

import torch

from ..version import __version__
from .cli import tool_command
from .hooks.run_cost import cpu_name

_PACKAGES = ('torch', 'mmengine', 'mmcv', 'mmdet', 'numpy')


def made_by(tools: Path, name: str) -> dict:
    """The command, code, versions and machine of this run, as plain data.

    Args:
        tools: Folder of the tool, see :func:`mmilmil.engine.cli.own_tools`.
        name: The tool's file.

    Returns:
        ``command``; ``commit`` of the checkout that the tool belongs to, ``None`` where that is none of git, and ``changed``,
        whether its files are others than the commit's; ``versions``; ``machine``.
    """
    commit = _git(tools, 'rev-parse', 'HEAD')
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return dict(
        command=tool_command(tools, name, *sys.argv[1:]),
        commit=commit,
        changed=None if commit is None else bool(_git(tools, 'status', '--porcelain', '--untracked-files=no')),
        versions=versions(),
        machine=dict(system=platform.platform(), cpu=cpu_name(), gpus=gpus))


def versions() -> dict[str, Optional[str]]:
    """The versions of this package, Python and what a run stands on, by name."""
    return dict(mmilmil=__version__, python=platform.python_version(), **{one: _version(one) for one in _PACKAGES})


def _git(tools: Path, *args: str) -> Optional[str]:
    """What git says of the checkout whose folder of tools this is; ``None`` where it is none, or there is no git."""
    root = tools.parent
    if not (root / '.git').exists():  # not that of a folder above, which the package may be installed in
        return None
    try:
        done = subprocess.run(['git', '-C', str(root), *args], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> Optional[str]:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
