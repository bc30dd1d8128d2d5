"""Reading config files, so that a mistake in one is told, not thrown, and telling what building a part of one met."""

import difflib
import re
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Optional

import mmengine
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import build_functions
from mmengine.runner import runner

from .errors import InputError
from .log_level import say_once

# MMEngine's words for settings of what a config below has as None.
_DICT_ON_NONE = re.compile(r"(\w+)=\{.*\} in child config cannot inherit .* is of type <class 'NoneType'> in base config")


def config_file(name: str) -> Path:
    """The file of a config that is named by its path, or as ``PACKAGE::PATH`` among the configs that a package brings along.

    Args:
        name: Such as ``configs/ilmil/frcnn_voc_15+5.py`` or ``mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py``.

    Returns:
        The path; one that was given as such is returned as it is, be it there or not.

    Raises:
        InputError: there is no such package, or no such config in it; names the nearest.
    """
    package, colons, path = str(name).partition('::')
    if not colons:
        return Path(name)
    found = find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise InputError(f'the config {name} is one of the package {package}, which is not installed: install it, or give the '
                         'path of a file')
    folder = Path(found.submodule_search_locations[0]) / '.mim/configs'
    if not (folder / path).is_file() or not path:
        known = sorted(file.relative_to(folder).as_posix() for file in folder.rglob('*.py'))
        near = [one for one in known if Path(one).name == Path(path).name]
        near = near or difflib.get_close_matches(path, known, n=3) or known[:3]
        hint = f'the nearest are {", ".join(f"{package}::{one}" for one in near)}' if near else f'{folder} has none'
        raise InputError(f'the config {name} is none of those that {package} brings along: {hint}')
    return folder / path


def published_weights(name: str) -> Optional[str]:
    """The URL of the weights that a package publishes for one of its configs, by the ``metafile.yml`` beside it.

    Args:
        name: The config's, see :func:`config_file`.

    Returns:
        ``None`` where there are none.
    """
    file = config_file(name)
    metafile = file.with_name('metafile.yml')
    models = mmengine.load(metafile).get('Models') or () if metafile.is_file() else ()
    return next((model.get('Weights') for model in models if Path(model.get('Config', '')).name == file.name), None)


def load_config(path: str, options: Optional[dict] = None) -> Config:
    """Read a config file with a user's settings on top.

    Args:
        path: Config file.
        options: Settings from ``--cfg-options``.

    Raises:
        InputError: see :func:`read_file` and :func:`set_options`.
    """
    return set_options(read_file(path), options, path)


def read_file(path: str) -> Config:
    """Read a config file.

    Args:
        path: Config file, or its name in a package (:func:`config_file`); a detector's, so it has a ``model``.

    Raises:
        InputError: the file, or one that it inherits or imports, is no valid config; it has no ``model``.
    """
    file = config_file(path)
    # MMEngine tells of a variable in each reading, and a chain reads each config many times.
    say_once(MMLogger.get_current_instance(), 'Using env variable')
    try:
        cfg = Config.fromfile(file)
    except Exception as error:  # a config is Python, so it can fail in any way
        raise InputError(f'the config {path} cannot be read: {told(error)}') from error
    return _with_model(cfg, path)


def set_options(cfg: Config, options: Optional[dict], path: str) -> Config:
    """Put a user's settings on top of a config.

    Args:
        cfg: The config, which is changed.
        options: Settings from ``--cfg-options``.
        path: Its file, for messages.

    Returns:
        The config.

    Raises:
        InputError: the settings do not fit the config.
    """
    try:
        cfg.merge_from_dict(options or {})
    except Exception as error:
        raise InputError(f'--cfg-options {options} does not fit the config {path}: {told(error)}') from error
    return _with_model(cfg, path)


def _with_model(cfg: Config, path: str) -> Config:
    if not isinstance(cfg.get('model'), dict):
        raise InputError(f'the config {path} has no model: give the config of a detector, such as '
                         'configs/ilmil/frcnn_voc_15+5.py')
    return cfg


def random_seed(cfg: Config) -> Optional[int]:
    """The seed that a config names; ``None`` of one that leaves it to chance, as MMEngine's runner does."""
    return (cfg.get('randomness') or {}).get('seed')


def building_error(error: BaseException) -> Optional[str]:
    """What was wrong with a config's part, where an error came from building it; ``None`` of any other error.

    MMEngine builds every module, dataset and hook from its config by one function; what goes wrong in there is most often a
    name or an argument in the config.

    Args:
        error: As it was caught.

    Returns:
        In one line the types from the outermost to the innermost that were being built, and the error.
    """
    frames = list(_frames(error.__traceback__))
    kinds = [kind for kind in map(_type_built, frames) if kind is not None]
    # What the runner builds in another way, such as an optimizer, has no type in such a frame.
    kinds = kinds or [part for part in map(_part_built, frames) if part is not None]
    return f'building {" > ".join(kinds)}: {told(error)}' if kinds else None


def _frames(trace: Optional[TracebackType]) -> Iterator[tuple[str, str, dict]]:
    for frame, _ in traceback.walk_tb(trace):
        yield frame.f_code.co_filename, frame.f_code.co_name, frame.f_locals


def _type_built(frame: tuple[str, str, dict]) -> Optional[str]:
    file, name, values = frame
    if (file, name) != (build_functions.__file__, 'build_from_cfg'):
        return None
    cfg = values.get('cfg')
    kind = cfg.get('type', 'a part without type') if isinstance(cfg, dict) else cfg
    return kind if isinstance(kind, str) else getattr(kind, '__name__', repr(kind))


def _part_built(frame: tuple[str, str, dict]) -> Optional[str]:
    file, name, values = frame
    if file != runner.__file__ or not name.startswith('build_'):
        return None
    part = name.removeprefix('build_')
    return f'{part} = {values[part]}' if isinstance(values.get(part), dict) else part


def told(error: BaseException) -> str:
    """The error in one line; of one that a config's ``custom_imports`` met, the module's own; MMEngine's words made plainer."""
    text = f'{type(error).__name__}: {error}'
    if isinstance(error, ImportError) and str(error).startswith('Failed to import custom modules'):
        while error.__cause__ or error.__context__:  # MMEngine's two, then what the module itself raised
            error = error.__cause__ or error.__context__
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = '' if place.filename.startswith('<') else f' ({Path(place.filename).name}, line {place.lineno})'
        text = f'custom_imports failed by {type(error).__name__}: {error}{where}'
    if text == 'TypeError: None is not a callable object':  # MMEngine's optimizers
        text = 'no such type is registered'
    switched_off = _DICT_ON_NONE.search(text)
    if switched_off:
        name = switched_off[1]
        text = (f'{name} is None in the config below, that is switched off, and has no settings to change: to switch it on, '
                f'give {name}._delete_=True and all of its settings, its type too; in a config file '
                f'{name}=dict(_delete_=True, type=..., ...)')
    return ' '.join(text.split()).split(' Please check whether the value of')[0]
