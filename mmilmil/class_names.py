"""The names of a detector's classes: those in its checkpoint, or those that a user gives."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset

from .checkpoint import load_checkpoint_file
from .errors import InputError
from .stage import Stage


def checkpoint_classes(path: str) -> tuple[Optional[tuple[str, ...]], Optional[tuple[int, ...]]]:
    """What a checkpoint file tells of its classes, without building its detector.

    Args:
        path: Checkpoint file, or its URL.

    Returns:
        Their names in label order, and the sizes of the groups that they were learned in (``split``); ``None`` for each that
        the file does not tell.

    Raises:
        InputError: see :func:`mmilmil.checkpoint.load_checkpoint_file`.
    """
    meta = load_checkpoint_file(path).get('meta') or {}
    split = _dataset_meta(meta).get('split')
    return classes_in(meta), tuple(split) if isinstance(split, (list, tuple)) else None


def metainfo_of(dataset: Mapping) -> dict[str, Any]:
    """The ``metainfo`` that a data set's config gives, as the built set has it: ``classes`` is a tuple of names, empty where it
    names none, one name stands for itself, and that of a file for the names in it.

    Args:
        dataset: The config, without wrappers.
    """
    metainfo = BaseDataset._load_metainfo(dict(dataset.get('metainfo') or {}))
    classes = metainfo.get('classes') or ()
    return dict(metainfo, classes=(classes, ) if isinstance(classes, str) else tuple(classes))


def class_groups(checkpoint: str, classes: Sequence[str], metainfo: Mapping, config: str) -> tuple[int, ...]:
    """The sizes of the groups that a detector's classes were learned in: the checkpoint's, else the config's, else one group.

    Args:
        checkpoint: File, or its URL.
        classes: The detector's, in label order.
        metainfo: Of the config's data set, see :func:`metainfo_of`.
        config: The config, for the message.

    Raises:
        InputError: the groups are not those of so many classes; names whose they are.
    """
    split, where = checkpoint_classes(checkpoint)[1], f'{checkpoint}: dataset_meta'
    if split is None:
        split, where = metainfo.get('split'), f'{config}: metainfo'
    return Stage.from_metainfo(dict(classes=classes, split=split), where).split


def classes_in(meta: Mapping) -> Optional[tuple[str, ...]]:
    """The class names in a checkpoint's meta information; ``None`` where there are none.

    Args:
        meta: ``meta`` of a checkpoint, of MMDetection 3 (``dataset_meta``) or MMDetection 2 (``CLASSES``).
    """
    classes = _dataset_meta(meta).get('classes') or meta.get('CLASSES')
    if isinstance(classes, str):  # a tuple of one without its comma, as MMDetection 2 took it
        return (classes, )
    return tuple(map(str, classes)) if isinstance(classes, (list, tuple)) and classes else None


def _dataset_meta(meta: Mapping) -> dict:
    found = meta.get('dataset_meta')
    return {str(key).lower(): value for key, value in found.items()} if isinstance(found, Mapping) else {}


def named_classes(name: str, where: str = 'classes') -> tuple[str, ...]:
    """The classes of one of MMDetection's own data sets, as it writes them, in label order.

    Args:
        name: That of the data set's class, ``CocoDataset``, or shorter: ``coco``, ``voc``, ``cityscapes``, ``lvis_v1``.
        where: The setting, for the message.

    Raises:
        InputError: there is no such data set; names those that there are.
    """
    sets = _data_sets()
    if _plain(name) not in sets:
        raise InputError(f'{where} = {name!r} is no data set of MMDetection: give one of {", ".join(sorted(sets))}, or a '
                         "list of names, such as ['person', 'car']")
    return tuple(sets[_plain(name)])


def is_data_set(name: str) -> bool:
    """Whether :func:`named_classes` knows the name."""
    return _plain(name) in _data_sets()


def _data_sets() -> dict[str, Sequence[str]]:
    DATASETS.import_from_location()  # they register themselves
    # Not by mmdet.evaluation.get_classes, which calls COCO's classes by other names than its data set (traffic_light).
    return {_plain(kind): known.METAINFO['classes'] for kind, known in DATASETS.module_dict.items()
            if getattr(known, 'METAINFO', {}).get('classes')}


def _plain(name: str) -> str:
    return name.lower().replace('_', '').replace('-', '').removesuffix('dataset')


def given_classes(classes: Any, where: str) -> tuple[str, ...]:
    """Class names as a user gives them: a list, or the name of a data set (:func:`named_classes`).

    Args:
        classes: The value.
        where: The setting, for messages, as ``model.teacher.classes``.

    Raises:
        InputError: it is neither, or has a name twice.
    """
    if isinstance(classes, str):
        return named_classes(classes, where)
    names = isinstance(classes, Sequence) and classes and all(isinstance(name, str) and name for name in classes)
    if not names or len(set(classes)) != len(classes):
        raise InputError(f"{where} = {classes!r}: give the names of the classes in label order, each once, or the name of a "
                         "data set of MMDetection's, such as 'coco'")
    return tuple(classes)
