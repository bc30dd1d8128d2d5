"""Draw train, val and test at random from one's own annotations: `python tools/split_dataset.py data/screws`.

A folder in VOC layout gets `ImageSets/Main/{train,val,test}.txt`, a COCO file `<name>_{train,val,test}.json` beside it. Images
of one scene or video should not be parted: give such data lists of your own instead.
"""

import argparse
import json
import random
from pathlib import Path

from mmilmil.engine.cli import user_errors
from mmilmil.engine.own_data import SPLITS
from mmilmil.errors import InputError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw train, val and test at random')
    parser.add_argument('data', help='folder in VOC layout, or COCO file')
    parser.add_argument('--shares', nargs=3, type=float, default=[0.7, 0.1, 0.2], metavar=('TRAIN', 'VAL', 'TEST'),
                        help='shares of the images; default 0.7 0.1 0.2')
    parser.add_argument('--annotations', default='Annotations', metavar='FOLDER',
                        help='folder of XML files; default Annotations')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    return parser.parse_args()


def draw(images: list, shares: list[float], seed: int) -> dict[str, list]:
    """The images of each split, in their first order."""
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(f'--shares {" ".join(map(str, shares))}: give three positive numbers that sum to 1')
    order = list(range(len(images)))
    random.Random(seed).shuffle(order)
    ends = [round(len(order) * sum(shares[:i])) for i in range(4)]
    parts = {split: sorted(order[start:end]) for split, start, end in zip(SPLITS, ends, ends[1:])}
    if not all(parts.values()):
        raise InputError(f'{len(images)} images cannot be parted as {" ".join(map(str, shares))} without an empty split')
    return {split: [images[index] for index in part] for split, part in parts.items()}


def voc_files(root: Path, args: argparse.Namespace) -> dict[Path, str]:
    """The three lists of a folder in VOC layout."""
    images = sorted(path.stem for path in (root / args.annotations).glob('*.xml'))
    if not images:
        raise InputError(f'{root / args.annotations} holds no XML files: name their folder with --annotations')
    parts = draw(images, args.shares, args.seed)
    return {root / 'ImageSets/Main' / f'{split}.txt': '\n'.join(part) + '\n' for split, part in parts.items()}


def coco_files(path: Path, args: argparse.Namespace) -> dict[Path, str]:
    """The three parts of a COCO file."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        images, annotations = content['images'], content['annotations']
        parts = draw(images, args.shares, args.seed)
        files = {}
        for split, part in parts.items():
            ids = {image['id'] for image in part}
            own = [annotation for annotation in annotations if annotation['image_id'] in ids]
            text = json.dumps(dict(content, images=part, annotations=own))
            files[path.with_name(f'{path.stem}_{split}.json')] = text
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path} is no COCO annotation ({type(error).__name__}: {error})') from None
    return files


def main() -> None:
    args = parse_args()
    data = Path(args.data)
    if not data.exists():
        raise InputError(f'{data} does not exist: give a folder in VOC layout or a COCO file')
    files = voc_files(data, args) if data.is_dir() else coco_files(data, args)
    if there := [str(path) for path in files if path.exists()]:
        raise InputError(f'{", ".join(there)} there already: they stay as they are; remove them to draw anew')
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
        print(f'written: {path}')


if __name__ == '__main__':
    with user_errors():
        main()
