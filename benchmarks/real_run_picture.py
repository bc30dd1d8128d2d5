"""The picture at the top of the README, of finished runs on a real set: ground truth, teacher, fine-tuning and the default.

    python benchmarks/real_run_picture.py configs/ilmil/frcnn_foda20_15+5.py work_dirs/compare/seed0 --out /tmp/x

Images are not picked: of each group of classes so many of the test split, drawn by `--seed` among those with an object of it.
"""

import argparse
import random
from pathlib import Path

from mmcv import imread
from mmdet.apis import inference_detector, init_detector
from mmengine.registry import init_default_scope

from mmilmil.engine.chain_stages import stages_of
from mmilmil.engine.cli import check_folder, number, read_config, user_errors
from mmilmil.engine.hooks.final_model import STOCK_CONFIG
from mmilmil.engine.methods import method_option
from mmilmil.errors import InputError
from mmilmil.registry import DATASETS
from mmilmil.visualization import draw_comparison

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw what a chain and a method beside it found in test images')
    parser.add_argument('config', help='config file of the last stage')
    parser.add_argument('runs', help='folder that holds one work dir a stage, as --work-dir of train_chain.py and compare.py')
    parser.add_argument('--beside', default='finetune', metavar='METHOD', help='method beside it; default finetune')
    parser.add_argument('--images', type=number(int, 1), nargs='+', default=[2, 2], metavar='N',
                        help='images of each group of classes, oldest first; default 2 2')
    parser.add_argument('--seed', type=number(int, 0), default=0, help='of the draw; default 0')
    parser.add_argument('--out', required=True, help='picture to write')
    return parser.parse_args()


def drawn(items: list[dict], groups: list[set[int]], counts: list[int], seed: int) -> list[dict]:
    """So many items of each group, drawn among those with an object of it."""
    rng, chosen = random.Random(seed), []
    for group, count in zip(groups, counts, strict=True):
        fitting = [item for item in items if item not in chosen
                   and any(box['bbox_label'] in group and not box['ignore_flag'] for box in item['instances'])]
        chosen += rng.sample(fitting, count)
    return chosen


def main() -> None:
    args = parse_args()
    check_folder(args.runs, 'the folder of runs')
    init_default_scope('mmilmil')
    chain = stages_of(args.config, args.runs)
    beside = stages_of(args.config, args.runs, method_option(TOOLS)(args.beside))[-1]
    dataset = DATASETS.build(dict(read_config(args.config).test_dataloader.dataset, pipeline=[]))
    groups, first = [], 0
    for group in dataset.stage.groups:
        groups.append(set(range(first, first := first + len(group))))
    if len(args.images) != len(groups):
        raise InputError(f'--images {args.images}: give a number for each of the {len(groups)} groups')
    items = drawn([dataset.get_data_info(index) for index in range(len(dataset))], groups, args.images, args.seed)
    paths = [item['img_path'] for item in items]
    columns = {'ground truth': [([box['bbox'] for box in item['instances']], [box['bbox_label'] for box in item['instances']],
                                 None) for item in items]}
    for title, stage in {'teacher': chain[-2], args.beside: beside, 'mmilmil': chain[-1]}.items():
        detector = init_detector(str(stage.work_dir / STOCK_CONFIG), str(stage.final), palette='random', device='cpu')
        found = [result.pred_instances.numpy() for result in inference_detector(detector, paths)]
        columns[title] = [(result.bboxes, result.labels, result.scores) for result in found]
    draw_comparison([imread(path, channel_order='rgb') for path in paths], columns, dataset.stage, args.out, cell_width=300)


if __name__ == '__main__':
    with user_errors():
        main()
