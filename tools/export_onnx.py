"""Export a detector to ONNX: `python tools/export_onnx.py CONFIG CHECKPOINT --out DIR`.

DIR gets model.onnx, which runs without torch, and a report of what it finds beside torch: report.md, report.json; with --int8
also model.int8.onnx, smaller and faster. A student's config exports its detector; no teacher is needed.
"""

import argparse
import json
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmilmil.checksums import sha256, write_checksums
from mmilmil.class_names import class_groups, metainfo_of
from mmilmil.deploy.packages import check_packages
from mmilmil.engine.cli import CfgOptions, check_folder, number, own_tools, read_config, user_errors
from mmilmil.engine.methods import add_method_option
from mmilmil.engine.provenance import made_by
from mmilmil.engine.val_figures import val_figures
from mmilmil.errors import InputError
from mmilmil.loaders import innermost_dataset, test_loader
from mmilmil.models.loading import load_detector
from mmilmil.models.supported import check_supported
from mmilmil.runtime import Detector, Metadata
from mmilmil.runtime.detector import INT8_FILE, MODEL_FILE
from mmilmil.weights import is_url, local_file, may_exist

MAX_DROP = 0.005


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Export a detector to ONNX')
    parser.add_argument('config', help='config file that the checkpoint was trained with')
    parser.add_argument('checkpoint', help='checkpoint file, or its URL; it stays as it is')
    add_method_option(parser, own_tools(__file__))
    parser.add_argument('--out', required=True, help='folder for the model and its report')
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--size', nargs=2, type=number(int, 1), metavar=('HEIGHT', 'WIDTH'),
                     help="size of the input in pixels, which smaller images are padded to; default the test pipeline's")
    how.add_argument('--dynamic', action='store_true', help='an input of any size, as the data preprocessor pads it')
    parser.add_argument('--images', type=number(int, 1), default=50, help='images to compare with torch on; default 50')
    parser.add_argument('--int8', metavar='IMAGES', help='write model.int8.onnx too, calibrated on these: a folder of images, '
                        'a list of paths, or a number of images of the training set, such as 100')
    parser.add_argument('--int8-max-drop', type=number(float, 0, 1), metavar='AP', help='how much of AP on val, in [0, 1], '
                        f'int8 may lose before layers are left in float; default {MAX_DROP}')
    parser.add_argument('--no-ap', action='store_true', help='do not measure AP on the validation split')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def input_size(args: argparse.Namespace, preparation) -> tuple[int, int] | None:
    """Height and width of the model's input; None for any."""
    if args.dynamic:
        return None
    if not args.size:
        return preparation.size
    if any(side % preparation.divisor for side in args.size):
        height, width = (-(-side // preparation.divisor) * preparation.divisor for side in args.size)
        raise InputError(f'--size {args.size[0]} {args.size[1]}: the detector takes multiples of {preparation.divisor} '
                         f'(model.data_preprocessor.pad_size_divisor): give --size {height} {width}')
    return tuple(args.size)


def ap(args: argparse.Namespace, cfg: Config, model: Detector, images) -> dict:
    """Figures on the validation split by torch and by ONNX Runtime, or why there are none."""
    from mmilmil.deploy.model import OnnxTestHook
    if args.no_ap:
        return dict(not_measured='--no-ap was given')
    if not (cfg.get('val_dataloader') and cfg.get('val_evaluator')):
        return dict(not_measured='the config has no val_dataloader and val_evaluator')
    if not images.real:
        return dict(not_measured=images.source.partition(', as ')[2])
    try:
        return dict(torch=val_figures(cfg, args.checkpoint), onnx=val_figures(cfg, hooks=[OnnxTestHook(model)]))
    except InputError as error:
        return dict(not_measured=str(error))


def add_int8(args: argparse.Namespace, cfg: Config, model: Detector, chosen, preprocessor, images, report: dict) -> None:
    """Put the int8 model beside the exported one, and what there is to tell of it into the report."""
    from mmilmil.deploy.int8_export import Validation, make_int8
    from mmilmil.deploy.model import OnnxTestHook
    validation = Validation(why_not=report['ap'].get('not_measured', ''))
    if 'onnx' in report['ap']:
        validation = Validation(lambda candidate: val_figures(cfg, hooks=[OnnxTestHook(candidate)]), report['ap']['onnx'])
    limit = MAX_DROP if args.int8_max_drop is None else args.int8_max_drop
    graph, report['int8'] = make_int8(model, chosen, preprocessor, images, validation, limit)
    if graph:
        model.path.with_name(INT8_FILE).write_bytes(graph.SerializeToString())
        if figures := report['int8'].pop('figures'):
            report['ap']['int8'] = figures


def main() -> None:
    args = parse_args()
    if args.int8_max_drop is not None and not args.int8:
        raise InputError(f'--int8-max-drop {args.int8_max_drop:g} is for an int8 model: give --int8 IMAGES too, or leave it '
                         'out')
    check_packages()
    from mmilmil.deploy import parity
    from mmilmil.deploy.calibration import calibration_images
    from mmilmil.deploy.export import add_metadata, to_onnx
    from mmilmil.deploy.folder import check_replaceable, whole_folder
    from mmilmil.deploy.images import images_of
    from mmilmil.deploy.int8_export import not_reached
    from mmilmil.deploy.preparation import preparation_of
    from mmilmil.deploy.report import REPORT, report_text

    cfg = read_config(args.config, args.cfg_options, method=args.method)
    init_default_scope('mmilmil')
    check_supported(cfg.model, f'the model of {args.config}')
    out = check_folder(args.out, '--out')
    check_replaceable(out, '--out')
    preparation = preparation_of(cfg)
    size = input_size(args, preparation)
    chosen = calibration_images(cfg, args.int8) if args.int8 else None
    if not may_exist(args.checkpoint):
        raise InputError(f'the checkpoint {args.checkpoint} does not exist: give the path or URL of a .pth file')
    file = local_file(args.checkpoint) if is_url(args.checkpoint) else Path(args.checkpoint)
    before = sha256(file)
    metainfo = metainfo_of(innermost_dataset(test_loader(cfg).dataset))
    detector, classes = load_detector(args.checkpoint, cfg.model, 'the ', '', classes=metainfo['classes'] or None)
    detector.eval()
    if sha256(file) != before:
        raise InputError(f'the checkpoint {args.checkpoint} changed while it was read: export it when its training is over')
    split = class_groups(args.checkpoint, classes, metainfo, args.config)

    graph = to_onnx(detector, size, preparation.divisor, f'the detector of {args.checkpoint}')
    last = detector.test_cfg.rcnn if hasattr(detector, 'rpn_head') else detector.test_cfg
    add_metadata(graph, Metadata(
        detector=type(detector).__name__, classes=classes, split=split, checkpoint_sha256=before, config=Path(args.config).name,
        resize=preparation.resize, pad=preparation.pad, mean=preparation.mean, std=preparation.std,
        channels=preparation.channels, input_size=size, score_thr=float(last.get('score_thr', 0)),
        max_per_img=last.max_per_img))
    with whole_folder(out, '--out') as folder:
        path = folder / MODEL_FILE
        path.write_bytes(graph.SerializeToString())
        model = Detector(path, threads=1)
        images = images_of(cfg, detector.data_preprocessor, args.images)
        print(f'comparing with torch on {images.number} images ({images.source})', flush=True)
        compared = parity.compare(detector, model, images)
        parity.check(compared)
        report = dict(
            checkpoint=args.checkpoint,
            model=dict(detector=type(detector).__name__, input_size=size, divisor=preparation.divisor,
                       bytes=path.stat().st_size, checkpoint_bytes=file.stat().st_size, nodes=len(graph.graph.node),
                       operators=sorted({node.op_type for node in graph.graph.node}), opset=graph.opset_import[0].version),
            parity=compared.as_dict(),
            ap=ap(args, cfg, model, images),
            made_by=made_by(own_tools(__file__), Path(__file__).name))
        if chosen:
            add_int8(args, cfg, model, chosen, detector.data_preprocessor, images, report)
        write_checksums(sorted(folder.glob('*.onnx')))
        text = report_text(report)
        (folder / f'{REPORT}.json').write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
        (folder / f'{REPORT}.md').write_text(text, encoding='utf-8')
    if 'int8' in report and report['int8']['left_in_float'] is None:
        raise not_reached(report['int8'])
    print(f'\n{text}\n{out / MODEL_FILE}: run it without torch by `python -m mmilmil.runtime {out} IMAGE`')


if __name__ == '__main__':
    with user_errors():
        main()
