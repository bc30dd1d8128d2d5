"""The options by which tools fuse the detections of several checkpoints."""

import argparse

from .cli import number


def add_fuse_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--fuse`` and its settings to a tool."""
    parser.add_argument('--fuse', nargs='+', default=[], metavar='CHECKPOINT', help='checkpoints of the same config whose '
                        'detections are put to those of the first and fused by soft-NMS, class by class')
    parser.add_argument('--fuse-iou', type=number(float, 0, 1), default=0.3, metavar='IOU',
                        help='scores are lowered of detections whose IoU with a surer one is above it; default 0.3')
    parser.add_argument('--fuse-min-score', type=number(float, 0, 1), default=0.001, metavar='SCORE',
                        help='leave out detections whose score falls below it; default 0.001')


def fuse_settings(args: argparse.Namespace) -> dict[str, float]:
    """The settings of :func:`mmilmil.models.fusion.fuse` among a tool's arguments."""
    return dict(iou_threshold=args.fuse_iou, min_score=args.fuse_min_score)
