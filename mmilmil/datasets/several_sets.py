"""Several sets that are evaluated together: whether they fit, and whether a class is measured once on an image (protocol 9)."""

import logging
import os.path as osp
from collections.abc import Collection, Iterable, Iterator, Sequence

from mmengine.logging import print_log

from ..errors import InputError
from ..loaders import located_datasets
from .stage_filter import StageFilterMixin, close_names

ONLY_OURS = ('of several sets that are evaluated together each must be an IncrementalVOCDataset or IncrementalCocoDataset, '
             'which tell the metric what they annotate')
"""What to do about another dataset among them."""
_SHOWN = 10  # class names


def check_sets(dataset, loader: str) -> None:
    """The sets that a loader evaluates fit together; warns of classes that none of them annotates.

    Args:
        dataset: The loader's dataset, built, in whatever wrappers.
        loader: Its name, as ``val_dataloader``.

    Raises:
        InputError: one of several sets is none of ours, is in training mode or has another ``metainfo``; an image is in two
            sets that annotate the same class; or no set annotates any class.
    """
    sets = list(located_datasets(dataset, f'{loader}.dataset'))
    if len(sets) > 1:
        check_alike(sets)
    ours = [one for _, one in sets if isinstance(one, StageFilterMixin) and one.test_mode]
    if len(ours) > 1:
        listed = [(one.ann_file, one.kept_classes, [one.get_data_info(index)['img_path'] for index in range(len(one))])
                  for one in ours]
        for path, names, files in measured_twice(listed):
            raise InputError(f'{loader}: {twice_told(path, names, files)}')
    if ours and len(ours) == len(sets):
        try:
            without = unmeasured(ours)
        except InputError as error:
            raise InputError(f'{loader}: {error}') from None
        if without:
            print_log(f'{loader}: no set annotates {", ".join(without)}: no AP, and left out of all means', logger='current',
                      level=logging.WARNING)


def measured_twice(sets: Sequence[tuple[str, Collection[str], Iterable[str]]]
                   ) -> Iterator[tuple[str, list[str], tuple[str, str]]]:
    """Images that are in two sets which measure the same class: it would count twice, or contradict itself.

    Args:
        sets: Of each its file, the names of the classes that it measures, and the paths of its images.

    Yields:
        The image's path, the names of the classes, and the two files.
    """
    seen: dict[str, list[tuple[int, str, Collection[str]]]] = {}
    for number, (file, names, paths) in enumerate(sets):
        for path in paths:
            others = seen.setdefault(osp.realpath(path), [])
            for other, other_file, other_names in others:
                if other != number and (shared := [name for name in names if name in other_names]):
                    yield path, shared, (other_file, file)
            others.append((number, file, names))


def twice_told(path: str, names: Sequence[str], files: tuple[str, str]) -> str:
    """An image of :func:`measured_twice` in a line."""
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return (f'the image {path} is both in {files[0]} and in {files[1]}, and both annotate '
            f'{", ".join(map(repr, names[:_SHOWN]))}{more}: it would count twice, or contradict itself. Take '
            'it out of one of them, or name the classes that each annotates by annotated=[...]')


def check_alike(sets: Sequence[tuple[str, object]]) -> None:
    """Several sets that are evaluated together are all ours, in test mode, and of one ``metainfo``.

    Args:
        sets: Each behind its place, for messages.

    Raises:
        InputError: names the set that is not.
    """
    for place, one in sets:
        if not isinstance(one, StageFilterMixin):
            raise InputError(f'{place} is a {type(one).__name__}: {ONLY_OURS}')
        if not one.test_mode:
            raise InputError(f'{place} ({one.ann_file}) is in training mode, which hides objects and images: set '
                             'test_mode=True')
    (first_place, first), *others = sets
    for place, one in others:
        if one.metainfo != first.metainfo:
            raise InputError(f'{first_place} and {place} have different metainfo, {first.metainfo} and {one.metainfo}: give '
                             'all sets of a loader the same, and say by annotated=[...] which classes each annotates')


def unmeasured(sets: Sequence[StageFilterMixin]) -> list[str]:
    """The classes that none of the sets of a loader annotates, each with the names there that it may have been meant by.

    Args:
        sets: They have one ``metainfo``.

    Raises:
        InputError: that is all of them.
    """
    classes = sets[0].stage.classes
    measured = {name for one in sets for name in one.kept_classes}
    if not measured:
        raise InputError('no set annotates a class of metainfo.classes, so nothing can be measured: correct annotated of '
                         f'{" and ".join(one.ann_file for one in sets)} (names are compared exactly)')
    # A name that no class of the stage claims may be a misspelt one.
    others = {name for one in sets for name in one.annotated or () if name not in classes}
    near = {name: ' or '.join(map(repr, close_names(name, others))) for name in classes if name not in measured}
    return [f'{name} (misspelt as {found}?)' if found else name for name, found in near.items()]
