"""Registries of mmilmil: children of MMDetection's, scope ``mmilmil``.

With ``default_scope = 'mmilmil'`` a config names the modules of mmilmil, MMDetection and MMEngine alike without a prefix:
a name is looked up here first, then in MMDetection, then in MMEngine. Every registry of MMDetection has a child, because
MMEngine falls back to its own root (which knows nothing of MMDetection) where the default scope has none.
"""

from . import compat  # noqa: F401  isort: skip  (tells what of the stack is missing, before it is imported)

import mmdet.registry as mmdet_registry
from mmengine.registry import Registry

_LOCATIONS = {
    'DATASETS': ['mmilmil.datasets'],
    'HOOKS': ['mmilmil.engine'],
    'LOOPS': ['mmilmil.engine'],
    'METRICS': ['mmilmil.evaluation'],
    'MODELS': ['mmilmil.models'],
    'OPTIM_WRAPPERS': ['mmilmil.engine'],
    'VISUALIZERS': ['mmilmil.visualization'],
}


def _child(name: str) -> Registry:
    parent = getattr(mmdet_registry, name)
    # A child asks its parent for a module without making the parent import its own, so the child imports both.
    locations = [*parent._locations, *_LOCATIONS.get(name, [])]
    return Registry(parent.name, parent=parent, scope='mmilmil', locations=locations)


RUNNERS = _child('RUNNERS')
RUNNER_CONSTRUCTORS = _child('RUNNER_CONSTRUCTORS')
LOOPS = _child('LOOPS')
HOOKS = _child('HOOKS')
DATASETS = _child('DATASETS')
DATA_SAMPLERS = _child('DATA_SAMPLERS')
TRANSFORMS = _child('TRANSFORMS')
MODELS = _child('MODELS')
MODEL_WRAPPERS = _child('MODEL_WRAPPERS')
WEIGHT_INITIALIZERS = _child('WEIGHT_INITIALIZERS')
OPTIMIZERS = _child('OPTIMIZERS')
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS')
OPTIM_WRAPPER_CONSTRUCTORS = _child('OPTIM_WRAPPER_CONSTRUCTORS')
PARAM_SCHEDULERS = _child('PARAM_SCHEDULERS')
METRICS = _child('METRICS')
EVALUATORS = _child('EVALUATOR')
TASK_UTILS = _child('TASK_UTILS')
VISUALIZERS = _child('VISUALIZERS')
VISBACKENDS = _child('VISBACKENDS')
LOG_PROCESSORS = _child('LOG_PROCESSORS')
