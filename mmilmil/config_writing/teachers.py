"""What a detector that a user brings tells of itself, as far as its student's configs are made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

from ..class_names import checkpoint_classes, given_classes
from ..config import config_file, load_config
from ..datasets.image_loading import is_loader
from ..errors import InputError
from ..loaders import innermost_datasets
from ..models.loading import load_detector
from ..models.meaning import count_levels
from ..registry import MODELS
from ..stock import LATER_KEYS, full_model_cfg, is_student
from ..weights import may_exist

# What file names call a detector.
_PREFIXES = dict(FasterRCNN='frcnn', CascadeRCNN='cascade', MaskRCNN='maskrcnn')
# Of a test pipeline, what is written anew: annotations are loaded for the student's classes, packed with what it needs.
_WRITTEN = ('LoadAnnotations', 'PackDetInputs')
# Whose modules are known by their names alone.
_PACKAGES = ('mmdet', 'mmcv', 'mmengine', 'torch')
# MMDetection's configs are for eight GPUs, and most have the base_batch_size of the file that they inherit.
_GPUS = 8


@dataclass(frozen=True)
class BroughtTeacher:
    """A detector with its weights, whoever trained it.

    Attributes:
        config: Its config, as it was named.
        checkpoint: Its weights: a path or URL.
        model: The stock detector's config.
        classes: Its classes in label order.
        split: Their groups, oldest first; one where it was trained at once.
        told_classes: What ``model.teacher.classes`` has to say; ``None`` where the checkpoint names its classes.
        imports: Modules that its config imports.
        distiller: File in ``_base_/distillers`` for its kind.
        neck_levels: How many levels its neck has.
        steps: Steps of its test pipeline between loading and packing, the loader first.
        optim_wrapper: Optimizer of its training; ``None`` where its config tells none.
        batch_size: Images a step, of all processes, for which that optimizer's rate is meant.
        later: Whether it was itself learnt in a later stage, at that stage's rate.
        tests: The datasets of ours that its config measures it on, by ``val`` and ``test``.
    """

    config: str
    checkpoint: str
    model: ConfigDict
    classes: tuple[str, ...]
    split: tuple[int, ...]
    told_classes: Optional[str | tuple[str, ...]]
    imports: tuple[str, ...]
    distiller: str
    neck_levels: int
    steps: tuple[dict, ...]
    optim_wrapper: Optional[dict]
    batch_size: int
    later: bool
    tests: dict[str, tuple[dict, ...]]

    @property
    def prefix(self) -> str:
        """What file names call the detector, as ``frcnn``."""
        return _PREFIXES.get(self.model.type, self.model.type.lower())

    @property
    def student(self) -> str:
        """The student's type."""
        return f'Incremental{self.model.type}'

    @property
    def with_mask(self) -> bool:
        """Whether it has a mask head."""
        return bool((self.model.get('roi_head') or {}).get('mask_head'))


def read_teacher(config: str, checkpoint: str, classes: Optional[str | Sequence[str]] = None) -> BroughtTeacher:
    """Look at a detector: its config, and its weights in it.

    Args:
        config: Config file, or ``mmdet::`` and one in the installed MMDetection.
        checkpoint: File of its weights, or their URL.
        classes: Its class names, or the name of one of MMDetection's sets such as ``coco``, where the checkpoint tells none.

    Raises:
        InputError: a file is missing or broken, the two do not belong together, the classes are not known, or the detector is
            none that a student can be.
    """
    init_default_scope('mmilmil')
    if not config_file(config).is_file():
        raise InputError(f'--teacher {config}: there is no such file; give the config that {checkpoint} was trained with')
    cfg = load_config(config)
    if not may_exist(checkpoint):
        raise InputError(f'--teacher {config} {checkpoint}: there is no file {checkpoint}; give the path or URL of a .pth file')
    _check_classes(checkpoint, classes)
    detector, names = load_detector(checkpoint, config, classes=classes, whose='the ', where='--teacher ')
    if getattr(detector, 'structure', None) is not None:
        raise InputError(f'--teacher {checkpoint} is a pruned detector, whose student is written by hand: inherit the stage of '
                         f'the full detector and set model.pruned={checkpoint!r} (docs/pruning.md)')
    model = ConfigDict(_by_name(full_model_cfg(cfg.model).to_dict()))
    if f'Incremental{model.type}' not in MODELS.module_dict:
        kinds = sorted(name.removeprefix('Incremental') for name in MODELS.module_dict if name.startswith('Incremental'))
        raise InputError(f"--teacher {config}: there is no student of a {model.type}; of these there are: {', '.join(kinds)}. "
                         'Name the one that it is in model.type, if its class only adds what training needs')
    imports = (cfg.get('custom_imports') or {}).get('imports') or ()
    imports = (imports, ) if isinstance(imports, str) else tuple(imports)
    optim_wrapper, batch_size = _optimizer(cfg)
    return BroughtTeacher(
        config, checkpoint, model, names, _split(checkpoint, names), classes, imports, _distiller(detector),
        count_levels(detector)[1], _steps(cfg, config), optim_wrapper, batch_size, is_student(cfg.model),
        {role: tuple(_own_tests(cfg, role)) for role in ('val', 'test')})


def _check_classes(checkpoint: str, given: Optional[str | Sequence[str]]) -> None:
    """The detector's classes are told, by its file or by the user, and not in two ways."""
    named = checkpoint_classes(checkpoint)[0]
    if not given and named is None:
        raise InputError(f'--teacher {checkpoint} does not name its classes: give their names in label order by '
                         '--teacher-classes, or the name of a data set of MMDetection, such as --teacher-classes coco')
    if given and named not in (None, own := given_classes(given, '--teacher-classes')):
        raise InputError(f'--teacher {checkpoint} names the classes {list(named)}, and --teacher-classes says {list(own)}: '
                         'leave the option out, or give the checkpoint of these classes')


def _by_name(value: Any, key: str = '') -> Any:
    """Types by their registered names, where a config has classes (MMEngine's newer style), a scope or a whole path."""
    if isinstance(value, dict):
        return {name: _by_name(item, name) for name, item in value.items() if name != '_scope_'}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_by_name, value))
    if key == 'type' and isinstance(value, str) and value.partition('.')[0] in _PACKAGES:
        return value.rpartition('.')[2]
    return value.__name__ if isinstance(value, type) else value


def _split(checkpoint: str, classes: tuple[str, ...]) -> tuple[int, ...]:
    split = checkpoint_classes(checkpoint)[1]
    return split if split and sum(split) == len(classes) else (len(classes), )


def _distiller(detector: nn.Module) -> str:
    if hasattr(detector, 'roi_head'):
        return 'mfrrk'
    # A head with an integral tells a distribution of each side of a box.
    return 'dense_distribution' if hasattr(detector.bbox_head, 'integral') else 'dense'


def _steps(cfg: Config, config: str) -> tuple[dict, ...]:
    """How images become the detector's input in a test."""
    for role in ('test', 'val'):
        leaf = next(innermost_datasets((cfg.get(f'{role}_dataloader') or {}).get('dataset')), {})
        if steps := leaf.get('pipeline'):
            break
    else:
        steps = cfg.get('test_pipeline')
    steps = [_plain(step) for step in steps or ()]
    if not steps or not is_loader(steps[0]):
        raise InputError(f'--teacher {config} does not tell how images are prepared for the detector: it needs a '
                         "test_dataloader whose dataset has a pipeline that begins with dict(type='LoadImageFromFile')")
    if nested := [step['type'] for step in steps if 'transforms' in step]:
        raise InputError(f'--teacher {config}: its test pipeline has {nested[0]}, steps inside of steps; give a config whose '
                         'test_dataloader prepares an image in one way')
    if drawn := [step['type'] for step in steps if step['type'].startswith('Random')]:
        raise InputError(f'--teacher {config}: its test pipeline has {drawn[0]}, which prepares an image otherwise each time; '
                         'give a config whose test_dataloader prepares it in one way')
    return tuple(step for step in steps if step['type'].rpartition('.')[2] not in _WRITTEN)


def _plain(step: Mapping) -> dict:
    """A step without where files are from, which is the data's matter."""
    return {key: value for key, value in _by_name(ConfigDict(step).to_dict()).items() if key != 'backend_args'}


def _optimizer(cfg: Config) -> tuple[Optional[dict], int]:
    wrapper = cfg.get('optim_wrapper')
    if not wrapper or not (wrapper.get('optimizer') or {}).get('lr'):
        return None, 0
    batch = (cfg.get('train_dataloader') or {}).get('batch_size') or 1
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or batch
    if batch > base:  # what it inherits is of other detectors
        base = batch * _GPUS
    # Of how it runs, mixed precision and accumulation, nothing is taken over.
    kept = {key: _by_name(value, key) for key, value in ConfigDict(wrapper).to_dict().items()
            if key in ('optimizer', 'clip_grad', 'paramwise_cfg', 'constructor') and value is not None}
    return kept, base * (wrapper.get('accumulative_counts') or 1)


def _own_tests(cfg: Config, role: str):
    """The sets that a stage of ours measures its detector on."""
    for leaf in innermost_datasets((cfg.get(f'{role}_dataloader') or {}).get('dataset')):
        kind = str(leaf.get('type')).rpartition('.')[2]
        if kind in ('IncrementalVOCDataset', 'IncrementalCocoDataset'):
            yield {key: value for key, value in ConfigDict(leaf, type=kind).to_dict().items()
                   if key not in ('pipeline', 'metainfo', 'test_mode', 'keep', *LATER_KEYS)}
