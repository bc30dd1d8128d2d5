"""Draw train, val and test at random from one's own annotations: `python tools/split_dataset.py data/screws`.

A folder in VOC layout gets `ImageSets/Main/{train,val,test}.txt`, a COCO file `<name>_{train,val,test}.json` beside it. Lists
that are there stay as they are, and only those that lack are drawn. Images of one scene or video should not be parted: give
such data lists of your own instead.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from mmilmil.data_tools.layouts import (
    SPLITS,
    Pairs,
    VocFolder,
    coco_files,
    folder_kind,
    image_folder,
    paired,
    part_of,
    shown,
    voc_folder,
)
from mmilmil.data_tools.own_data import coco_boxes, coco_notes, voc_boxes
from mmilmil.data_tools.random_splits import check_shares, draw, pools
from mmilmil.datasets.coco_reader import CocoFile, read_coco
from mmilmil.datasets.reading import StopAtFirst, has_control, plain_path
from mmilmil.datasets.voc_reader import read_list
from mmilmil.engine.cli import own_tools, tool_command, user_errors
from mmilmil.errors import InputError
from mmilmil.text_files import write_all


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw train, val and test at random')
    parser.add_argument('data', type=os.path.expanduser, help='folder in VOC, COCO or Roboflow layout, or COCO file')
    parser.add_argument('--shares', nargs=3, type=float, default=[0.7, 0.1, 0.2], metavar=('TRAIN', 'VAL', 'TEST'),
                        help='shares of the images, relative to one another where not all are drawn; default 0.7 0.1 0.2')
    parser.add_argument('--images', metavar='FOLDER', help='in VOC layout the folder of images below DATA; default JPEGImages')
    parser.add_argument('--annotations', metavar='FOLDER',
                        help='in VOC layout the folder of XML files below DATA; default Annotations')
    for split in ('val', 'test'):
        parser.add_argument(f'--{split}-ann', metavar='FILE', type=os.path.expanduser,
                            help=f'COCO file of a {split} set that is there already: none of its images is drawn')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    return parser.parse_args()


def voc_lists(folder: VocFolder, args: argparse.Namespace) -> dict[Path, str]:
    """The lists that a folder with XML files lacks."""
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
    check_given(folder, given, pairs)
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
        drawn, lines = draw([boxes[name] for name in pool], splits, args.shares, args.seed)
        tell(lines)
        parts.update({split: [pool[index] for index in indices] for split, indices in drawn.items()})
    used = set().union(*given.values(), *parts.values())
    if others := [name for name in pairs.names if name not in used]:
        tell([f'{len(others)} images with an XML file are in no list: {shown(others)}'])
    return {folder.list_path(split): ''.join(f'{name}\n' for name in parts[split]) for split in SPLITS if split in parts}


def check_given(folder: VocFolder, given: dict[str, list[str]], pairs: Pairs) -> None:
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


def coco_parts(path: Path, given: dict[str, Path], args: argparse.Namespace) -> dict[Path, str]:
    """The parts of a COCO file that lack."""
    reader = StopAtFirst()
    content = read_coco(str(path), tell=reader)
    tell([f'{path}: {line}' for line in (*reader.lines(), *coco_notes(content))])
    images = not_in(content, path, given)
    splits = [split for split in SPLITS if split not in given]
    drawn, lines = draw([coco_boxes(content, image)[0] for image in images], splits, args.shares, args.seed)
    tell(lines)
    files = {}
    for split, indices in drawn.items():
        part = [images[index] for index in indices]
        ids = {image['id'] for image in part}
        own = [one for one in content.content['annotations'] if one['image_id'] in ids]
        files[part_of(path, split)] = json.dumps(dict(content.content, images=part, annotations=own))
    return files


def not_in(content: CocoFile, path: Path, given: dict[str, Path]) -> list[dict]:
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


def tell(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


def draw_voc(data: Path, args: argparse.Namespace) -> tuple[dict[Path, str], list[str]]:
    """The files to write for a folder with XML files, and the arguments by which ``new_split.py`` finds the data."""
    if args.val_ann or args.test_ann:
        raise InputError(f'--val-ann and --test-ann are for COCO files: {data} is in VOC layout, whose lists are found in '
                         'ImageSets/Main')
    folder = voc_folder(data, args.images, args.annotations, need_images=False)
    if not (data / folder.images).is_dir():
        tell([f'{data} has no folder {folder.images}, so which XML file has an image is not looked at: name it by --images'])
    return voc_lists(folder, args), ['--ann', str(data), *folder.options]


def draw_coco(data: Path, args: argparse.Namespace) -> tuple[dict[Path, str], list[str]]:
    """The same for a COCO file, or a folder of such files."""
    if args.images or args.annotations:
        raise InputError('--images and --annotations are for a folder with XML files: leave them out for a COCO file')
    found = coco_files(data) if data.is_dir() else {'train': data}
    found.update({split: Path(file) for split in ('val', 'test') if (file := getattr(args, f'{split}_ann'))})
    if 'train' not in found:
        raise InputError(f'{data} has no file for train, only {", ".join(map(str, found.values()))}: give the COCO file to '
                         'draw from itself')
    if len(found) == len(SPLITS):
        raise InputError(f'nothing is left to draw: there are {", ".join(map(str, found.values()))}')
    source = found.pop('train')
    files = coco_parts(source, found, args)
    if data.is_dir():
        return files, ['--ann', str(data)]
    train, val, test = (str(found.get(split, part_of(source, split))) for split in SPLITS)
    return files, ['--ann', train, '--val-ann', val, '--test-ann', test]


def main() -> None:
    args = parse_args()
    check_shares(args.shares)
    data = Path(args.data)
    if not data.exists():
        raise InputError(f'{data} does not exist: give a folder in VOC, COCO or Roboflow layout, or a COCO file')
    voc = data.is_dir() and (args.images or args.annotations or folder_kind(data) == 'voc')
    files, for_new_split = (draw_voc if voc else draw_coco)(data, args)
    if there := [str(path) for path in files if path.exists()]:
        raise InputError(f'{", ".join(there)} {"is" if len(there) == 1 else "are"} there already: they stay as they are; '
                         'remove them to draw again')
    write_all(files)
    for path in files:
        print(f'written: {path}')
    print(f'next: {tool_command(own_tools(__file__), "new_split.py", *for_new_split)} --split ...')


if __name__ == '__main__':
    with user_errors():
        main()
