"""Makes what a user would bring, out of a VOC-style set: a detector as the model zoo has it, and YOLO folders of new classes.

    python benchmarks/bring_your_own.py data/DeepPCB-320 work_dirs/frcnn_pcb_4/final.pth --new short spur --out brought

writes brought/teacher.pth, a checkpoint with MMDetection 2's meta information, and for each new class a folder with data.yaml,
brought/short and so on: all images of val and test, of train those that show it, and labels of that class alone.
docs/results.md, "Bring your own", goes on from there.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from mmilmil.checkpoint import load_checkpoint_file
from mmilmil.class_names import checkpoint_classes
from mmilmil.data_tools.layouts import SPLITS
from mmilmil.datasets.stage_filter import ImageFolder
from mmilmil.datasets.voc_reader import read_annotation, read_list
from mmilmil.engine.cli import check_folder, user_errors


def write_checkpoint(trained: str, path: Path) -> None:
    """The weights as a training with MMDetection 2 would have left them: class names in ``meta.CLASSES``, no config to use."""
    content = load_checkpoint_file(trained)
    meta = dict(mmdet_version='2.28.2', CLASSES=checkpoint_classes(trained)[0])
    torch.save(dict(meta=meta, state_dict=content['state_dict']), path)


def write_yolo(root: Path, names: Sequence[str], folder: Path) -> None:
    """A folder in Ultralytics' layout in which only the named classes are annotated."""
    images = ImageFolder(str(root / 'JPEGImages'))
    for split in SPLITS:
        for kind in ('images', 'labels'):
            (folder / kind / split).mkdir(parents=True)
        for stem in read_list(str(root / f'ImageSets/Main/{split}.txt')):
            (width, height), objects = read_annotation(str(root / f'Annotations/{stem}.xml'))
            rows = []
            for one in objects:
                if one['name'] in names:
                    x1, y1, x2, y2 = one['bbox']
                    shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
                    rows.append(' '.join([str(names.index(one['name'])), *(f'{share:.6f}' for share in shares)]))
            if rows:
                (folder / 'labels' / split / f'{stem}.txt').write_text('\n'.join(rows) + '\n')
            if rows or split != 'train':
                shutil.copy(root / 'JPEGImages' / images.find(stem), folder / 'images' / split)
    lists = ''.join(f'{split}: images/{split}\n' for split in SPLITS)
    (folder / 'data.yaml').write_text(f'path: .\n{lists}names: {list(names)}\n')


def main() -> None:
    parser = argparse.ArgumentParser(description='Make what a user would bring')
    parser.add_argument('root', type=Path, help='folder in VOC layout with lists of train, val and test')
    parser.add_argument('checkpoint', help='a detector of its old classes')
    parser.add_argument('--new', nargs='+', required=True, metavar='NAME', help='classes to make a folder of each')
    parser.add_argument('--out', type=Path, required=True, help='folder to make')
    args = parser.parse_args()
    check_folder(args.out, '--out').mkdir(parents=True)
    write_checkpoint(args.checkpoint, args.out / 'teacher.pth')
    for name in args.new:
        write_yolo(args.root, [name], args.out / name)


if __name__ == '__main__':
    with user_errors():
        main()
