"""What the command-line tools share: reading a config and telling a user's mistake without a traceback."""

import argparse
import contextlib
import errno
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from mmengine.config import Config, DictAction

from ..config import load_config
from ..errors import InputError


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print an :class:`InputError` or that the disk is full as one line on stderr and exit with status 1.

    Every other exception is let through.
    """
    try:
        yield
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(f'{error}: make room and run this again, a training with --resume')


def _fail(message: str) -> None:
    print(f'error: {message}', file=sys.stderr)
    sys.exit(1)


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
    parser.add_argument('options', nargs='*', action=DictAction)
    return parser.parse_args([*options]).options or {}


def read_config(path: str, options: Optional[dict] = None, work_dir: Optional[str] = None,
                teacher: Optional[str] = None) -> Config:
    """Read a config file with a user's settings on top.

    Args:
        path: Config file.
        options: Settings from ``--cfg-options``.
        work_dir: Folder of the run; without it the config's own, or ``work_dirs/<name of the config file>``.
        teacher: The teacher's checkpoint, in place of the config's. (``--cfg-options`` cannot take every path: MMEngine takes
            out blanks and parts at commas.)

    Raises:
        InputError: the file does not exist, a teacher is named that the config has no use for, or see
            :func:`mmilmil.config.load_config`.
    """
    if not Path(path).is_file():
        raise InputError(f'the config {path} does not exist: give the path of a file such as '
                         'configs/ilmil/frcnn_voc_15+5.py')
    cfg = load_config(path, options)
    if teacher:
        if not cfg.model.get('teacher'):
            raise InputError(f'--teacher {teacher}: the config {path} has no teacher (model.teacher), so leave it out, or give '
                             "the config of a student's stage")
        cfg.model.teacher.checkpoint = teacher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(default_work_dir(path))
    return cfg


def default_work_dir(config: str) -> Path:
    """``work_dirs/<name of the config file without its ending>``, as in MMDetection."""
    return Path('work_dirs') / Path(config).stem
