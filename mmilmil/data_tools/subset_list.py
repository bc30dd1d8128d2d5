"""A file that lists some images of a data set, for a config to train on."""

import json
from collections.abc import Sequence
from pathlib import Path

from mmdet.datasets import BaseDetDataset

from ..datasets import IncrementalCocoDataset, IncrementalVOCDataset
from ..datasets.coco_reader import read_coco
from ..errors import InputError


def list_ending(dataset: BaseDetDataset) -> str:
    """What the name of a set's list ends in.

    Raises:
        InputError: the set is of a kind that cannot be listed.
    """
    if isinstance(dataset, IncrementalVOCDataset):
        return '.txt'
    if isinstance(dataset, IncrementalCocoDataset):
        return '.json'
    raise InputError(f'{type(dataset).__name__} is no set whose images can be listed: use an IncrementalVOCDataset or an '
                     'IncrementalCocoDataset')


def list_text(dataset: BaseDetDataset, indices: Sequence[int]) -> str:
    """The file's text: names as in ``ImageSets``, or a COCO file.

    A COCO file holds the annotations of the classes that the set keeps, as they stand in the whole file, and all categories.

    Args:
        dataset: The set.
        indices: Places of the images in it, in the order in which they are to be listed.

    Raises:
        InputError: see :func:`list_ending`.
    """
    ids = [dataset.get_data_info(index)['img_id'] for index in indices]
    if list_ending(dataset) == '.txt':
        return ''.join(f'{name}\n' for name in ids)
    read = read_coco(dataset.ann_file, dataset.backend_args)
    kept = {number for number, name in read.names.items() if name in dataset.kept_classes}
    images = {one['id']: one for one in read.images}
    annotations = [one for name in ids for one in read.annotations[name] if one['category_id'] in kept]
    return json.dumps(dict(read.content, images=[images[name] for name in ids], annotations=annotations)) + '\n'


def absent_classes(dataset: BaseDetDataset, indices: Sequence[int]) -> list[str]:
    """The classes that a set keeps without an object that counts in these images of it: nothing is trained on a list without.

    Args:
        dataset: The set.
        indices: Places of the images in it.
    """
    found = {instance['bbox_label'] for index in indices for instance in dataset.get_data_info(index)['instances']
             if not instance['ignore_flag']}
    return [name for name in dataset.kept_classes if dataset.stage.classes.index(name) not in found]


def how_to_train(config: str, place: str, file: Path, lacking: Sequence[str] = ()) -> str:
    """What to write to train on a list.

    Args:
        config: The stage's config file.
        place: The set's place in it, as ``train_dataloader.dataset``.
        file: The list.
        lacking: See :func:`absent_classes`.
    """
    alone = f'  --cfg-options {place.replace("[", ".").replace("]", "")}.ann_file={file}'
    if lacking:
        alone = f'  (it has no object of {", ".join(lacking)}, without which no training begins: give a larger --num)'
    lines = f'to train on these images alone:\n{alone}'
    if place != 'train_dataloader.dataset':
        return lines
    return (f'{lines}\nto train on them once more each epoch, beside all others, a config with:\n'
            f"  _base_ = '{Path(config).absolute()}'\n"
            "  train_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[\n"
            f"      _base_.train_dataloader.dataset, dict(_base_.train_dataloader.dataset, ann_file='{file}')]))")
