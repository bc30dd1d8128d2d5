"""A runner from a config whose mistakes are told before anything is built."""

from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import InputError
from ..models.supported import check_supported

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_loaders(cfg: Config) -> None:
    """What MMEngine and torch refuse of a config's parts only when these are built, or in words of their own.

    Args:
        cfg: A run's config.

    Raises:
        InputError: a loader asks for what needs worker processes and has none, or one of the three settings that belong
            together (``test_dataloader``, ``test_cfg``, ``test_evaluator``) is set without the others.
    """
    for name in _LOADERS:
        loader = cfg.get(name) or {}
        if not loader.get('num_workers', 0):
            asked = {key: loader[key] for key in ('persistent_workers', 'prefetch_factor') if loader.get(key)}
            for key, value in asked.items():
                raise InputError(f'{name}.{key} = {value} needs worker processes, but {name}.num_workers = 0: set {name}.{key} '
                                 f'to {False if key == "persistent_workers" else None} or num_workers to 1 or more')
    for kind, rest in (('train', ('train_cfg', 'optim_wrapper')), ('val', ('val_cfg', 'val_evaluator')),
                       ('test', ('test_cfg', 'test_evaluator'))):
        names = (f'{kind}_dataloader', *rest)
        lacking = [name for name in names if cfg.get(name) is None]
        if lacking and len(lacking) < len(names):
            there = [name for name in names if name not in lacking]
            raise InputError(f'the config has {" and ".join(there)} but no {" and no ".join(lacking)}, which belong together: '
                             f'set {"that" if len(lacking) == 1 else "those"} too, or {" and ".join(there)} = None')


def build_runner(cfg: Config) -> Runner:
    """The runner of a config.

    Raises:
        InputError: see :func:`check_loaders`; the detector is not supported (:mod:`mmilmil.models.supported`); or its
            SyncBN asks for GPUs that several processes do not have.
    """
    check_loaders(cfg)
    if 'detector' not in cfg.model:  # a pruning algorithm's detector is checked when it is built
        check_supported(cfg.model, f'the model of {cfg.filename or "the config"}')
    try:
        return Runner.from_cfg(cfg)
    except ValueError as error:
        if 'SyncBatchNorm layers only work with GPU modules' not in str(error):  # torch's, when processes are joined
            raise
        raise InputError('the model has SyncBN, by norm_cfg or, of RTMDet, by use_syncbn, which several processes without GPUs '
                         "cannot train: set these to dict(type='BN') and False, or train in one process") from error
