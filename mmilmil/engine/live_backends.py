"""Backends of MMEngine's visualizer beside its files, as TensorBoard: whether they can be used, and what they get to show."""

from collections.abc import Mapping
from importlib.util import find_spec

from mmengine.config import Config, ConfigDict

from ..errors import InputError
from .required_hooks import hook_type

LOCAL = 'LocalVisBackend'
LIVE_HOOK = 'LiveViewHook'
# By backend the module that it imports, which is the name of its package too.
_PACKAGES = dict(
    TensorboardVisBackend='tensorboard',
    WandbVisBackend='wandb',
    MLflowVisBackend='mlflow',
    ClearMLVisBackend='clearml',
    NeptuneVisBackend='neptune',
    DVCLiveVisBackend='dvclive',
    AimVisBackend='aim')


def complete_visualizer(cfg: Config) -> None:
    """Give a run whose visualizer has more than local files the hook that shows it more.

    A backend may be given by its name alone, as ``--cfg-options`` can say it:
    ``visualizer.vis_backends="[LocalVisBackend,TensorboardVisBackend]"``. A run with local files alone is left as it is.

    Args:
        cfg: The run's config, changed in place.

    Raises:
        InputError: ``visualizer.vis_backends`` is no list of backends, or the package of one is not installed.
    """
    visualizer = cfg.get('visualizer')
    if not isinstance(visualizer, Mapping) or visualizer.get('vis_backends') is None:
        return
    backends = visualizer['vis_backends']
    if not isinstance(backends, list | tuple):
        raise InputError(f'visualizer.vis_backends = {backends!r}: it is a list, such as [dict(type={LOCAL!r}), '
                         "dict(type='TensorboardVisBackend')]")
    backends = [ConfigDict(type=one) if isinstance(one, str) else one for one in backends]
    for one in backends:
        if not isinstance(one, Mapping) or not isinstance(one.get('type'), str | type):
            raise InputError(f"visualizer.vis_backends has {one!r}: give a backend as dict(type='TensorboardVisBackend')")
    kinds = [hook_type(one) for one in backends]
    for kind in kinds:
        package = _PACKAGES.get(kind)
        if package and find_spec(package) is None:
            more = ", or mmilmil's extra: pip install 'mmilmil[tensorboard]'" if package == 'tensorboard' else ''
            raise InputError(f'visualizer.vis_backends names {kind}, and the package {package} is not installed: '
                             f'pip install {package}{more}')
    cfg.visualizer.vis_backends = backends
    if set(kinds) - {LOCAL} and isinstance(cfg.get('default_hooks'), Mapping) and LIVE_HOOK not in _hooks(cfg):
        cfg.default_hooks.setdefault('live_view', dict(type=f'mmilmil.{LIVE_HOOK}'))


def _hooks(cfg: Config) -> set[str]:
    hooks = [*cfg.default_hooks.values(), *(cfg.get('custom_hooks') or ())]
    return {hook_type(hook) for hook in hooks if isinstance(hook, Mapping)}
