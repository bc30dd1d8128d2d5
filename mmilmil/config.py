"""Reading config files so that a mistake in one is told, not thrown."""

from typing import Optional

from mmengine.config import Config

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
        raise InputError(f'the config {path} cannot be read: {_told(error)}') from error
    try:
        cfg.merge_from_dict(options or {})
    except Exception as error:
        raise InputError(f'--cfg-options {options} does not fit the config {path}: {_told(error)}') from error
    if not isinstance(cfg.get('model'), dict):
        raise InputError(f'the config {path} has no model: give the config of a detector, such as '
                         'configs/ilmil/frcnn_voc_15+5.py')
    return cfg


def _told(error: Exception) -> str:
    """The error in one line."""
    return ' '.join(f'{type(error).__name__}: {error}'.split())
