"""Building a detector from its checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from mmengine.config import ConfigDict
from torch import nn

from ..checkpoint import config_values, load_checkpoint_file
from ..class_names import classes_in, given_classes
from ..config import config_file, load_config, published_weights
from ..errors import InputError
from ..registry import MODELS
from ..stock import full_model_cfg
from ..weights import may_exist
from .fit import load_weights, other_normalisation, told_otherwise
from .heads import class_heads
from .settings import built
from .structure import cut, read_structure
from .supported import check_supported


def load_detector(checkpoint: str, config: Optional[Union[str, dict]] = None, whose: str = "the teacher's ",
                  where: str = 'model.teacher.', classes: Optional[Union[str, Sequence[str]]] = None
                  ) -> tuple[nn.Module, tuple[str, ...]]:
    """Build a detector from its checkpoint, cut where that is pruned.

    Args:
        checkpoint: File written by a training run of MMDetection 3 or 2, or published by one, or its URL.
        config: Config file, its name in a package (``mmdet::...``) or dict of the run that made it. Without one, the config
            inside the checkpoint is used.
        whose: Whose checkpoint and config it is, for messages.
        where: What stands before ``config`` and ``checkpoint`` where a user sets them, for messages.
        classes: The names of its classes in label order, or the name of a data set of MMDetection's that has them; needed
            where the file does not tell them (:func:`mmilmil.class_names.classes_in`).

    Returns:
        The full or pruned detector with its weights, and the names of its classes in label order.

    Raises:
        InputError: a file is missing or unreadable, its classes are told by nobody or otherwise than by ``classes``, config and
            checkpoint do not fit, or the detector is not supported (:mod:`mmilmil.models.supported`).
    """
    file = f'{whose}checkpoint {checkpoint}'
    if not may_exist(checkpoint):
        raise InputError(f'{file} does not exist: {_remedy(checkpoint, config, where)}')
    content = load_checkpoint_file(checkpoint)
    meta = content.get('meta') or {}
    named = _class_names(file, meta, classes, f'{where}classes')
    model = full_model_cfg(_model_cfg(file, config, meta, whose, where))
    check_supported(model, f'the model of {file}')
    detector = built(MODELS.build, model, f'the model of {file}')
    check_supported(detector, f'the model of {file}')
    structure = read_structure(meta, checkpoint)
    if structure is not None:
        cut(detector, structure, checkpoint)
    wrong = load_weights(detector, content['state_dict']) or other_normalisation(meta, detector)
    if wrong:
        source = config if isinstance(config, str) else 'the given one' if config else 'the one in the checkpoint'
        wrong = '; '.join([*told_otherwise(meta, model), *wrong])
        raise InputError(f'{file} does not fit its config ({source}): {wrong}. Name the config that this checkpoint '
                         f'was trained with ({where}config)')
    for name, head in class_heads(detector).items():
        if len(named) != head.num_classes:
            names = f'names {len(named)} classes' if classes is None else f'is given {len(named)} classes ({where}classes)'
            raise InputError(f'{file} {names}, {list(named)}, but its {name} has num_classes = {head.num_classes}: '
                             f'{"use a checkpoint of a run in which the two agree" if classes is None else "name as many"}')
    return detector, named


def carries_config(checkpoint: str) -> bool:
    """Whether a checkpoint file tells the config that it was trained with."""
    return isinstance((load_checkpoint_file(checkpoint).get('meta') or {}).get('cfg'), str)


def detector_config(checkpoint: str, config: Optional[Union[str, dict]] = None) -> dict:
    """The whole config that a detector was trained with, as far as it is known; of a model alone there is nothing else in it.

    Args:
        checkpoint, config: See :func:`load_detector`.
    """
    if isinstance(config, dict):
        return config
    if config is not None:
        return load_config(config)
    try:
        return config_values((load_checkpoint_file(checkpoint).get('meta') or {}).get('cfg') or '')
    except (ValueError, TypeError):
        return {}


def _model_cfg(file: str, config: Optional[Union[str, dict]], meta: dict, whose: str, where: str) -> dict:
    if isinstance(config, dict):
        return config.get('model', config)
    if config is not None:
        if not config_file(config).is_file():
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
    if isinstance(config, str) and '::' in config:
        url = published_weights(config)
        return f'give {path}' + (f', or that of the weights that are published with {config}, {url}' if url else '')
    if isinstance(config, str):
        return (f'train it with `python tools/train.py {config} --work-dir {Path(checkpoint).parent}`, or train the whole '
                f'chain with `python tools/train_chain.py` and this config; where it is elsewhere, give {path}')
    return f'give {path}'


def _class_names(file: str, meta: Mapping, given: Optional[Union[str, Sequence[str]]], where: str) -> tuple[str, ...]:
    found = classes_in(meta)
    named = found if given is None else given_classes(given, where)
    if not named:
        raise InputError(f'{file} does not name its classes (meta.dataset_meta.classes or meta.CLASSES): give their names in '
                         f"label order, {where} = ['...', '...'], or the name of a data set of MMDetection's, such as "
                         f"{where} = 'coco'")
    if found and named != found:
        raise InputError(f'{file} names the classes {list(found)}, and {where} = {list(named)}: leave {where} out, or choose '
                         'the checkpoint of these classes')
    return named
