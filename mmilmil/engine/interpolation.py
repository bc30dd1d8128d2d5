"""What ``tools/interpolate.py`` does: a student and its teacher by a config, figures of what lies between, the chosen one."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

from ..checkpoint import load_checkpoint_file, to_plain
from ..class_names import classes_in
from ..errors import InputError
from ..loaders import innermost_dataset, innermost_datasets, test_loader
from ..models.hashes import weights_hash
from ..models.interpolation import Interpolation
from ..models.loading import load_detector
from ..models.teacher import Teacher, teacher_settings
from ..registry import DATASETS
from ..stage import Stage
from ..stock import full_model_cfg
from .building import build_runner
from .hooks.stage_check import check_names, check_teacher


@dataclass
class Line:
    """A student, its teacher and what lies between.

    Attributes:
        student: The detector, with the student's weights at first.
        weights: What lies between.
        teacher: Hash of the teacher's weights.
        meta: What the student's file tells beside its weights.
        metainfo: Classes and groups of the stage.
    """

    student: nn.Module
    weights: Interpolation
    teacher: str
    meta: dict
    metainfo: dict


def read_line(cfg: Config, checkpoint: str) -> Line:
    """The line from the teacher of a student's stage to its student.

    Args:
        cfg: The stage's config.
        checkpoint: The student's file.

    Raises:
        InputError: the config has no teacher, a file is missing or of another detector, the student's classes are not the
            config's, or the teacher's not its old ones.
    """
    if not cfg.model.get('teacher'):
        raise InputError(f"{cfg.filename} has no teacher (model.teacher): give the config of a student's stage")
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    metainfo = dict(innermost_dataset(test_loader(cfg).dataset).metainfo)
    stage = Stage.from_metainfo(metainfo, 'metainfo of the test set')
    meta = dict(load_checkpoint_file(checkpoint).get('meta') or {})
    check_names(classes_in(meta), stage.classes, checkpoint)
    student, _ = load_detector(checkpoint, cfg.to_dict(), "the student's ", '', stage.classes)
    settings = teacher_settings(cfg.model.teacher)
    teacher = Teacher.load(**settings)
    check_teacher(stage, teacher.classes, settings['checkpoint'])
    source = f'the teacher {settings["checkpoint"]}'
    return Line(student, Interpolation(teacher.detector, student, source), teacher.fingerprint, meta, metainfo)


def trained_on(cfg: Config) -> tuple[int, int]:
    """How many images of the validation set are in the training set too, with whatever seen class, and how many it has.

    By images that were trained on nothing can be chosen (protocol 12). Of a set that the config lacks there are none.
    """
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    train, val = ({*_images((cfg.get(f'{split}_dataloader') or {}).get('dataset'), **more)} for split, more in (
        ('train', dict(keep='seen', replay=None, unlabelled=None)), ('val', {})))
    return len(train & val), len(val)


def _images(dataset: Optional[Mapping], **more: Optional[str]) -> Iterator[str]:
    for one in innermost_datasets(dataset):
        built = DATASETS.build(ConfigDict(one, **more))
        yield from (built.get_data_info(index)['img_path'] for index in range(len(built)))


def evaluate(cfg: Config, line: Line, alphas: Sequence[float], split: str, folder: str) -> Iterator[tuple[float, dict]]:
    """Figures of the detector at each alpha.

    Args:
        cfg: The stage's config.
        line: Student and teacher; the student's weights are changed.
        alphas: Each in [0, 1].
        split: ``val`` or ``test``.
        folder: Where the log goes.

    Yields:
        An alpha and the summary of :class:`IncrementalVOCMetric` or :class:`IncrementalCocoMetric`, as in ``metrics.json``.

    Raises:
        InputError: the config lacks the split, or its evaluator has no figures by class group.
    """
    names = ('dataloader', 'evaluator')
    lacking = [f'{split}_{name}' for name in names if not cfg.get(f'{split}_{name}')]
    if lacking:
        raise InputError(f'{cfg.filename} has no {" and no ".join(lacking)}: add it, or choose the other --split')
    cfg = copy.deepcopy(cfg)
    cfg.update({f'test_{name}': cfg[f'{split}_{name}'] for name in names})
    cfg.test_cfg = cfg.get('test_cfg') or dict(type='TestLoop')
    cfg.work_dir, cfg.load_from, cfg.resume = folder, None, False
    # The model of the line takes the place of this one, which needs neither teacher nor structure.
    cfg.model = full_model_cfg(cfg.model)
    cfg.default_hooks.pop('metrics_file')  # one run has many figures
    runner = build_runner(cfg)
    runner.model = runner.wrap_model(cfg.get('model_wrapper_cfg'), line.student)
    loop = runner.test_loop  # built by this, so that the hooks check it
    runner.call_hook('before_run')
    for alpha in alphas:
        line.student.load_state_dict(line.weights.at(alpha))
        loop.run()
        summary = next((metric.summary for metric in loop.evaluator.metrics if getattr(metric, 'summary', None)), None)
        if summary is None:
            raise InputError(f'{split}_evaluator of {cfg.filename} has no figures by class group: set IncrementalVOCMetric or '
                             'IncrementalCocoMetric')
        yield alpha, dict(summary)
    runner.call_hook('after_run')


def best(figures: Mapping[float, Mapping]) -> Optional[float]:
    """The alpha with the greatest ``all``, the first of equal ones; ``None`` where no figure is defined."""
    defined = {alpha: found['all'] for alpha, found in figures.items() if found['all'] is not None}
    return max(defined, key=defined.get, default=None)


def interpolated_checkpoint(line: Line, alpha: float, cfg: Config) -> dict[str, Any]:
    """A plain checkpoint as ``final.pth`` is one, of the detector at ``alpha``; ``meta.interpolation`` tells what was done.

    Args:
        line: Student and teacher.
        alpha: In [0, 1].
        cfg: The stage's config, for a student whose file holds none.
    """
    meta = dict(cfg=cfg.pretty_text, **line.meta) if 'cfg' not in line.meta else dict(line.meta)
    meta.setdefault('dataset_meta', line.metainfo)
    meta['interpolation'] = dict(alpha=alpha, teacher=line.teacher, student=weights_hash(line.weights.end))
    return to_plain(dict(meta=meta, state_dict=line.weights.at(alpha)))
