"""Reading config files, so that a mistake in one is told, not thrown, and telling what building a part of one met."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Optional

from mmengine.config import Config
from mmengine.registry import build_functions

from .errors import InputError


def load_config(path: str, options: Optional[dict] = None) -> Config:
    """Read a config file with a user's settings on top.

    Args:
        path: Config file; a detector's, so it has a ``model``.
        options: Settings from ``--cfg-options``.

    Raises:
        InputError: the file, or one that it inherits or imports, is no valid config; the settings do not fit it; it has no
            ``model``.
    """
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is Python, so it can fail in any way
        raise InputError(f'the config {path} cannot be read: {told(error)}') from error
    try:
        cfg.merge_from_dict(options or {})
    except Exception as error:
        raise InputError(f'--cfg-options {options} does not fit the config {path}: {told(error)}') from error
    if not isinstance(cfg.get('model'), dict):
        raise InputError(f'the config {path} has no model: give the config of a detector, such as '
                         'configs/ilmil/frcnn_voc_15+5.py')
    return cfg


def building_error(error: BaseException) -> Optional[str]:
    """What was wrong with a config's part, where an error came from building it; ``None`` of any other error.

    MMEngine builds every module, dataset and hook from its config by one function; what goes wrong in there is most often a
    name or an argument in the config.

    Args:
        error: As it was caught.

    Returns:
        In one line the types from the outermost to the innermost that were being built, and the error.
    """
    kinds = [str(kind) for kind in map(_type_built, _frames(error.__traceback__)) if kind is not None]
    return f'building {" > ".join(kinds)}: {told(error)}' if kinds else None


def _frames(trace: Optional[TracebackType]) -> Iterator[tuple[str, str, dict]]:
    for frame, _ in traceback.walk_tb(trace):
        yield frame.f_code.co_filename, frame.f_code.co_name, frame.f_locals


def _type_built(frame: tuple[str, str, dict]) -> Optional[str]:
    file, name, values = frame
    if (file, name) != (build_functions.__file__, 'build_from_cfg'):
        return None
    cfg = values.get('cfg')
    kind = cfg.get('type', 'a part without type') if isinstance(cfg, dict) else repr(cfg)
    return kind if isinstance(kind, str) else getattr(kind, '__name__', kind)


def told(error: BaseException) -> str:
    """The error in one line; of one that a config's ``custom_imports`` met, the module's own."""
    text = f'{type(error).__name__}: {error}'
    if isinstance(error, ImportError) and str(error).startswith('Failed to import custom modules'):
        while error.__cause__ or error.__context__:  # MMEngine's two, then what the module itself raised
            error = error.__cause__ or error.__context__
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = '' if place.filename.startswith('<') else f' ({Path(place.filename).name}, line {place.lineno})'
        text = f'custom_imports failed by {type(error).__name__}: {error}{where}'
    return ' '.join(text.split()).split(' Please check whether the value of')[0]
