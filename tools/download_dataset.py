"""Download a public set, check it and unpack it to where the configs look: `python tools/download_dataset.py voc07`.

A download that was stopped is resumed where it stopped; what is complete is not fetched again.
"""

import argparse
import sys

from mmilmil.data_tools.download import SETS, default_root, download
from mmilmil.engine.cli import check_folder, user_errors


def parse_args() -> argparse.Namespace:
    places = '; '.join(f'{name}: {public.variable}, else {public.default}' for name, public in SETS.items())
    parser = argparse.ArgumentParser(description='Download PASCAL VOC 2007 (1 GB) or COCO 2017 (20 GB) and unpack it')
    parser.add_argument('name', choices=SETS, help='which set')
    parser.add_argument('--root', help=f'folder of the set (default: {places})')
    parser.add_argument('--delete-archives', action='store_true',
                        help='remove each archive once it is unpacked; by default they stay in ROOT/archives')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_folder(args.root or default_root(args.name), '--root')
    try:
        root = download(args.name, args.root, args.delete_archives)
    except KeyboardInterrupt:
        print('stopped: run this again to resume the download', file=sys.stderr)
        sys.exit(130)
    print(f'{args.name} is in {root}')
    if root.resolve() != default_root(args.name).resolve():
        print(f'let the configs find it: export {SETS[args.name].variable}={root.resolve()}')


if __name__ == '__main__':
    with user_errors():
        main()
