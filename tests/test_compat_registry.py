"""With ``default_scope = 'mmilmil'`` a config names modules of mmilmil, MMDetection and MMEngine without a prefix."""

import subprocess
import sys

import mmdet.registry as mmdet_registry
import pytest
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope
from tiny import ROOT

import mmilmil.registry as ours

# (registry, module of mmilmil or None, of MMDetection, of MMEngine)
NAMES = [
    ('DATASETS', 'IncrementalVOCDataset', 'VOCDataset', 'ConcatDataset'),
    ('HOOKS', 'StageCheckHook', 'DetVisualizationHook', 'CheckpointHook'),
    ('METRICS', 'IncrementalVOCMetric', 'VOCMetric', 'DumpResults'),
    ('MODELS', 'IncrementalFasterRCNN', 'FasterRCNN', 'ExponentialMovingAverage'),
    ('VISUALIZERS', None, 'DetLocalVisualizer', 'Visualizer'),
    ('VISBACKENDS', None, None, 'LocalVisBackend'),
    ('TRANSFORMS', None, 'PackDetInputs', None),
    ('TASK_UTILS', None, 'MaxIoUAssigner', None),
    ('DATA_SAMPLERS', None, 'AspectRatioBatchSampler', 'DefaultSampler'),
    ('LOOPS', None, 'TeacherStudentValLoop', 'EpochBasedTrainLoop'),
    ('OPTIM_WRAPPERS', None, None, 'AmpOptimWrapper'),
    ('OPTIMIZERS', None, None, 'SGD'),
    ('PARAM_SCHEDULERS', None, 'QuadraticWarmupLR', 'CosineAnnealingLR'),
    ('LOG_PROCESSORS', None, None, 'LogProcessor'),
    ('RUNNERS', None, None, 'Runner'),
    ('EVALUATORS', None, 'MultiDatasetsEvaluator', 'Evaluator'),
]
CASES = [(registry, name) for registry, *names in NAMES for name in names if name]


@pytest.mark.parametrize('registry, name', CASES, ids=[f'{registry}-{name}' for registry, name in CASES])
def test_names_resolve(registry, name):
    found = getattr(ours, registry).get(name)
    assert found is not None and found.__name__ == name


@pytest.mark.parametrize('registry, name', CASES, ids=[f'{registry}-{name}' for registry, name in CASES])
def test_names_resolve_from_mmengine_as_the_runner_asks(registry, name):
    """The runner builds through MMEngine's root registries, which switch to the default scope."""
    import mmengine.registry as root
    init_default_scope('mmilmil')
    asked: Registry = getattr(root, 'EVALUATOR' if registry == 'EVALUATORS' else registry)
    with asked.switch_scope_and_registry(None) as switched:
        assert switched.scope == 'mmilmil'
        assert switched.get(name).__name__ == name


def test_visualizer_in_a_fresh_process():
    """Nothing imported before: without a registry of ours MMEngine's root does not find MMDetection's visualizer."""
    code = ('import mmilmil\n'
            'from mmengine.registry import VISUALIZERS, init_default_scope\n'
            "init_default_scope('mmilmil')\n"
            "print(type(VISUALIZERS.build(dict(type='DetLocalVisualizer', name='v'))).__name__)\n")
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith('DetLocalVisualizer'), done.stderr[-2000:]


def test_every_registry_of_mmdetection_has_a_child():
    theirs = {name for name, value in vars(mmdet_registry).items()
              if isinstance(value, Registry) and value.scope == 'mmdet'}
    assert len(theirs) > 15
    mine = {value.parent for value in vars(ours).values() if isinstance(value, Registry)}
    assert {name for name in theirs if getattr(mmdet_registry, name) not in mine} == set()


def test_default_runtime_config_names_only_what_resolves():
    cfg = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    assert cfg.default_scope == 'mmilmil'
    for hook in cfg.default_hooks.values():
        assert ours.HOOKS.get(hook.type) is not None, hook
    assert ours.VISUALIZERS.get(cfg.visualizer.type) is not None
    assert ours.LOG_PROCESSORS.get(cfg.log_processor.type) is not None


def test_mmdetection_does_not_learn_our_names():
    assert mmdet_registry.MODELS.get('IncrementalFasterRCNN') is None
