"""Names that types had in earlier versions, so that configs and checkpoints of then are understood."""

from collections.abc import Mapping
from typing import Any

FORMER_TYPES = {
    'OneRunHook': 'WorkDirLockHook',
    'SameRunHook': 'ResumeCheckHook',
    'SelectStages': 'SelectLevels',
    'WholeCheckpointHook': 'AtomicCheckpointHook',
}
"""By the former name the name of now."""
FORMER_SETTINGS = {'MFRRKDistiller': dict(stages='backbone_levels', levels='neck_levels')}
"""By type, and by the former name of a setting, the name of now."""
FORMER_METHODS = dict(paper='ilmil')
"""By the former name of a method the name of now."""


def with_current_names(cfg: Any) -> Any:
    """A copy of a config, or of any part of one, in which every ``type`` and setting is called as it is now; scopes stay."""
    if isinstance(cfg, Mapping):
        kind = cfg.get('type')
        settings = FORMER_SETTINGS.get(kind.rpartition('.')[2], {}) if isinstance(kind, str) else {}
        return type(cfg)({settings.get(key, key): _current(value) if key == 'type' else with_current_names(value)
                          for key, value in cfg.items()})
    return type(cfg)(map(with_current_names, cfg)) if type(cfg) in (list, tuple) else cfg


def _current(kind: Any) -> Any:
    if not isinstance(kind, str):
        return kind
    scope, dot, name = kind.rpartition('.')
    return f'{scope}{dot}{FORMER_TYPES.get(name, name)}'
