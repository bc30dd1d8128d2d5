"""The hooks that every run needs, whatever its config makes of MMEngine's ``default_hooks`` and ``custom_hooks``."""

from collections.abc import Mapping

from mmengine.config import Config

from ..errors import InputError
from ..former_names import with_current_names

# By their names in `default_hooks`, in the order in which those of one priority are called; the shipped configs have them in
# configs/_base_/default_runtime.py.
REQUIRED = dict(
    work_dir_lock='WorkDirLockHook',
    random_state='RandomStateHook',
    structure='StructureHook',
    resume_check='ResumeCheckHook',
    stage_check='StageCheckHook',
    plain_checkpoint='PlainCheckpointHook',
    precision='PrecisionHook',
    sync_buffers='SyncBuffersHook',
    run_cost='RunCostHook',
    metrics_file='MetricsFileHook',
    final_model='FinalModelHook',
    model_card='ModelCardHook',
    memory='MemoryHook')
CHECKPOINT = 'AtomicCheckpointHook'
# What MMEngine takes away where it is None; it knows no such word for other names.
_MMENGINE = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')


def hook_type(hook) -> str:
    """The name of a hook's class, from its config, without a scope; empty for what is no config."""
    kind = hook.get('type', '') if isinstance(hook, Mapping) else ''
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')


def complete_hooks(cfg: Config) -> None:
    """Give a run the hooks of :data:`REQUIRED`, each once, and checkpoints that are written atomically.

    A config that replaces ``default_hooks``, as MMDetection's own ``default_runtime.py`` does, gets what is missing, and
    MMEngine's ``CheckpointHook`` becomes :class:`AtomicCheckpointHook` with the same settings. Hooks of ours that stand in
    ``custom_hooks``, or have a former name, as in configs of earlier versions, move. ``None`` disables any other hook.

    Args:
        cfg: The run's config, changed in place.

    Raises:
        InputError: ``default_hooks`` or ``custom_hooks`` is of another type, or a hook of :data:`REQUIRED` is disabled or
            replaced.
    """
    hooks, custom = (with_current_names(cfg.get(name)) for name in ('default_hooks', 'custom_hooks'))
    hooks, custom = hooks or {}, custom or []
    if not isinstance(hooks, Mapping):
        raise InputError(f"default_hooks = {hooks!r}: it is a dict of hooks by name, such as dict(logger=dict(type='LoggerHook'"
                         ')); a list belongs in custom_hooks')
    if not isinstance(custom, list | tuple):
        raise InputError(f"custom_hooks = {custom!r}: it is a list, such as [dict(type='EMAHook')]")
    for name, hook in hooks.items():
        if name in REQUIRED and hook_type(hook) != REQUIRED[name]:
            raise InputError(f'default_hooks.{name} = {hook!r}: {REQUIRED[name]} is required and cannot be replaced or '
                             'disabled. Remove this setting; a hook of your own belongs in custom_hooks')
    complete = {name: hook for name, hook in hooks.items() if name not in REQUIRED and
                hook_type(hook) not in REQUIRED.values() and (hook is not None or name in _MMENGINE)}
    checkpoint = complete.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    if hook_type(checkpoint) == 'CheckpointHook':
        # Its subclass takes the same settings, and loses no checkpoint to a full disk.
        complete['checkpoint'] = dict(checkpoint, type=f'mmilmil.{CHECKPOINT}')
    before = {hook_type(hook): hook for hook in custom}
    for name, kind in REQUIRED.items():
        # With a scope: a config of MMDetection's has another default.
        complete[name] = hooks.get(name) or before.get(kind) or dict(type=f'{_scope(kind)}{kind}')
    cfg.default_hooks = complete
    if custom:
        cfg.custom_hooks = [hook for hook in custom if hook_type(hook) not in REQUIRED.values()]


def others(cfg: Mapping) -> list:
    """The hooks of a config that are neither ours nor MMEngine's and MMDetection's usual ones, wherever they stand."""
    hooks = [*(cfg.get('custom_hooks') or ()),
             *(hook for name, hook in (cfg.get('default_hooks') or {}).items() if name not in (*_MMENGINE, 'visualization'))]
    return [hook for hook in hooks if hook is not None and hook_type(hook) not in REQUIRED.values()]


def _scope(kind: str) -> str:
    return 'mmengine.' if kind == REQUIRED['sync_buffers'] else 'mmilmil.'
