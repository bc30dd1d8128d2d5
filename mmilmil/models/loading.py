"""Building a detector from its checkpoint."""

from pathlib import Path
from typing import Optional, Union

from mmengine.config import ConfigDict
from torch import nn

from ..checkpoint import config_values, load_checkpoint_file
from ..config import load_config
from ..errors import InputError
from ..registry import MODELS
from ..stock import full_model_cfg
from ..weights import may_exist
from .heads import class_heads
from .settings import built
from .structure import cut, read_structure
from .supported import check_supported


def load_detector(checkpoint: str, config: Optional[Union[str, dict]] = None, whose: str = "the teacher's ",
                  where: str = 'model.teacher.') -> tuple[nn.Module, tuple[str, ...]]:
    """Build a detector from its checkpoint, cut where that is pruned.

    Args:
        checkpoint: File written by a training run, or its URL; its ``meta.dataset_meta.classes`` names the classes.
        config: Config file or dict of the run that made it. Without one, the config inside the checkpoint is used.
        whose: Whose checkpoint and config it is, for messages.
        where: What stands before ``config`` and ``checkpoint`` where a user sets them, for messages.

    Returns:
        The full or pruned detector with its weights, and the names of its classes in label order.

    Raises:
        InputError: a file is missing or unreadable, tells no classes, config and checkpoint do not fit, or the detector is
            not supported (:mod:`mmilmil.models.supported`).
    """
    file = f'{whose}checkpoint {checkpoint}'
    if not may_exist(checkpoint):
        raise InputError(f'{file} does not exist: {_remedy(checkpoint, config, where)}')
    content = load_checkpoint_file(checkpoint)
    meta = content.get('meta') or {}
    dataset_meta = {key.lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    classes = dataset_meta.get('classes')
    if not classes:
        raise InputError(f'{file} does not name its classes (meta.dataset_meta.classes): use a checkpoint written by '
                         'MMDetection 3 or later')
    model = full_model_cfg(_model_cfg(file, config, meta, whose, where))
    check_supported(model, f'the model of {file}')
    detector = built(MODELS.build, model, f'the model of {file}')
    check_supported(detector, f'the model of {file}')
    structure = read_structure(meta, checkpoint)
    if structure is not None:
        cut(detector, structure, checkpoint)
    try:
        detector.load_state_dict(content.get('state_dict', content))
    except RuntimeError as error:
        source = config if isinstance(config, str) else 'the given one' if config else 'the one in the checkpoint'
        raise InputError(f'{file} does not fit its config ({source}): give {where}config the config that this checkpoint was '
                         f'trained with. {_first_lines(str(error))}') from error
    for name, head in class_heads(detector).items():
        if len(classes) != head.num_classes:
            raise InputError(f'{file} names {len(classes)} classes, {list(classes)}, but its {name} has num_classes = '
                             f'{head.num_classes}: use a checkpoint of a run in which the two agree')
    return detector, tuple(classes)


def carries_config(checkpoint: str) -> bool:
    """Whether a checkpoint file tells the config that it was trained with."""
    return isinstance((load_checkpoint_file(checkpoint).get('meta') or {}).get('cfg'), str)


def _model_cfg(file: str, config: Optional[Union[str, dict]], meta: dict, whose: str, where: str) -> dict:
    if isinstance(config, dict):
        return config.get('model', config)
    if config is not None:
        if not Path(config).is_file():
            raise InputError(f'{whose}config {config} does not exist: correct {where}config')
        return load_config(config).model
    remedy = f'name the config that it was trained with in {where}config'
    if not isinstance(meta.get('cfg'), str):
        raise InputError(f'{file} carries no config: {remedy}')
    try:
        return ConfigDict(config_values(meta['cfg'])['model'])
    except (ValueError, KeyError) as error:
        raise InputError(f'the config inside {file} cannot be used without running it ({error}): {remedy}') from error


def _remedy(checkpoint: str, config: Optional[Union[str, dict]], where: str) -> str:
    path = f'--cfg-options {where}checkpoint=PATH' if where else 'its path'
    if isinstance(config, str):
        return (f'train it with `python tools/train.py {config} --work-dir {Path(checkpoint).parent}`, or train the whole '
                f'chain with `python tools/train_chain.py` and this config; where it is elsewhere, give {path}')
    return f'give {path}'


def _first_lines(message: str, count: int = 3) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return ' '.join(lines[:count]) + (f' (and {len(lines) - count} more)' if len(lines) > count else '')
