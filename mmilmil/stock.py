"""From an incremental run to stock MMDetection: the detector inside a model config, and a config that runs without mmilmil."""

from collections.abc import Mapping, Sequence
from typing import Optional

from mmengine.config import Config, ConfigDict

from .loaders import innermost_dataset, test_loader
from .registry import MODELS

# Settings that the student adds to a stock detector's; its checkpoint knows nothing of them.
INCREMENTAL_KEYS = ('teacher', 'distiller', 'merging', 'memory', 'frozen', 'norm_eval', 'teacher_boxes', 'start')
_PREFIXES = ('Incremental', 'Pruned')
LATER_KEYS = ('replay', 'unlabelled')
"""Settings of a training set that only a student's stage has a use for; None leaves one out."""
# Settings that stock datasets know nothing of.
_STAGE_KEYS = ('keep', 'annotated', *LATER_KEYS)
_STOCK_DATASETS = {'IncrementalVOCDataset': 'XMLDataset', 'IncrementalCocoDataset': 'CocoDataset'}


def stock_model_cfg(model: dict) -> ConfigDict:
    """The stock detector inside ``model``.

    Args:
        model: A model config, of a student, a pruned detector, a pruning algorithm or already stock.

    Returns:
        A copy without teacher, distiller and merging. Its type is the stock detector's, or ``Pruned`` and that where it
        names a pruned checkpoint or prunes in training.
    """
    stock = ConfigDict(model).copy()
    if 'detector' in stock:  # a pruning algorithm around it
        detector = full_model_cfg(stock['detector'])
        return ConfigDict(detector, type=f'Pruned{detector.type}', pruned=stock['checkpoint'])
    for key in INCREMENTAL_KEYS:
        stock.pop(key, None)
    if not stock.get('pruned'):
        stock.pop('pruned', None)
    name = stock_type(stock['type'])
    if name is not None:
        stock['type'] = f'Pruned{name}' if stock.get('pruned') else name
    return stock


def is_student(model: Mapping) -> bool:
    """Whether a model config is a student's."""
    name = _own_name(model.get('type'))
    return name is not None and name.startswith('Incremental')


def stock_type(kind: str | type) -> Optional[str]:
    """The stock detector's type behind a student's or a pruned detector's, as ``GFL`` behind ``IncrementalGFL``."""
    name = _own_name(kind)
    prefix = next((prefix for prefix in _PREFIXES if name and name.startswith(prefix)), None)
    return name.removeprefix(prefix) if prefix else None


def _own_name(kind: str | type | None) -> Optional[str]:
    """The name of one of our own detectors, without the scope."""
    name = kind.removeprefix('mmilmil.') if isinstance(kind, str) else getattr(kind, '__name__', None)
    MODELS.import_from_location()  # they register themselves when they are first asked for
    return name if name in MODELS.module_dict else None


def full_model_cfg(model: dict) -> ConfigDict:
    """The full stock detector inside ``model``, before any pruning.

    Args:
        model: See :func:`stock_model_cfg`.
    """
    stock = stock_model_cfg(model)
    if stock.pop('pruned', None):
        stock['type'] = stock_type(stock['type'])
    return stock


def stock_config(cfg: Config, classes: Sequence[str]) -> Config:
    """A stock inference config for the detector that ``cfg`` trains.

    The test set in it (of a config without one the validation set) is there for its pipeline and class names. To measure with
    it, mind that stock ``XMLDataset`` takes ``.jpg`` images only and that stock ``CocoDataset`` numbers the classes in the
    file's order; ``tools/test.py`` has neither limit.

    Args:
        cfg: The run's config.
        classes: The names of all classes that the detector knows, in label order.

    Returns:
        Model, test data and visualizer in stock MMDetection's words, for ``init_detector``, ``DetInferencer`` and mmdeploy. It
        imports mmilmil only where the detector is built of modules that stock MMDetection lacks, such as ``VGG16``.

    Raises:
        InputError: the config has neither a test nor a validation set.
    """
    loader = test_loader(cfg).copy()
    loader['dataset'] = dataset = innermost_dataset(loader['dataset']).copy()
    for key in _STAGE_KEYS:
        dataset.pop(key, None)
    dataset['type'] = _STOCK_DATASETS.get(dataset['type'].rpartition('.')[2], dataset['type'])
    dataset['metainfo'] = dict(classes=tuple(classes))
    model = stock_model_cfg(cfg.model).to_dict()
    imports = dict(custom_imports=dict(imports=['mmilmil'])) if _name_our_modules(model) else {}
    return Config(
        dict(
            **imports,
            default_scope='mmdet',
            model=model,
            test_dataloader=loader.to_dict(),
            test_pipeline=dataset['pipeline'],
            visualizer=dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')))


def _name_our_modules(cfg: dict | list) -> bool:
    """Put the scope before the types in ``cfg`` that only mmilmil knows; whether there are any."""
    found = False
    for value in cfg.values() if isinstance(cfg, dict) else cfg:
        if isinstance(value, dict | list | tuple):
            found |= _name_our_modules(value)
    if isinstance(cfg, dict) and isinstance(cfg.get('type'), str):
        name = cfg['type'].removeprefix('mmilmil.')
        if name in MODELS.module_dict:
            cfg['type'] = f'mmilmil.{name}'
            found = True
    return found
