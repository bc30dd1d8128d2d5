"""A runner from a config whose mistakes are told before anything is built."""

import logging

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ..errors import InputError
from ..models.supported import check_supported

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# How MMEngine begins what fills screens at every start.
_LONG = ('System environment:', 'Config:', 'Hooks will be executed')


class _Brief(logging.Filter):

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().lstrip('-\n').startswith(_LONG)


class BriefRunner(Runner):
    """MMEngine's runner. A terminal does not get its environment, config and hooks, which the log file has."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """The logger, told to be brief on a terminal."""
        logger = super().build_logger(*args, **kwargs)
        terminals = [one for one in logger.handlers if isinstance(one, logging.StreamHandler) and one.stream.isatty()]
        for handler in terminals:
            handler.addFilter(_Brief())
        if terminals and logger.log_file:
            logger.info(f'environment, config and hooks stand in {logger.log_file}')
        return logger


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
        return BriefRunner.from_cfg(cfg)
    except ValueError as error:
        if 'SyncBatchNorm layers only work with GPU modules' not in str(error):  # torch's, when processes are joined
            raise
        raise InputError('the model has SyncBN, by norm_cfg or, of RTMDet, by use_syncbn, which several processes without GPUs '
                         "cannot train: set these to dict(type='BN') and False, or train in one process") from error
