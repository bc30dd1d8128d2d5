"""Detect by a checkpoint: `python tools/infer.py IMAGE|FOLDER|VIDEO CONFIG CHECKPOINT [--out DIR] [--json OUT]`.

By MMDetection's own inference; `python -m mmilmil.runtime` does the same with an exported model, and writes the same files. No
teacher is needed.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from mmdet.utils import register_all_modules
from tqdm import tqdm

from mmilmil.engine.cli import CfgOptions, check_device, number, own_tools, read_config, user_errors
from mmilmil.engine.fuse_options import add_fuse_options, fuse_settings
from mmilmil.engine.fused_test import check_fused
from mmilmil.engine.inference import ImageDetector
from mmilmil.engine.methods import add_method_option
from mmilmil.errors import InputError
from mmilmil.progress_bar import tracked
from mmilmil.runtime.detections import Detections
from mmilmil.runtime.images import read_image
from mmilmil.runtime.running import Model, check_complete, check_outputs, counted, run
from mmilmil.runtime.sources import Files, Frame, Stream, open_source
from mmilmil.weights import may_exist


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Detect by a checkpoint')
    parser.add_argument('source', help='image, folder of images (those in folders below too), video, or camera: its number or '
                        'URL. An image of a folder that cannot be read is told and left out, and the status is 1 at the end')
    parser.add_argument('config', help='config file of the stage')
    parser.add_argument('checkpoint', help='checkpoint file, or its URL')
    add_fuse_options(parser)
    add_method_option(parser, own_tools(__file__))
    parser.add_argument('--out', metavar='DIR', help="draw the detections into pictures in this folder, of the images' own "
                        'names; of one image also a file, of a video or a camera also a video file')
    parser.add_argument('--json', metavar='OUT', help='write the detections to this file')
    parser.add_argument('--score-thr', type=number(float, 0, 1), default=0.3, metavar='X',
                        help='leave out what scores less; default 0.3')
    parser.add_argument('--frames', type=number(int, 1), metavar='N', help='stop a video or a camera after N frames')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default: cuda where it is')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not may_exist(args.checkpoint):
        raise InputError(f'the checkpoint {args.checkpoint} does not exist: give the path or URL of a .pth file')
    check_fused(args.checkpoint, args.fuse)
    check_device(args.device)

    def read(path: Path) -> tuple:
        """MMDetection's pixels, and what the runtime tells of the file."""
        _, notes = read_image(path)
        return detector.load(path), notes

    def detect(pixels) -> Detections:
        found = detector(pixels)
        boxes, scores, labels = (values.cpu().numpy() for values in (found.bboxes, found.scores, found.labels))
        return Detections.of(boxes, scores, labels, stage.classes, stage.split, args.score_thr)

    # Before checkpoints are fetched and built.
    source = open_source(args.source, args.frames, read)
    drawings = check_outputs(source, args.json, args.out, '--out')
    register_all_modules(init_default_scope=False)
    cfg = read_config(args.config, args.cfg_options, method=args.method)
    detector = ImageDetector(cfg, args.checkpoint, args.fuse, fuse_settings(args), args.device)
    stage = detector.stage
    files = isinstance(source, Files)
    model = Model(detect, ' + '.join([args.checkpoint, *args.fuse]), stage.classes, stage.split, args.score_thr)
    single = len(source) == 1

    def shown(frames: Files | Stream) -> Iterable[Frame]:
        return frames if single else tracked(frames, 'detect', unit='image' if files else 'frame')

    def each(frame: Frame, found: Detections) -> None:
        if single:
            print(f'{frame.name}: {counted(found)}')

    totals = run(source, model, drawings, args.json, tell=tqdm.write, each=each, shown=shown)
    print(totals.line('images' if files else 'frames'))
    check_complete(totals)


if __name__ == '__main__':
    with user_errors():
        main()
