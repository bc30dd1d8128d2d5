"""What the command-line tools share: reading a config, checking arguments, and telling a user's mistake without a traceback."""

import argparse
import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import torch
from mmengine.config import Config, DictAction

# Some are taken from here by the tools and the other rooms.
from ..arguments import TRACEBACK, check_file, check_folder, fail, number, one_line, told_in_a_line  # noqa: F401
from ..config import building_error, config_file, read_file, set_options
from ..errors import InputError
from . import failures
from .live_backends import complete_visualizer
from .methods import lay_over
from .required_hooks import complete_hooks
from .work_dir import default_work_dir


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """What a tool runs in: see :func:`~mmilmil.arguments.told_in_a_line`.

    An error of building what a config names, such as a type that is in no registry, is a line too. Every other exception is a
    fault of the program and is let through. One of several processes leaves its line to the tool that started them
    (:mod:`mmilmil.engine.failures`), and says nothing where another one has failed before.
    """
    try:
        with told_in_a_line(_fail, 'stopped by Ctrl-C: resume a training with --resume, a chain by the same command'):
            yield
    except Exception as error:
        if failures.another_failed():
            sys.exit(1)
        message = building_error(error)
        if message is None:
            failures.leave(f'{type(error).__name__}: {one_line(error)}, by a fault of the program, see its traceback')
            raise
        if os.environ.get(TRACEBACK) == '1':
            traceback.print_exc()
        _fail(f'the config cannot be used: {message}', 1)


def _fail(message: str, status: int, kind: str = 'error: ') -> None:
    if not failures.leave(message):
        fail(message, status, kind)
    sys.exit(status)


class CfgOptions(DictAction):
    """MMEngine's ``action`` for ``--cfg-options``, which throws where a setting is no ``key=value``.

    Raises:
        InputError: names the setting.
    """

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the settings to the namespace."""
        for value in values:
            try:
                super().__call__(parser, argparse.Namespace(), [value], option_string)
            except (ValueError, AssertionError) as error:
                raise InputError(f'--cfg-options {value}: write key=value, such as train_cfg.max_epochs=3, or key="[1,2]" for '
                                 'a list, without blanks around = and with brackets in pairs') from error
        super().__call__(parser, namespace, values, option_string)


def own_tools(file: str) -> Path:
    """The folder of tools that a tool was started from. What it calls and the project's configs lie there and beside it.

    A link to a tool is followed, but for those in ``mmilmil/.mim`` of an editable install, which stand for the package.

    Args:
        file: The tool's ``__file__``.
    """
    folder = Path(file).absolute().parent
    return folder if in_package(folder) else Path(file).resolve().parent


def in_package(tools: Path) -> bool:
    """Whether these are the tools inside the installed package, as ``mim run`` starts them, where nobody writes."""
    return tools.parent.name == '.mim'


def tool_command(tools: Path, name: str, *args: str | Path) -> str:
    """The command that starts a tool from the working directory, to be copied into a shell.

    Args:
        tools: Folder of tools.
        name: The tool's file.
        args: Its arguments.
    """
    path = tools / name
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f'python {shlex.join(map(str, (path, *args)))}'


def parse_options(options: Sequence[str]) -> dict:
    """What ``--cfg-options`` makes of ``key=value`` settings."""
    parser = argparse.ArgumentParser()
    parser.add_argument('options', nargs='*', action=CfgOptions)
    return parser.parse_args([*options]).options or {}


def read_config(path: str, options: Optional[dict] = None, work_dir: Optional[str] = None,
                teacher: Optional[str] = None, method: Optional[Path] = None) -> Config:
    """Read a config file with a method laid over it and a user's settings on top.

    Args:
        path: Config file, or its name in a package (:func:`mmilmil.config.config_file`).
        options: Settings from ``--cfg-options``.
        work_dir: Folder of the run; without it the config's own, or ``work_dirs/<name of the config file>``, by a method with
            its name behind.
        teacher: The teacher's checkpoint, in place of the config's. (``--cfg-options`` cannot take every path: MMEngine takes
            out blanks and parts at commas.)
        method: File of the method by which the stage is run, see :func:`mmilmil.engine.methods.lay_over`.

    Raises:
        InputError: the file does not exist, a teacher is named that the config has no use for, or see
            :mod:`mmilmil.config`, :func:`mmilmil.engine.methods.lay_over`,
            :func:`mmilmil.engine.required_hooks.complete_hooks` and
            :func:`mmilmil.engine.live_backends.complete_visualizer`.
    """
    if not config_file(path).is_file():
        raise InputError(f'the config {path} does not exist: give the path of a file such as '
                         'configs/ilmil/frcnn_voc_15+5.py')
    cfg = read_file(path)
    if method:
        cfg = lay_over(cfg, method)
    cfg = set_options(cfg, options, path)
    if teacher:
        if not cfg.model.get('teacher'):
            by = f' by the method {method.stem}' if method else ''
            raise InputError(f'--teacher {teacher}: the config {path} has no teacher (model.teacher){by}, so leave it out, or '
                             "give the config of a student's stage")
        cfg.model.teacher.checkpoint = teacher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(default_work_dir(path, method))
    if not isinstance(cfg.work_dir, str):
        raise InputError(f'work_dir = {cfg.work_dir!r}: it must be the path of a folder')
    complete_hooks(cfg)
    complete_visualizer(cfg)
    return cfg


def check_device(name: str) -> None:
    """The device is there.

    Raises:
        InputError: names it.
    """
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f'--device {name} cannot be used ({str(error).splitlines()[0]}): give cpu, or cuda on a machine with '
                         'a GPU that torch is built for') from error
