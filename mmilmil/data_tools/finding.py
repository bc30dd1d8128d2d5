"""One's own data, in whatever layout: found, converted where need be, drawn if asked for, read and checked."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ..errors import InputError
from ..text_files import write_all
from . import formats
from .convert import part_of
from .drawing import Draw, coco_parts, voc_lists
from .formats.voc import VocFolder
from .layouts import SPLITS, CocoFiles, Given
from .own_data import OwnData, SplitData, coco_data, coco_settings, coco_split, voc_data, voc_split


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
              val_images: Optional[str] = None, test_images: Optional[str] = None, converted: Optional[str] = None,
              draw: Optional[Draw] = None) -> OwnData:
    """One's own annotations, in whatever layout.

    Args:
        path: A folder, or the file for training.
        split_command: Gives the command that draws what lacks, from its arguments.
        images: Folder of the images.
        annotations: In VOC layout the folder of XML files.
        val_ann: File of ``val``, where each split has its own.
        test_ann: File of ``test``.
        val_images: Folder of the images of ``val``, where it is another.
        test_images: The same of ``test``.
        converted: Folder of the COCO files that other formats are converted to; by default ``coco`` beside the data.
        draw: How to draw the splits that lack. What is drawn is written, as ``tools/split_dataset.py`` does it. Without it
            they are a mistake.

    Raises:
        InputError: something is missing, broken or cannot be understood.
    """
    path = Path(path)
    found = formats.found(path, Given(images, annotations, converted), '--ann')
    files = dict(val_ann=val_ann, test_ann=test_ann)
    folders = dict(train=images, val=val_images or images, test=test_images or images)
    if isinstance(found, VocFolder):
        for option in (name for name, value in dict(files, val_images=val_images, test_images=test_images).items() if value):
            raise InputError(f'--{option.replace("_", "-")} is for COCO files: {path} is in VOC layout, whose splits are the '
                             'lists in ImageSets/Main')
        return _voc(found, split_command, draw)
    for split in ('val', 'test'):
        if file := files[f'{split}_ann']:
            option = f'--{split}-ann'
            other = formats.found(Path(file), Given(folders[split], annotations, converted), option)
            if isinstance(other, VocFolder) or not other.whole:
                raise InputError(f'{option} {file}: give one file of annotations, such as a COCO file')
            images_of = {split: other.images['train']} if other.images else {}
            found = replace(found, files={**found.files, split: other.files['train']}, told=(*found.told, *other.told),
                            images={**found.images, **images_of})
    given = [word for split in ('val', 'test') if (file := files[f'{split}_ann']) for word in (f'--{split}-ann', file)]
    if found.images:
        options = (('--images', images), ('--annotations', annotations), ('--converted', converted))
        given += [word for option, value in options if value for word in (option, value)]
    if draw and len(found.files) < len(SPLITS) and 'train' in found.files:
        # Before anything is drawn and written: a missing image, a file without a usable box.
        coco_split(found.files['train'], Given(found.images.get('train') or images, converted=converted), '--images', 'train')
    found = _complete(path, found, given, split_command, draw)
    data = coco_data(found.files, {split: found.images.get(split) or folders[split] for split in SPLITS}, converted)
    return replace(data, told=found.told)


def _voc(folder: VocFolder, split_command: Callable[..., str], order: Optional[Draw]) -> OwnData:
    told = list(folder.told)
    if absent := [str(folder.list_path(split)) for split in SPLITS if split not in folder.lists]:
        if order is None:
            command = split_command(folder.root, *folder.options)
            raise InputError(f'no {", ".join(absent)}: a file with one image name a line (without extension) for each split; '
                             f'`{command}` makes what lacks, then run this again; or give --shares 0.7 0.1 0.2 to have it '
                             'drawn at once')
        lists = voc_lists(folder, order, told.extend)
        write_all(lists)
        told += [f'drawn: {path}' for path in lists]
    elif order:
        told.append(_nothing_drawn([folder.list_path(split) for split in SPLITS]))
    return replace(voc_data(folder), told=tuple(told))


def _nothing_drawn(files: Sequence[Path]) -> str:
    return f'nothing is drawn, as there are {", ".join(map(str, files))}: remove them to draw again'


def _complete(path: Path, found: CocoFiles, given: Sequence[str], split_command: Callable[..., str],
              order: Optional[Draw]) -> CocoFiles:
    """The files of all splits, drawn where they lack."""
    files = found.files
    if 'train' not in files:
        raise InputError(f'{path} has no file for train, only {", ".join(map(str, files.values()))}: give it itself as --ann')
    absent = [split for split in SPLITS if split not in files]
    if not absent:
        return replace(found, told=(*found.told, _nothing_drawn(list(files.values())))) if order else found
    parts = {split: part_of(files['train'], split) for split in ('train', *absent)}
    if order is None:
        command = split_command(path, *given)
        then = 'run this again' if path.is_dir() or found.images else (
            f'give `--ann {shlex.quote(str(parts["train"]))} ' +
            ' '.join(f'--{split}-ann {shlex.quote(str({**files, **parts}[split]))}' for split in ('val', 'test')) + '`')
        why = ''.join(f' ({found.absent[split]})' for split in absent if split in found.absent)
        raise InputError(f'no annotation for {" and ".join(absent)}{why}: settings are chosen on val and reported on test, so '
                         f'give {" and ".join(f"--{split}-ann" for split in absent)}; or `{command}` draws what lacks, then '
                         f'{then}; or give --shares 0.7 0.1 0.2 to have it drawn at once')
    told = [*found.told, *(why for split, why in found.absent.items() if split in absent)]
    there = [part for part in parts.values() if part.exists()]
    if len(there) == len(parts):
        told.append(_nothing_drawn(there))
    elif there:
        raise InputError(f'{", ".join(map(str, there))} {"is" if len(there) == 1 else "are"} there already, but not all of '
                         f'{", ".join(map(str, parts.values()))}: remove what is there to draw again')
    else:
        others = {split: file for split, file in files.items() if split != 'train'}
        texts = coco_parts(files['train'], others, order, told.extend)
        write_all(texts)
        told += [f'drawn: {part}' for part in texts]
    images = found.images.get('train')
    return replace(found, files={**files, **parts}, told=tuple(told),
                   images={**found.images, **(dict.fromkeys(parts, images) if images else {})})


def find_test(path: str | Path, images: Optional[str] = None, option: str = '--old-test',
              converted: Optional[str] = None) -> TestSet:
    """One set to test on, such as that of the classes which a teacher knows.

    Args:
        path: A folder or ``data.yaml``, of which ``test`` is taken, or else ``val`` (for ``--old-val`` only ``val``); or one
            file of everything, such as a COCO file, taken whole.
        images: Folder of the images, where it is not to be found as :func:`find_data` finds it.
        option: The option that names the data, for messages.
        converted: Folder of the COCO files that other formats are converted to.

    Raises:
        InputError: something is missing, broken or cannot be understood.
    """
    path = Path(path)
    given = Given(images, converted=converted)
    found = formats.found(path, given, option)
    if isinstance(found, VocFolder):
        settings, data = voc_split(found, _to_test(path, found.lists, option))
        return TestSet('IncrementalVOCDataset', dict(data_root=str(path), **settings), data)
    split = 'train' if found.whole else _to_test(path, found.files, option)
    given = replace(given, images=found.images.get(split) or images)
    folder, data = coco_split(found.files[split], given, f'{option}-images', option)
    root, settings = coco_settings({'test': (data.source, folder)})
    data = replace(data, notes=(*found.told, *data.notes))
    return TestSet('IncrementalCocoDataset', dict(data_root=root, **settings['test']), data)


def _to_test(path: Path, there: Mapping[str, Path], option: str) -> str:
    """``test`` where it is there, else ``val``; of what settings are chosen by ``val`` alone (protocol 12)."""
    wanted = ('val', ) if option.endswith('val') else ('test', 'val')
    if found := [split for split in wanted if split in there]:
        return found[0]
    others = f', only {", ".join(map(str, there.values()))}' if there else ''
    lacks = f'has no {wanted[0]}' if len(wanted) == 1 else f'has neither {" nor ".join(wanted)}'
    raise InputError(f'{option} {path} {lacks}{others}: give a folder with one of them, or a COCO file, which is taken whole')
