"""Draw train, val and test at random from one's own annotations: `python tools/split_dataset.py data/screws`.

A folder in VOC layout gets `ImageSets/Main/{train,val,test}.txt`, a COCO file `<name>_{train,val,test}.json` beside it, as does
the one that YOLO's and CVAT's annotations are converted to. Lists
that are there stay as they are, and only those that lack are drawn. Images of one scene or video should not be parted: give
such data lists of your own instead.
"""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from mmilmil.data_tools import formats
from mmilmil.data_tools.convert import part_of
from mmilmil.data_tools.drawing import Draw, coco_parts, voc_lists
from mmilmil.data_tools.formats.voc import VocFolder
from mmilmil.data_tools.layouts import SPLITS, CocoFiles, Given
from mmilmil.engine.cli import own_tools, tool_command, user_errors
from mmilmil.errors import InputError
from mmilmil.text_files import write_all


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw train, val and test at random')
    parser.add_argument('data', type=os.path.expanduser, help=formats.UNDERSTOOD)
    parser.add_argument('--shares', nargs=3, type=float, default=[0.7, 0.1, 0.2], metavar=('TRAIN', 'VAL', 'TEST'),
                        help='shares of the images, relative to one another where not all are drawn; default 0.7 0.1 0.2')
    parser.add_argument('--images', metavar='FOLDER', help='in VOC layout the folder of images below DATA; default JPEGImages')
    parser.add_argument('--annotations', metavar='FOLDER',
                        help='in VOC layout the folder of XML files below DATA; default Annotations')
    for split in ('val', 'test'):
        parser.add_argument(f'--{split}-ann', metavar='FILE', type=os.path.expanduser,
                            help=f'COCO file of a {split} set that is there already: none of its images is drawn')
    parser.add_argument('--converted', metavar='FOLDER', type=os.path.expanduser,
                        help='where to write the COCO files that YOLO and CVAT annotations are converted to; default coco in '
                        'their folder')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    return parser.parse_args()


def tell(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def draw_voc(folder: VocFolder, order: Draw, args: argparse.Namespace) -> tuple[dict[Path, str], list[str]]:
    """The files to write for a folder with XML files, and the arguments by which ``new_split.py`` finds the data."""
    if args.val_ann or args.test_ann:
        raise InputError(f'--val-ann and --test-ann are for COCO files: {folder.root} is in VOC layout, whose lists are found '
                         'in ImageSets/Main')
    if not (folder.root / folder.images).is_dir():
        tell([f'{folder.root} has no folder {folder.images}, so which XML file has an image is not looked at: name it by '
              '--images'])
    return voc_lists(folder, order, tell), ['--ann', str(folder.root), *folder.options]


def draw_coco(data: Path, there: CocoFiles, order: Draw, args: argparse.Namespace) -> tuple[dict[Path, str], list[str]]:
    """The same for a COCO file, or a folder of such files, or what was converted to them."""
    if args.images and not there.images:
        raise InputError('--images and --annotations are for a folder with XML files: leave them out for a COCO file')
    found = dict(there.files)
    found.update({split: Path(file) for split in ('val', 'test') if (file := getattr(args, f'{split}_ann'))})
    if 'train' not in found:
        raise InputError(f'{data} has no file for train, only {", ".join(map(str, found.values()))}: give the COCO file to '
                         'draw from itself')
    if len(found) == len(SPLITS):
        raise InputError(f'nothing is left to draw: there are {", ".join(map(str, found.values()))}')
    source = found.pop('train')
    files = coco_parts(source, found, order, tell)
    if data.is_dir() or there.images:
        options = [(f'--{name}', value) for name in ('images', 'annotations', 'converted') if (value := getattr(args, name))]
        return files, ['--ann', str(data), *(word for pair in options for word in pair)]
    train, val, test = (str(found.get(split, part_of(source, split))) for split in SPLITS)
    return files, ['--ann', train, '--val-ann', val, '--test-ann', test]


def main() -> None:
    args = parse_args()
    order = Draw(args.shares, args.seed)
    found = formats.found(Path(args.data), Given(args.images, args.annotations, args.converted, need_images=False), '')
    tell(found.told)
    if isinstance(found, VocFolder):
        files, for_new_split = draw_voc(found, order, args)
    else:
        files, for_new_split = draw_coco(Path(args.data), found, order, args)
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
