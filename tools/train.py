"""Train one stage: `python tools/train.py configs/ilmil/frcnn_voc_15+5.py`, by a method `--method finetune`.

The other flags are those of MMDetection's own tool, but for `--teacher` and `--unlabelled`.
"""

import argparse
import os

from mmdet.utils import setup_cache_size_limit_of_dynamo

from mmilmil.engine.atomic_file import latest_checkpoint
from mmilmil.engine.building import build_runner
from mmilmil.engine.cli import CfgOptions, check_folder, own_tools, read_config, user_errors
from mmilmil.engine.hooks.progress import report_progress
from mmilmil.engine.launch import use_launcher, use_training_flags
from mmilmil.engine.methods import add_method_option, check_taught
from mmilmil.engine.unlabelled import add_unlabelled_option, use_unlabelled


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train one stage of an incremental detector')
    parser.add_argument('config', help='config file of the stage')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default work_dirs/<name of the config>, by a '
                        'method <name of the config>_<name of the method>')
    add_method_option(parser, own_tools(__file__))
    parser.add_argument(
        '--teacher', metavar='CHECKPOINT', help="the teacher, in place of the config's model.teacher.checkpoint")
    add_unlabelled_option(parser)
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch size')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint; without a value from the latest one in the work dir')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torch.distributed.launch of torch < 2 passes --local_rank, newer versions --local-rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> None:
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    cfg = read_config(args.config, args.cfg_options, args.work_dir, args.teacher, args.method)
    check_folder(cfg.work_dir, '--work-dir')
    if args.method:
        check_taught(cfg, args.method)
    use_launcher(cfg, args.launcher)
    use_training_flags(cfg, args.amp, args.auto_scale_lr)
    use_unlabelled(cfg, args.unlabelled)
    if args.resume:
        checkpoint = latest_checkpoint(cfg.work_dir) if args.resume == 'auto' else args.resume
        if checkpoint is None:
            print(f'no complete checkpoint in {cfg.work_dir}: training starts from the beginning', flush=True)
        else:
            cfg.resume, cfg.load_from = True, checkpoint
    runner = build_runner(cfg)
    report_progress(runner)
    runner.train()


if __name__ == '__main__':
    with user_errors():
        main()
