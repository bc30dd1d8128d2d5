"""One's own data, in whatever layout: found, read and checked."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import InputError
from .layouts import SPLITS, VocFolder, coco_files, folder_kind, part_of, voc_folder
from .own_data import OwnData, SplitData, coco_data, coco_settings, coco_split, voc_data, voc_split

UNDERSTOOD = 'a folder in VOC, COCO or Roboflow layout, or a COCO file'
"""What a path may lead to, for messages."""


@dataclass(frozen=True)
class TestSet:
    """One set to test on, found and checked.

    Attributes:
        kind: The dataset's class.
        settings: Its settings beside the type: ``data_root``, absolute or as it was typed, ``ann_file``, folders.
        data: What it has.
    """

    __test__ = False  # no test of pytest's

    kind: str
    settings: dict
    data: SplitData


def find_data(path: str | Path, *, split_command: Callable[..., str], images: Optional[str] = None,
              annotations: Optional[str] = None, val_ann: Optional[str] = None, test_ann: Optional[str] = None,
              val_images: Optional[str] = None, test_images: Optional[str] = None) -> OwnData:
    """One's own annotations, in whatever layout.

    Args:
        path: A folder, or the file for training.
        split_command: Gives the command that draws what lacks, from its arguments.
        images: Folder of the images.
        annotations: In VOC layout the folder of XML files.
        val_ann: COCO file of ``val``.
        test_ann: COCO file of ``test``.
        val_images: Folder of the images of ``val``, where it is another.
        test_images: The same of ``test``.

    Raises:
        InputError: something is missing, broken or cannot be understood.
    """
    path = Path(path)
    others = dict(val_ann=val_ann, test_ann=test_ann, val_images=val_images, test_images=test_images)
    if not path.exists():
        raise InputError(f'--ann {path} does not exist: give {UNDERSTOOD}')
    if path.is_dir() and (annotations or folder_kind(path) == 'voc'):
        for option in (name for name, value in others.items() if value):
            raise InputError(f'--{option.replace("_", "-")} is for COCO files: {path} is in VOC layout, whose splits are the '
                             'lists in ImageSets/Main')
        return _voc(voc_folder(path, images, annotations), split_command)
    if annotations:
        raise InputError(f'--annotations is for a folder with XML files: leave it out for the COCO file {path}')
    given = {split: Path(file) for split, file in (('val', val_ann), ('test', test_ann)) if file}
    return _coco(path, given, dict(train=images, val=val_images or images, test=test_images or images), split_command)


def _voc(folder: VocFolder, split_command: Callable[..., str]) -> OwnData:
    if absent := [str(folder.list_path(split)) for split in SPLITS if split not in folder.lists]:
        command = split_command(folder.root, *folder.options)
        raise InputError(f'no {", ".join(absent)}: a file with one image name a line (without extension) for each split; '
                         f'`{command}` makes what lacks, then run this again')
    return voc_data(folder)


def _coco(path: Path, given: dict[str, Path], images: dict[str, Optional[str]], split_command: Callable[..., str]) -> OwnData:
    files = coco_files(path) if path.is_dir() else {'train': path}
    files.update(given)
    if 'train' not in files:
        raise InputError(f'{path} has no file for train, only {", ".join(map(str, files.values()))}: give it itself as --ann')
    if absent := [split for split in SPLITS if split not in files]:
        options = [word for split, file in given.items() for word in (f'--{split}-ann', file)]
        command = split_command(path, *options)
        parts = {split: files.get(split, part_of(path, split)) for split in ('val', 'test')}
        then = 'run this again' if path.is_dir() else (
            f'give `--ann {shlex.quote(str(part_of(path, "train")))} ' +
            ' '.join(f'--{split}-ann {shlex.quote(str(part))}' for split, part in parts.items()) + '`')
        raise InputError(f'no annotation for {" and ".join(absent)}: settings are chosen on val and reported on test, so give '
                         f'{" and ".join(f"--{split}-ann" for split in absent)}; or `{command}` draws what lacks, then {then}')
    return coco_data(files, images)


def find_test(path: str | Path, images: Optional[str] = None, option: str = '--old-test') -> TestSet:
    """One set to test on, such as that of the classes which a teacher knows.

    Args:
        path: A folder, of which ``test`` is taken, or else ``val``; or a COCO file, taken whole.
        images: Folder of the images, where it is not to be found as :func:`find_data` finds it.
        option: The option that names the data, for messages.

    Raises:
        InputError: something is missing, broken or cannot be understood.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f'{option} {path} does not exist: give {UNDERSTOOD}')
    if path.is_dir() and folder_kind(path) == 'voc':
        folder = voc_folder(path, images)
        split = _to_test(path, folder.lists, option)
        settings, data = voc_split(folder, split)
        return TestSet('IncrementalVOCDataset', dict(data_root=str(path), **settings), data)
    file = path
    if path.is_dir():
        files = coco_files(path)
        file = files[_to_test(path, files, option)]
    folder, data = coco_split(file, images, f'{option}-images', option)
    root, settings = coco_settings({'test': (file, folder)})
    return TestSet('IncrementalCocoDataset', dict(data_root=root, **settings['test']), data)


def _to_test(path: Path, there: dict[str, Path], option: str) -> str:
    """``test`` where it is there, else ``val``."""
    if found := [split for split in ('test', 'val') if split in there]:
        return found[0]
    others = f', only {", ".join(map(str, there.values()))}' if there else ''
    raise InputError(f'{option} {path} has neither test nor val{others}: give a folder with one of them, or a COCO file, which '
                     'is taken whole')
