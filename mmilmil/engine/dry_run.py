"""An evaluation tried on an image of each of its sets before the training: its mistakes are told now, not after it."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Optional

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from ..datasets.masks import has_mask_head
from ..datasets.several_sets import check_sets
from ..errors import InputError
from ..loaders import innermost_datasets, located_datasets
from ..log_level import at_level
from ..registry import DATASETS
from .cli import one_line

# What a detector's boxes are brought back to the image file by.
_NEEDED = ('img_id', 'img_shape', 'ori_shape', 'scale_factor')


def dry_run(evaluator: Evaluator, dataset, name: str, masks: bool = False) -> dict[str, Optional[str]]:
    """Let an evaluator see the first image of each of its sets, with one made-up detection, and forget them.

    Args:
        evaluator: The evaluator; ``dataset_meta`` is set.
        dataset: The dataset, built, in whatever wrappers.
        name: ``val`` or ``test``, as in ``val_evaluator``, for messages.
        masks: Whether the detector predicts masks too.

    Returns:
        The figures that it will report, in their order, each with the metric's headline (the figure that ``save_best='auto'``
        means), ``None`` where the metric has none.

    Raises:
        InputError: names the metric or the image, and what is wrong.
    """
    sets = list(located_datasets(dataset, f'{name}_dataloader.dataset'))
    if len(sets) == 1:
        sets = [(f'{name}_dataloader', dataset)]
    tried = [_first(one, place, masks) for place, one in sets]
    figures: dict[str, Optional[str]] = {}
    for metric in evaluator.metrics:
        for figure, headline in _figures(metric, tried, dataset, name).items():
            if figure in figures:
                raise InputError(f'{name}_evaluator: two metrics report {figure!r}: give each a prefix of its own, '
                                 "such as prefix='voc'")
            figures[figure] = headline
    return figures


def _first(dataset, place: str, masks: bool) -> tuple[Mapping, dict]:
    """The first image of a set as the pipeline gives it, and its sample with a detection, as a metric takes it."""
    if not len(dataset):
        raise InputError(f'{place} has no image: correct its ann_file')
    data = dataset[0]
    sample = data.get('data_samples')
    sample = sample[0] if isinstance(sample, list) else sample  # of test-time augmentation the first view
    if sample is None:
        raise InputError(f"{place}: its pipeline gives no data_samples: it must end in dict(type='PackDetInputs')")
    if missing := [key for key in _NEEDED if key not in sample.metainfo_keys()]:
        raise InputError(f'{place}: its pipeline gives no {", ".join(missing)}, by which boxes are rescaled to '
                         f"the image: it needs dict(type='Resize', ...), and meta_keys={_NEEDED} in PackDetInputs")
    sample = sample.clone()
    height, width = sample.ori_shape[:2]
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[0., 0., width, height]]), scores=torch.tensor([0.5]), labels=torch.tensor([0]))
    if masks:
        sample.pred_instances.masks = torch.ones(1, height, width, dtype=torch.bool)
    return pseudo_collate([data]), sample.to_dict()


def dry_run_test(cfg: Config) -> None:
    """Build the test set and its evaluator and :func:`dry_run` them, without a runner.

    Raises:
        InputError: a setting is missing, or see :func:`dry_run`.
    """
    if missing := [key for key in ('test_dataloader', 'test_evaluator') if not cfg.get(key)]:
        raise InputError(f'the config has no {" and no ".join(missing)}: add it, as in configs/_base_/datasets')
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # the run itself reports what it reads
    evaluator, dataset = Evaluator(cfg.copy().test_evaluator), DATASETS.build(cfg.test_dataloader.dataset)
    check_sets(dataset, 'test_dataloader')
    evaluator.dataset_meta = dataset.metainfo
    check_category_order(evaluator, dataset.metainfo['classes'], 'test')
    dry_run(evaluator, dataset, 'test', has_mask_head(cfg.model))


def _figures(metric: BaseMetric, tried: Sequence[tuple[Mapping, dict]], dataset, name: str) -> dict[str, Optional[str]]:
    if isinstance(metric, DumpResults):  # it would write its file
        return {}
    own = hasattr(metric, 'figure_names')
    try:
        with _silent():
            for batch, sample in tried:
                metric.process(batch, [sample])
            names = metric.figure_names() if own else metric.compute_metrics(list(metric.results))
        if hasattr(metric, 'check_images'):
            told = [(one, getattr(one, 'sample_meta', {})) for one in innermost_datasets(dataset)]
            metric.check_images({'img_id': one.get_data_info(index)['img_id'], **meta}
                                for one, meta in told for index in range(len(one)))
    except (InputError, OSError):
        raise
    except Exception as error:
        raise InputError(f'{name}_evaluator: {type(metric).__name__} cannot evaluate the first image, '
                         f'{sample.get("img_path", sample["img_id"])} ({type(error).__name__}: {one_line(error)}). Correct its '
                         'settings or the pipeline, or use IncrementalVOCMetric or IncrementalCocoMetric') from error
    finally:
        metric.results.clear()
    prefix = f'{metric.prefix}/' if metric.prefix else ''
    return {f'{prefix}{figure}': f'{prefix}{metric.headline}' if own else None for figure in names}


def _silent() -> AbstractContextManager:
    """Without the tables of figures that mean nothing."""
    return at_level(MMLogger.get_current_instance(), logging.CRITICAL)


def check_category_order(evaluator: Evaluator, classes: tuple[str, ...], name: str) -> None:
    """MMDetection's ``CocoMetric`` takes labels for places in the file's order; ours are those of ``metainfo``.

    Raises:
        InputError: the two differ, so its figures would be of other classes.
    """
    for metric in evaluator.metrics:
        coco = getattr(metric, '_coco_api', None)
        if coco is None:
            continue
        theirs = tuple(category['name'] for category in coco.loadCats(coco.get_cat_ids(cat_names=list(classes))))
        if theirs != tuple(classes):
            raise InputError(f'{name}_evaluator: {type(metric).__name__} takes labels in the order of its ann_file, '
                             f'{list(theirs)}, but metainfo.classes is {list(classes)}: use IncrementalCocoMetric, which goes '
                             'by names')
