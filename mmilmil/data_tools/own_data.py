"""A user's own annotations: what each split has, which classes there are, and what is left out."""

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ..datasets.coco_reader import CocoFile, is_flat, is_ignored, read_coco
from ..datasets.reading import StopAtFirst, Tell, read_names
from ..datasets.stage_filter import ImageFolder, clip_box, close_names
from ..datasets.voc_reader import read_annotation, read_list
from ..errors import InputError
from .formats.coco import elsewhere, folders_holding, image_folder
from .formats.voc import VocFolder
from .layouts import LISTS, SPLITS, Given, shown


@dataclass(frozen=True)
class SplitData:
    """What one split has.

    Attributes:
        source: The file that lists its images.
        images: Paths of the listed images.
        boxes: Boxes to train on or to find, by class name.
        unusable: Boxes that are ignored (difficult, crowd) or without an area inside the image, by class name.
        categories: Class names that the file lists, with or without boxes; None where a file lists none.
        notes: Lines to tell.
    """

    source: Path
    images: frozenset[str]
    boxes: Counter
    unusable: Counter
    categories: Optional[tuple[str, ...]] = None
    notes: tuple[str, ...] = ()

    def count(self) -> str:
        """The number of images and boxes."""
        told = f'{len(self.images)} images, {self.boxes.total()} boxes'
        return told + (f', {self.unusable.total()} more are ignored or without area' if self.unusable else '')

    def __post_init__(self) -> None:
        if not self.boxes:
            count = self.unusable.total()
            why = (f'its {count} are ignored (difficult, crowd) or without an area inside the image; coordinates are pixels, '
                   'not shares of the image' if count else 'it has none at all')
            raise InputError(f'{self.source} has no box to train on or to find: {why}. Correct the annotations, or give '
                             'another file')


@dataclass(frozen=True)
class OwnData:
    """Annotations of one's own, found and checked.

    Attributes:
        kind: The dataset's class.
        root: Folder that everything else is relative to.
        settings: Settings of the dataset by split, beside type and root.
        splits: What each split has.
        told: Lines to tell of how they were found.
    """

    kind: str
    root: Path
    settings: dict[str, dict]
    splits: dict[str, SplitData] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    @property
    def found(self) -> tuple[str, ...]:
        """Class names with a box in any split, in the order of the training file's categories, then by name."""
        names = set().union(*(set(part.boxes) | set(part.unusable) for part in self.splits.values()))
        first = [name for name in self.splits['train'].categories or () if name in names]
        return (*first, *sorted(names - set(first)))

    def notes(self, classes: Sequence[str], option: str = '--classes') -> list[str]:
        """What is there, what is left out and what cannot be measured with these classes, as lines to tell.

        Args:
            classes: The classes.
            option: What names them.
        """
        lines = [*self.told]
        lines += [line for split, part in self.splits.items() for line in (*part.notes, f'{split}: {part.count()}')]
        total = Counter()
        for part in self.splits.values():
            total += part.boxes + part.unusable
        if others := [name for name in total if name not in classes]:
            lines.append(f'left out, as {option} does not name them: ' +
                         ', '.join(f'{name!r} ({total[name]} boxes)' for name in sorted(others)))
        listed = dict.fromkeys(name for part in self.splits.values() for name in part.categories or ())
        if empty := [name for name in listed if not total[name] and name not in classes]:
            lines.append(f'left out, a category without a box in any of the files: {", ".join(map(repr, empty))}; name it by '
                         f'{option} to make it a class')
        for split in ('val', 'test'):
            if without := [name for name in classes if not self.splits[split].boxes[name]]:
                lines.append(f'{self.splits[split].source} has no box of {", ".join(map(repr, without))}: no AP of it there')
            if common := self.splits['train'].images & self.splits[split].images:
                lines.append(f'{len(common)} images are both in train and in {split}, whose figures will be too good: '
                             f'{shown(sorted(common))}')
        return lines


def voc_data(folder: VocFolder) -> OwnData:
    """A folder in the layout of PASCAL VOC, with its lists of ``train``, ``val`` and ``test``.

    Raises:
        InputError: a list, image or annotation is missing or broken, or a list has no box.
    """
    splits = {split: voc_split(folder, split) for split in SPLITS}
    settings = {split: settings for split, (settings, _) in splits.items()}
    return OwnData('IncrementalVOCDataset', folder.root, settings, {split: part for split, (_, part) in splits.items()})


def voc_split(folder: VocFolder, split: str) -> tuple[dict, SplitData]:
    """Settings of the dataset beside type and root, and what it has, of one list of a VOC folder.

    Raises:
        InputError: the list, an image or an annotation is missing or broken, or the list has no box.
    """
    path, tell = folder.list_path(split), StopAtFirst()
    images, names = ImageFolder(str(folder.root / folder.images)), read_list(str(path))
    _check_images(images, names, path)
    counts = _added(voc_boxes(folder, name, path, tell) for name in names)
    part = SplitData(path, frozenset(images.find(name) for name in names), *counts,
                     notes=tuple(f'{path}: {line}' for line in tell.lines()))
    folders = {key: value for key, value, usual in (('img_subdir', folder.images, 'JPEGImages'),
                                                    ('ann_subdir', folder.annotations, 'Annotations')) if value != usual}
    return dict(ann_file=(LISTS / path.name).as_posix(), **folders), part


def _check_images(images: ImageFolder, names: Sequence[str], listed: Path) -> None:
    absent = [name for name in names if not images.find(name)]
    if absent:
        try:
            images.image_of(absent[0], str(listed))
        except InputError as error:
            raise InputError(f'{images.root} lacks {len(absent)} of the {len(names)} images that {listed} lists '
                             f'({shown(absent)}): {error}, or name another folder by --images') from None


def _added(counts: Iterable[tuple[Counter, Counter]]) -> tuple[Counter, Counter]:
    boxes, unusable = Counter(), Counter()
    for more, others in counts:
        boxes.update(more)
        unusable.update(others)
    return boxes, unusable


def voc_boxes(folder: VocFolder, name: str, listed: Path | str = '', tell: Optional[Tell] = None) -> tuple[Counter, Counter]:
    """Boxes of an image by class name: those to train on, and the others.

    Args:
        folder: The folder.
        name: The image.
        listed: The list that names it, for messages.
        tell: Where the reader tells what it finds.
    """
    annotation = read_annotation(str(folder.root / folder.annotations / f'{name}.xml'), listed=str(listed), tell=tell)
    width, height = annotation.size or (math.inf, math.inf)
    boxes, unusable = Counter(), Counter()
    for one in annotation.objects:
        usable = not one['ignore_flag'] and clip_box(one['bbox'], width - 1, height - 1)
        (boxes if usable else unusable)[one['name']] += 1
    return boxes, unusable


def coco_boxes(content: CocoFile, image: Mapping) -> tuple[Counter, Counter]:
    """The same as :func:`voc_boxes` for an image of a COCO file."""
    boxes, unusable = Counter(), Counter()
    for one in content.annotations[image['id']]:
        x, y, w, h = one['bbox']
        usable = not (is_ignored(one) or is_flat(one)) and clip_box((x, y, x + w, y + h), image['width'], image['height'])
        (boxes if usable else unusable)[content.names[one['category_id']]] += 1
    return boxes, unusable


def coco_data(files: Mapping[str, str | Path], images: Mapping[str, Optional[str]],
              converted: Optional[str] = None) -> OwnData:
    """Annotations in COCO's JSON format.

    Args:
        files: The JSON file by split.
        images: Folder of the images by split; None where it is to be found, see :func:`image_folder`.
        converted: Folder for files that have to be written anew.

    Raises:
        InputError: a file or an image is missing or broken, or a file has no box.
    """
    found = {}
    for split in SPLITS:
        option = '--images' if split == 'train' else f'--{split}-images'
        found[split] = coco_split(files[split], Given(images.get(split), converted=converted), option, split)
    root, settings = coco_settings({split: (part.source, folder) for split, (folder, part) in found.items()})
    return OwnData('IncrementalCocoDataset', Path(root), settings, {split: part for split, (_, part) in found.items()})


def coco_split(file: str | Path, given: Given, option: str, called: str) -> tuple[Path, SplitData]:
    """The folder of the images of a COCO file, and what the file has.

    Args:
        file: The JSON file.
        given: What the user says: the folder of the images, and that of files written anew.
        option: The option that names the folder of the images.
        called: What the split is called, for the notes.

    Returns:
        The folder, and what the file has or another that stands for it, see :func:`elsewhere`.

    Raises:
        InputError: the file or an image is missing or broken, or the file has no box.
    """
    path, tell = Path(file), StopAtFirst()
    content = read_coco(str(path), tell=tell)
    listed = [image['file_name'] for image in content.images]
    notes = [f'{path}: {line}' for line in (*tell.lines(), *coco_notes(content))]
    try:
        folder = image_folder(path, listed, given.images, option)
    except InputError:
        moved = None if given.images is None and folders_holding(path, listed) else elsewhere(content, path, given)
        if moved is None:
            raise
        path, folder, lines = moved
        content = read_coco(str(path))
        listed = [image['file_name'] for image in content.images]
        notes += lines
    if given.images is None:
        notes.append(f'images of {called}: found in {folder}')
    return folder, SplitData(path, frozenset(os.path.join(folder, name) for name in listed),
                             *_added(coco_boxes(content, image) for image in content.images), tuple(content.names.values()),
                             tuple(notes))


def coco_settings(files: Mapping[str, tuple[str | Path, str | Path]]) -> tuple[str, dict[str, dict]]:
    """The folder that COCO files and their folders of images have in common, and the settings of the datasets below it.

    Args:
        files: File and folder of images by split.

    Returns:
        The folder as it was typed, absolute where one path is, and the datasets' settings by split, beside type and root.
    """
    paths = {split: tuple(map(str, pair)) for split, pair in files.items()}
    if any(os.path.isabs(path) for pair in paths.values() for path in pair):
        paths = {split: tuple(map(os.path.abspath, pair)) for split, pair in paths.items()}
    root = os.path.commonpath([folder for path, images_folder in paths.values() for folder in (os.path.dirname(path),
                                                                                            images_folder)])
    below = {split: [os.path.relpath(path, root or '.') for path in pair] for split, pair in paths.items()}
    settings = {split: dict(ann_file=ann_file, data_prefix=dict(img=folder)) for split, (ann_file, folder) in below.items()}
    return root, settings


def coco_notes(content: CocoFile) -> list[str]:
    """What of a COCO file has no counterpart, as lines to tell."""
    lines = []
    if lost := sum(map(len, content.lost.values())):
        lines.append(f'left out: {lost} annotations of {len(content.lost)} images that the file does not list')
    if empty := sum(not annotations for annotations in content.annotations.values()):
        lines.append(f'{empty} of {len(content.images)} images have no annotation')
    return lines


def chosen_classes(names: Sequence[str], found: Sequence[str], where: str) -> tuple[str, ...]:
    """The classes that ``--classes`` asks for, in its order.

    Args:
        names: Class names, or one file with one a line; empty for all.
        found: Those in the data.
        where: The data, for messages.

    Raises:
        InputError: a name is twice in the list or not in the data, or the file cannot be read or is empty.
    """
    if len(names) == 1 and os.path.exists(names[0]):
        file = names[0]
        names = read_names(file)
        if not names:
            raise InputError(f'--classes {file} lists no class: write one name a line, or leave --classes out for all classes')
    if not names:
        return tuple(found)
    for name in names:
        if list(names).count(name) > 1:
            raise InputError(f'--classes names {name!r} more than once: name each class once')
        if name not in found:
            near = close_names(name, set(found) - set(names))
            hint = f'did you mean {" or ".join(map(repr, near))}?' if near else f'there are {", ".join(map(repr, found))}'
            if len(names) == 1:
                hint += '; nor is there a file of that name'
            raise InputError(f'--classes names {name!r}, which {where} does not have: {hint}')
    return tuple(names)


def check_categories(data: OwnData, classes: Sequence[str]) -> None:
    """The files of ``val`` and ``test`` list every class, with or without boxes.

    Raises:
        InputError: names the file and the classes that it lacks.
    """
    for split in ('val', 'test'):
        part = data.splits[split]
        if part.categories is not None and (absent := [name for name in classes if name not in part.categories]):
            raise InputError(f'{part.source} has no category {", ".join(map(repr, absent))}: add it to "categories" of that '
                             'file, with an id of its own; boxes it may have none')


def check_trained(data: OwnData, classes: Sequence[str]) -> None:
    """Every class has a box to train on.

    Raises:
        InputError: names the classes that have none.
    """
    train = data.splits['train']
    if without := [name for name in classes if not train.boxes[name]]:
        told = ', '.join(repr(name) + (f' ({train.unusable[name]} are ignored or without area)' if train.unusable[name] else '')
                         for name in without)
        raise InputError(f'{train.source} has no box to train on for {told}: put images with boxes of it into the training '
                         'list, or choose other classes by --classes. Where a detector knows the classes already, '
                         '--teacher CONFIG CHECKPOINT in the place of --split and --classes writes its student')
