"""Drawing the splits that one's own data lacks: lists of a folder with XML files, parts of a COCO file."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..datasets.coco_reader import CocoFile, read_coco
from ..datasets.reading import StopAtFirst, has_control, plain_path
from ..datasets.voc_reader import read_list
from ..errors import InputError
from .convert import part_of
from .formats.coco import image_folder
from .formats.voc import Pairs, VocFolder, paired
from .layouts import SPLITS, shown
from .own_data import coco_boxes, coco_notes, voc_boxes
from .random_splits import check_shares, draw, pools


@dataclass(frozen=True)
class Draw:
    """What is asked for.

    Attributes:
        shares: Those of ``train``, ``val`` and ``test``.
        seed: Of the draw.

    Raises:
        InputError: what are no shares.
    """

    shares: Sequence[float] = (0.7, 0.1, 0.2)
    seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.shares)


def voc_lists(folder: VocFolder, order: Draw, tell: Callable[[Iterable[str]], None]) -> dict[Path, str]:
    """The lists that a folder with XML files lacks.

    Args:
        folder: The folder.
        order: What is asked for.
        tell: Takes lines to tell, as they come.

    Returns:
        Text by path.

    Raises:
        InputError: nothing lacks, nothing is left to draw from, or a list that is there names what is not.
    """
    pairs = paired(folder)
    if not pairs.names:
        raise InputError(f'{folder.root / folder.annotations} and {folder.root / folder.images} hold no XML file with an image '
                         f'of the same name, in the same subfolder ({"; ".join(pairs.left_out()) or "they are empty"}): name '
                         'the folders below the data by --annotations and --images')
    if odd := [name for name in pairs.names if has_control(name) or plain_path(name.strip()) != name]:
        raise InputError(f'a list of images cannot hold the name {odd[0]!r} ({len(odd)} such in {folder.root}): rename the '
                         'image and its XML file, without blanks at its ends and line breaks')
    tell(pairs.left_out())
    given = {name: read_list(str(path)) for name, path in folder.lists.items()}
    check_given(folder, given, pairs, tell)
    found = {} if given else pairs.parts()
    if found and len(found) < len(SPLITS):
        del found['train']  # it gives what lacks
    if found:
        tell([f'{split}: the images that lie in its folder, {len(names)}' for split, names in found.items()])
    reader = StopAtFirst()
    boxes = {name: voc_boxes(folder, name, tell=reader)[0] for name in pairs.names}
    tell(reader.lines())
    if empty := [name for name, counts in boxes.items() if not counts]:
        tell([f'{len(empty)} of {len(boxes)} images have no box to train on or to find: {shown(empty)}'])
    parts = dict(found)
    for splits, pool in pools(pairs.names, given or found):
        if not pool:
            raise InputError(no_image_left(folder, splits, given))
        drawn, lines = draw([boxes[name] for name in pool], splits, order.shares, order.seed)
        tell(lines)
        parts.update({split: [pool[index] for index in indices] for split, indices in drawn.items()})
    used = set().union(*given.values(), *parts.values())
    if others := [name for name in pairs.names if name not in used]:
        tell([f'{len(others)} images with an XML file are in no list: {shown(others)}'])
    return {folder.list_path(split): ''.join(f'{name}\n' for name in parts[split]) for split in SPLITS if split in parts}


def check_given(folder: VocFolder, given: dict[str, list[str]], pairs: Pairs,
                tell: Callable[[Iterable[str]], None]) -> None:
    """Lists that are there name what is there, and one lacks at least."""
    if all(split in given for split in SPLITS):
        raise InputError(f'{", ".join(str(folder.list_path(split)) for split in SPLITS)} are there already: they stay as they '
                         'are; remove them to draw again')
    known = set(pairs.names)
    for name, listed in given.items():
        if absent := [image for image in listed if image not in known]:
            raise InputError(f'{folder.list_path(name)} lists {len(absent)} images that have no image or no XML file: '
                             f'{shown(absent)}; add what lacks, or take the lines out')
    for split in ('val', 'test'):
        if common := set(given.get('trainval' if split == 'test' else 'train', ())) & set(given.get(split, ())):
            tell([f'{len(common)} images of {folder.list_path(split)} are in a training list as well: {shown(sorted(common))}'])


def no_image_left(folder: VocFolder, splits: Sequence[str], given: dict[str, list[str]]) -> str:
    """What to do where the lists that are there name every image."""
    lists = ', '.join(f'{name}.txt' for name in given)
    what = f'{folder.root}: no image is left for {" and ".join(splits)}, as {lists} name all'
    if splits == ['val'] and 'train' in given and 'trainval' not in given:
        return (f'{what}. To draw val from the images of train, rename {folder.list_path("train")} to trainval.txt and run '
                'this again')
    return (f'{what}. Take some lines out of one of them, or remove '
            f'{", ".join(str(folder.list_path(name)) for name in given)} to draw all three from all images')


def coco_parts(path: Path, given: Mapping[str, Path], order: Draw,
               tell: Callable[[Iterable[str]], None]) -> dict[Path, str]:
    """The parts of a COCO file that lack.

    Args:
        path: The file to draw from.
        given: Files of other splits, whose images are not drawn.
        order: What is asked for.
        tell: Takes lines to tell, as they come.

    Returns:
        Text by path.

    Raises:
        InputError: no image is left to draw from, or see :func:`~.random_splits.draw`.
    """
    reader = StopAtFirst()
    content = read_coco(str(path), tell=reader)
    tell([f'{path}: {line}' for line in (*reader.lines(), *coco_notes(content))])
    images = not_in(content, path, given, tell)
    splits = [split for split in SPLITS if split not in given]
    drawn, lines = draw([coco_boxes(content, image)[0] for image in images], splits, order.shares, order.seed)
    tell(lines)
    files = {}
    for split, indices in drawn.items():
        part = [images[index] for index in indices]
        ids = {image['id'] for image in part}
        own = [one for one in content.content['annotations'] if one['image_id'] in ids]
        files[part_of(path, split)] = json.dumps(dict(content.content, images=part, annotations=own))
    return files


def not_in(content: CocoFile, path: Path, given: Mapping[str, Path], tell: Callable[[Iterable[str]], None]) -> list[dict]:
    """The images of a COCO file that the files of other splits do not list.

    Images are told apart by where they lie; where that is not known, by name.
    """
    images = content.images
    for file in given.values():
        others = read_coco(str(file)).images
        try:
            folders = [image_folder(ann_file, [image['file_name'] for image in listed])
                       for ann_file, listed in ((path, content.images), (file, others))]
        except InputError:
            folders = ['', '']
        taken = {os.path.realpath(os.path.join(folders[1], image['file_name'])) for image in others}
        left = [image for image in images if os.path.realpath(os.path.join(folders[0], image['file_name'])) not in taken]
        if len(left) < len(images):
            tell([f'left out: {len(images) - len(left)} images that {file} lists as well'])
        images = left
    if not images:
        raise InputError(f'{", ".join(map(str, given.values()))} list all images of {path}: give a file that has others')
    return images
