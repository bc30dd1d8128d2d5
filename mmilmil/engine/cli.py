"""What the command-line tools share: reading a config and telling a user's mistake without a traceback."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from mmengine.config import Config

from ..errors import InputError


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print an :class:`InputError` as one line on stderr and exit with status 1; let every other exception through."""
    try:
        yield
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(1)


def read_config(path: str, options: Optional[dict] = None, work_dir: Optional[str] = None) -> Config:
    """Read a config file with a user's settings on top.

    Args:
        path: Config file.
        options: Settings from ``--cfg-options``.
        work_dir: Folder of the run; without it the config's own, or ``work_dirs/<name of the config file>``.

    Raises:
        InputError: the file, or one that it inherits, does not exist or is no valid config.
    """
    if not Path(path).is_file():
        raise InputError(f'the config {path} does not exist: give the path of a file such as '
                         'configs/ilmil/frcnn_voc_15+5.py')
    try:
        cfg = Config.fromfile(path)
    except (OSError, SyntaxError, KeyError, TypeError) as error:
        raise InputError(f'the config {path} cannot be read: {error}') from error
    if options:
        cfg.merge_from_dict(options)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(default_work_dir(path))
    return cfg


def default_work_dir(config: str) -> Path:
    """``work_dirs/<name of the config file without its ending>``, as in MMDetection."""
    return Path('work_dirs') / Path(config).stem
