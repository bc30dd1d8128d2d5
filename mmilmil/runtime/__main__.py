"""Detect by an exported model: `python -m mmilmil.runtime DIR IMAGE|FOLDER|VIDEO|CAMERA [--json OUT] [--draw OUT]`."""

import argparse

from ..arguments import number, told_in_a_line
from .backends import BACKENDS
from .detections import Detections
from .detector import Detector
from .running import Model, check_complete, check_outputs, counted, run
from .sources import Files, Frame, open_source


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m mmilmil.runtime', description='Detect by a model of tools/export_onnx.py. Needs onnxruntime, numpy and '
        'pillow; for videos and cameras opencv-python-headless, for --backend openvino openvino in the place of onnxruntime.')
    parser.add_argument('model', help='folder that tools/export_onnx.py wrote, or a model file in it')
    parser.add_argument('source', help='image, folder of images (those in folders below too), video, or camera: its number, '
                        'such as 0, or its URL. An image of a folder that cannot be read is told and left out, and the status '
                        'is 1 at the end')
    parser.add_argument('--json', metavar='OUT', help='write the detections to this file')
    parser.add_argument('--draw', metavar='OUT', help="draw the detections into pictures in this folder, of the images' own "
                        'names; of one image also a file, of a video or a camera also a video file')
    parser.add_argument('--score-thr', type=number(float, 0, 1), default=0.3, metavar='X', help='leave out what scores less')
    parser.add_argument('--int8', action='store_true', help='by the quantised model of the folder')
    parser.add_argument('--threads', type=number(int, 0), default=0, help='number of threads; 0: as many as there are cores')
    parser.add_argument('--backend', choices=BACKENDS, default='onnxruntime', help='what computes; default onnxruntime')
    parser.add_argument('--frames', type=number(int, 1), metavar='N', help='stop a video or a camera after N frames')
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    args = parse_args(args)
    detector = Detector(args.model, int8=args.int8, score_thr=args.score_thr, threads=args.threads,
                        backend=args.backend)
    known = detector.metadata
    source = open_source(args.source, args.frames)
    drawings = check_outputs(source, args.json, args.draw)
    files = isinstance(source, Files)

    def each(frame: Frame, found: Detections) -> None:
        if files or frame.number % 100 == 0:
            print(f'{frame.name}: {counted(found)}', flush=True)

    model = Model(detector, str(detector.path), known.classes, known.split, max(args.score_thr, known.score_thr))
    totals = run(source, model, drawings, args.json, each=each)
    print(totals.line('images' if files else 'frames'))
    check_complete(totals)


if __name__ == '__main__':
    with told_in_a_line():
        main()
