"""Write the built-in demo set of drawn shapes as a VOC-style folder, with the same and masks as COCO files in its coco/."""

import argparse

from mmilmil.data_tools.shapes import CLASSES, ShapesSettings, write_shapes
from mmilmil.engine.cli import check_folder, user_errors


def parse_args() -> argparse.Namespace:
    default = ShapesSettings()
    parser = argparse.ArgumentParser(description=f'{__doc__} Classes: {", ".join(CLASSES)}.')
    parser.add_argument('out', nargs='?', default='data/shapes', help='folder to make (default: %(default)s)')
    for split in ('train', 'val', 'test'):
        parser.add_argument(f'--{split}', type=int, default=getattr(default, split), metavar='N',
                            help=f'images of the {split} split (default: %(default)s)')
    parser.add_argument('--size', type=int, default=default.size, metavar='PX',
                        help='width and height of an image (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=default.seed, help='same seed, same images (default: %(default)s)')
    parser.add_argument('--force', action='store_true',
                        help='draw again; replace the folder even if it holds something else')
    return parser.parse_args()


def show(done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        print(f'drawn {done} of {total} images', flush=True)


def main() -> None:
    args = parse_args()
    check_folder(args.out, 'the folder')
    settings = ShapesSettings(args.train, args.val, args.test, args.size, args.seed)
    written = write_shapes(args.out, settings, args.force, show)
    print(f'{args.out}: {"written" if written else "already there with these settings, left as it is"}')


if __name__ == '__main__':
    with user_errors():
        main()
