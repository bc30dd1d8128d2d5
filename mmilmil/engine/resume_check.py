"""Whether a checkpoint can be resumed with a config: what differs between the config it was saved with and that one."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

from ..checkpoint import config_values
from ..former_names import with_current_names
from ..registry import HOOKS
from ..stock import LATER_KEYS
from .required_hooks import hook_type, others
from .student_settings import Defaults, completed, defaults_now, first_defaults

# What the trained weights depend on. Names that a config only computes with are in these too, where they count.
TRAINING = ('model', 'data_preprocessor', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'auto_scale_lr', 'param_scheduler',
            'custom_hooks', 'randomness', 'load_from')
# What the figures of a test depend on besides.
TESTING = ('test_dataloader', 'test_cfg', 'test_evaluator')
# Where files are and how they are read, what images tell beside their pixels, and when is validated: the same run on another
# machine.
_FREE = ('*_dataloader.num_workers', '*_dataloader.persistent_workers', '*_dataloader.prefetch_factor',
         '*_dataloader.pin_memory', '*.data_root', '*.data_prefix*', '*_evaluator.ann_file', '*.backend_args*', '*.meta_keys',
         'train_cfg.val_*', 'train_cfg.dynamic_intervals', 'model.teacher.checkpoint', 'model.teacher.config', 'model.pruned',
         'model.checkpoint')
# A resumed run may become longer, and does not start again.
FREE_IN_RESUMING = ('train_cfg.max_epochs', 'train_cfg.max_iters', '*.init_cfg*', 'load_from')

_MISSING = object()
_SHOWN = 80  # letters of a value


def saved_settings(meta: Mapping) -> dict:
    """The config in a checkpoint's meta information.

    Raises:
        ValueError: there is none, or it holds more than literals.
    """
    if not isinstance(meta.get('cfg'), str):
        raise ValueError('it holds no config')
    return config_values(meta['cfg'])


def differences(old: Mapping, new: Mapping, keys: Iterable[str] = TRAINING, free: Iterable[str] = ()) -> list[str]:
    """What differs between two configs, where it makes another run.

    What a student's config leaves out counts as set to the default: of the library as it is for ``new``, and of the time before
    runs wrote their defaults into the config for ``old``.

    Args:
        old: Settings of the checkpoint.
        new: Settings of now.
        keys: Top-level keys to compare.
        free: Patterns of further settings that may differ, as ``train_cfg.max_*``.

    Returns:
        One ``key: old -> new`` each, in the order of the configs; empty where the runs are the same.
    """
    free = (*_FREE, *free)
    old, new = (_whole(with_current_names(cfg), defaults)
                for cfg, defaults in ((old, first_defaults), (new, defaults_now)))
    if old.get('resume'):  # its `load_from` is a checkpoint of its own
        free = (*free, 'load_from')
    return [told(path, before, after) for key in keys for path, before, after in _compare(key, _part(old, key), _part(new, key))
            if not any(fnmatch(path, pattern) for pattern in free)]


def _whole(cfg: Mapping, defaults: Defaults) -> Mapping:
    """A config whose student says what it leaves to the defaults, and whose training sets leave out what is None there."""
    cfg = {**cfg, 'train_dataloader': _stated(cfg['train_dataloader'])} if cfg.get('train_dataloader') else cfg
    return {**cfg, 'model': completed(cfg['model'], defaults)} if isinstance(cfg.get('model'), Mapping) else cfg


def _stated(part: Any) -> Any:
    """A part of a config without the settings of :data:`LATER_KEYS` that are None, which is the same as leaving them out."""
    if isinstance(part, Mapping):
        return {key: _stated(value) for key, value in part.items() if value is not None or key not in LATER_KEYS}
    if isinstance(part, list | tuple):
        values = [_stated(value) for value in part]
        return tuple(values) if isinstance(part, tuple) else values  # a message shows what the config has
    return part


def told(name: str, before: Any, after: Any) -> str:
    """One difference in words."""
    return f'{name}: {_short(before)} -> {_short(after)}'


def _part(cfg: Mapping, key: str) -> Any:
    value = cfg.get(key)
    # Most of ours keep watch, and what they make of a run depends on no setting. SyncBuffersHook does nothing in one process.
    if key == 'custom_hooks':
        value = [hook for hook in others(cfg) if hook_type(hook) not in HOOKS.module_dict or
                 getattr(HOOKS.module_dict[hook_type(hook)], 'changes_training', False)]
    if key == 'auto_scale_lr' and not (value and value.get('enable')):
        value = None
    return value


def _compare(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _compare(f'{path}.{key}', old.get(key, _MISSING), new.get(key, _MISSING))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        if len(old) == len(new) and any(isinstance(value, Mapping | list | tuple) for value in (*old, *new)):
            for index, (before, after) in enumerate(zip(old, new)):
                yield from _compare(f'{path}.{index}', before, after)
        elif list(old) != list(new):
            yield path, old, new
    elif old != new:
        yield path, old, new


def _short(value: Any) -> str:
    if value is _MISSING:
        return 'not set'
    text = repr(value)
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
