"""Check a VOC- or COCO-style set, or all sets of a config: `python tools/check_dataset.py configs/ilmil/frcnn_pcb_4+2.py`.

Prints what is there and every mistake in it; the exit status is 1 where something would stop a training or give wrong
numbers. Annotations are read and images loaded as a training does; docs/own_data.md tells by which rules.
"""

import argparse
import sys

from mmengine.logging import MMLogger

from mmilmil.data_tools.check import check_coco, check_config, check_voc
from mmilmil.engine.cli import CfgOptions, own_tools, read_config, user_errors
from mmilmil.engine.methods import add_method_option


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Check the images and annotations of a set')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('config', nargs='?', help='config file: check the sets of its data loaders')
    what.add_argument('--voc', metavar='ROOT', help='folder of a VOC-style set, with JPEGImages in it')
    what.add_argument('--coco', metavar='ANN_FILE', help='JSON file of a COCO-style set')
    add_method_option(parser, own_tools(__file__))
    parser.add_argument('--split', nargs='+', default=[], metavar='NAME',
                        help='with --voc: lists in ImageSets/Main to check (default: all)')
    parser.add_argument('--images', metavar='DIR',
                        help='with --coco: folder of the images; with --voc: their folder below ROOT, default JPEGImages')
    parser.add_argument('--annotations', metavar='DIR', help='with --voc: folder of XML files below ROOT, default Annotations')
    parser.add_argument('--decode', action='store_true',
                        help='decode every image; by default JPEG files without EXIF are read up to their header')
    parser.add_argument('--show', type=int, default=10, metavar='N', help='findings to print of a kind (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    args = parser.parse_args()
    if args.coco and not args.images:
        parser.error('--coco needs --images')
    if args.method and not args.config:
        parser.error('--method goes with a config')
    if args.images and args.config:
        parser.error('--images goes with --coco or --voc')
    if (args.split or args.annotations) and not args.voc:
        parser.error('--split and --annotations go with --voc')
    if args.show < 0:
        parser.error('--show is a number of lines')
    return args


def main() -> int:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')  # the datasets' own reports are in the tables
    if args.voc:
        report = check_voc(args.voc, args.split, args.decode, args.images or 'JPEGImages', args.annotations or 'Annotations')
    elif args.coco:
        report = check_coco(args.coco, args.images, args.decode)
    else:
        report = check_config(read_config(args.config, args.cfg_options, method=args.method), args.decode)
    print(report.text(args.show))
    return 1 if report.findings.errors else 0


if __name__ == '__main__':
    with user_errors():
        sys.exit(main())
