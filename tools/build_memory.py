"""Make the feature memory of a trained detector: `python tools/build_memory.py CONFIG CHECKPOINT`.

A stage of mmilmil's writes it by itself. This is for a detector that was trained elsewhere or before, and runs where the images
that it was trained on still are. The next stage finds the file beside the checkpoint.
"""

import argparse
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

from mmilmil.engine.cli import CfgOptions, check_device, check_file, number, own_tools, read_config, user_errors
from mmilmil.engine.feature_memory import make_memory
from mmilmil.engine.methods import add_method_option
from mmilmil.errors import InputError
from mmilmil.models.loading import load_detector
from mmilmil.models.memory import MEMORY_FILE, FeatureMemory
from mmilmil.registry import DATASETS
from mmilmil.weights import is_url, local_file


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Make the feature memory of a trained two-stage detector')
    parser.add_argument('config', help='config file that it was trained with; its train_dataloader names the images')
    parser.add_argument('checkpoint', help='checkpoint file, or its URL')
    add_method_option(parser, own_tools(__file__))
    parser.add_argument('--out', help=f'file to write; default {MEMORY_FILE} beside the checkpoint; of a URL it is needed')
    parser.add_argument('--before', metavar='CHECKPOINT',
                        help='checkpoint of the stage before, beside which its memory lies: that is carried over')
    parser.add_argument('--per-class', type=number(int, 1), default=160, help='RoI tensors of each class; default 160')
    parser.add_argument('--background', type=number(int, 0), default=640, help='RoI tensors of background; default 640')
    parser.add_argument('--seed', type=number(int, 0), default=0, help='of the draws; default 0')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='where the detector runs')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, method=args.method)
    fetched = is_url(args.checkpoint)
    if fetched and not args.out:
        raise InputError(f'--out is missing: {args.checkpoint} lies in no folder of yours; give a file, and name it in the '
                         "student's config, model.memory.file")
    out = check_file(args.out or Path(args.checkpoint).with_name(MEMORY_FILE), '--out')
    check_device(args.device)
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    before = None
    if args.before:
        teacher = load_detector(args.before, whose='the ', where='')[0]
        before = FeatureMemory.load(Path(args.before).with_name(MEMORY_FILE)), teacher
    checkpoint = local_file(args.checkpoint) if fetched else Path(args.checkpoint)
    memory = make_memory(checkpoint, DATASETS.build(cfg.train_dataloader.dataset), cfg.train_dataloader.batch_size,
                         Path(out), before, args.per_class, args.background, args.seed, args.device, cfg.to_dict())
    print(f'{memory.path}: {memory}')


if __name__ == '__main__':
    with user_errors():
        main()
