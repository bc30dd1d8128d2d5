"""Test a checkpoint: `python tools/test.py CONFIG CHECKPOINT`. Flags are those of MMDetection's own tool.

An exported model is tested by `python tools/test.py CONFIG --onnx DIR`. Writes metrics.json, detections.npz and what they tell,
report/index.html (not with --no-report), into the work dir. No teacher is needed.
"""

import argparse
import os

from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmilmil.deploy.packages import check_packages
from mmilmil.engine.building import build_runner
from mmilmil.engine.cli import CfgOptions, check_file, check_folder, number, own_tools, read_config, user_errors
from mmilmil.engine.fuse_options import add_fuse_options, fuse_settings
from mmilmil.engine.fused_test import check_fused
from mmilmil.engine.hooks.progress import report_progress
from mmilmil.engine.launch import end_together, use_launcher
from mmilmil.engine.methods import add_method_option
from mmilmil.errors import InputError
from mmilmil.report import report_after
from mmilmil.runtime import Detector
from mmilmil.runtime.backends import BACKENDS
from mmilmil.weights import may_exist


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a detector')
    parser.add_argument('config', help='config file of the stage')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file, or its URL')
    parser.add_argument('--onnx', metavar='DIR', help='test the model in this folder of tools/export_onnx.py, in the '
                        'place of a checkpoint')
    parser.add_argument('--int8', action='store_true', help='test the int8 model of that folder')
    parser.add_argument('--backend', choices=BACKENDS, help='what computes it; default onnxruntime')
    parser.add_argument('--work-dir', help='folder for logs and metrics.json; default work_dirs/<name of the config>, by a '
                        'method <name of the config>_<name of the method>, and with --fuse _fused behind, with --onnx '
                        '_onnx, or _int8')
    add_method_option(parser, own_tools(__file__))
    add_fuse_options(parser)
    parser.add_argument('--out', help='write the detections to this .pkl file')
    parser.add_argument('--show', action='store_true', help='show the detections in a window')
    parser.add_argument('--show-dir', help='save pictures of the detections here, below the work dir')
    parser.add_argument('--no-report', action='store_true', help='leave report/ as it is; tools/report.py builds it later')
    parser.add_argument('--wait-time', type=number(float, 0), default=2, help='seconds that a window stays')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_intermixed_args()  # CHECKPOINT, which may be missing, also behind a flag
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def onnx_hook(folder: str, int8: bool, backend: str | None) -> Hook:
    """What puts the model in a folder, or its int8 model, into the place of the config's detector."""
    check_packages()
    from mmilmil.deploy.model import OnnxTestHook
    return OnnxTestHook(Detector(folder, int8=int8, backend=backend or 'onnxruntime'))


def main() -> None:
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    if bool(args.checkpoint) == bool(args.onnx):
        raise InputError('give a checkpoint to test, or an exported model by --onnx DIR: '
                         f'{"both were" if args.onnx else "neither was"} given')
    for option, given in (('--int8', args.int8), ('--backend', args.backend)):
        if given and not args.onnx:
            raise InputError(f'{option} is for an exported model: give its folder by --onnx DIR, or leave it out')
    hooks = [onnx_hook(args.onnx, args.int8, args.backend)] if args.onnx else []
    if args.checkpoint and not may_exist(args.checkpoint):
        raise InputError(f'the checkpoint {args.checkpoint} does not exist: give the path or URL of a .pth file')
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise InputError(f'--out {args.out}: the name of a detections file ends in .pkl or .pickle')
    if args.onnx and args.fuse:
        raise InputError('--fuse puts checkpoints together, and an exported model (--onnx) is none: give one of the two')
    if args.fuse:
        check_fused(args.checkpoint, args.fuse)
    cfg = read_config(args.config, args.cfg_options, args.work_dir, method=args.method)
    if not args.work_dir and (args.fuse or args.onnx):
        cfg.work_dir += '_fused' if args.fuse else '_int8' if args.int8 else '_onnx'  # whose figures are none of the run's own
    work_dir = check_folder(cfg.work_dir, '--work-dir')
    if args.out:
        check_file(args.out, '--out')
    if args.show_dir:
        check_folder(work_dir / args.show_dir, '--show-dir')
    if (args.show or args.show_dir) and 'visualization' not in cfg.default_hooks:
        raise InputError(f'--show and --show-dir need a hook that {args.config} takes away: default_hooks = '
                         "dict(visualization=dict(type='DetVisualizationHook'))")
    use_launcher(cfg, args.launcher)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        cfg = trigger_visualization_hook(cfg, args)
    if not cfg.get('test_dataloader'):
        raise InputError(f'{args.config} has no test_dataloader, so there is nothing to test on: add test_dataloader, test_cfg '
                         'and test_evaluator, such as test_dataloader = val_dataloader')
    if args.fuse and cfg.get('test_cfg'):
        cfg.test_cfg = dict(cfg.test_cfg, type='FusedTestLoop', fused=args.fuse, settings=fuse_settings(args))
    runner = build_runner(cfg)
    if args.out:
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    for hook in hooks:
        runner.register_hook(hook)
    report_progress(runner)
    runner.test()
    if not args.no_report and is_main_process() and (page := report_after(work_dir)):
        print(f'report: {page}', flush=True)
    end_together()


if __name__ == '__main__':
    with user_errors():
        main()
