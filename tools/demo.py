"""The main job on the built-in demo set: `make demo`.

Draws the shapes set, trains the first stage, fine-tuning and ILMIL, and joint training at the same time, prints one table and
writes one picture.
"""

import argparse
import contextlib
import logging
import os
import time
from pathlib import Path

from mmcv import imread
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmilmil.data_tools.shapes import ShapesSettings, write_shapes
from mmilmil.engine.chain_stages import ChainStage, stages_of
from mmilmil.engine.cli import check_folder, number, own_tools, user_errors
from mmilmil.engine.comparison_runs import run_together
from mmilmil.engine.hooks.final_model import STOCK_CONFIG
from mmilmil.engine.methods import method_option
from mmilmil.engine.next_steps import closing_lines
from mmilmil.engine.screen import add_verbose_option, screen_for
from mmilmil.errors import InputError
from mmilmil.evaluation import results_table
from mmilmil.registry import DATASETS
from mmilmil.report import report_after_all
from mmilmil.visualization import draw_comparison

TOOLS = own_tools(__file__)
CONFIGS = TOOLS.parent / 'configs'
TEACHER, JOINT = 'teacher (old classes only)', 'joint'
CONFIG = CONFIGS / 'ilmil/frcnn_shapes_4+2.py'
METHODS = {'fine-tuning': 'finetune', 'ILMIL': None, JOINT: 'joint'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train the demo set incrementally and show what was kept and learnt')
    parser.add_argument('--data', default='data/shapes', help='folder of the shapes set; made if it is missing')
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder of the runs; finished ones are kept')
    parser.add_argument('--images', type=number(int, 1), default=5, help='test images in the picture')
    add_verbose_option(parser)
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings for every stage')
    return parser.parse_args()


def draw(stages: dict[str, ChainStage], data: str, count: int, out: Path) -> None:
    """Draw the first test images with ground truth and each stage's detections side by side.

    Args:
        stages: Finished stages by title; the last one's classes name all columns.
        data: Folder of the shapes set.
        count: Number of images.
        out: File of the picture.
    """
    init_default_scope('mmilmil')
    cfg = Config.fromfile(str(list(stages.values())[-1].config))
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, data_root=data, pipeline=[]))
    items = [dataset.get_data_info(index) for index in range(min(count, len(dataset)))]
    paths = [item['img_path'] for item in items]
    columns = {
        'ground truth': [([box['bbox'] for box in item['instances']], [box['bbox_label'] for box in item['instances']],
                          None) for item in items]
    }
    for title, stage in stages.items():
        # Stock MMDetection on what the run left behind: the same way as a user takes the model elsewhere.
        with contextlib.redirect_stdout(None):  # MMEngine tells that it loads
            detector = init_detector(str(stage.work_dir / STOCK_CONFIG), str(stage.final), palette='random', device='cpu')
        found = [result.pred_instances.numpy() for result in inference_detector(detector, paths)]
        columns[title] = [(result.bboxes, result.labels, result.scores) for result in found]
    draw_comparison([imread(path, channel_order='rgb') for path in paths], columns, dataset.stage, str(out))


def main() -> None:
    args = parse_args()
    start = time.monotonic()
    out = check_folder(args.work_dir, '--work-dir')
    check_folder(args.data, '--data')
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # configs and data are read many times
    write_shapes(args.data, ShapesSettings())
    # The configs find the set through this variable, in the processes that train too.
    os.environ['MMILMIL_SHAPES_ROOT'] = str(Path(args.data).resolve())
    # Small models gain little from a second thread: two runs of one thread each do half as much again in the same time. And
    # the order of summation, so every figure, does not depend on the number of cores.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    out.mkdir(parents=True, exist_ok=True)
    find = method_option(TOOLS)
    chains = {title: stages_of(str(CONFIG), args.work_dir, name and find(name)) for title, name in METHODS.items()}
    stages = {TEACHER: chains['ILMIL'][0], **{title: chain[-1] for title, chain in chains.items()}}
    # Joint training, which waits for nobody, goes on beside the others; its log is not shown, as two at once cannot be read.
    with screen_for(stages.values(), 'demo.py', args.verbose) as screen:
        failed = run_together(list(stages.values()), screen, lambda stage: args.cfg_options, jobs=2, tools=TOOLS, go_on=False,
                              shown=lambda stage: args.verbose and stage is not stages[JOINT])
    for stage in stages.values():
        if stage.work_dir in failed:
            raise InputError(f'{stage.name}: {failed[stage.work_dir]}')
    rows = {title: stage.metrics() for title, stage in stages.items()}
    table = results_table(rows, teacher=TEACHER, joint=JOINT)
    (out / 'table.md').write_text(f'{table}\n')
    picture = out / 'comparison.png'
    draw({title: stage for title, stage in stages.items() if title != JOINT}, args.data, args.images, picture)
    report = report_after_all([stage.work_dir for stage in stages.values()], out, stages[TEACHER].work_dir)
    print(f'\n{table}\n\npicture: {picture}\ntable: {out / "table.md"}\ntime: {(time.monotonic() - start) / 60:.1f} minutes')
    print(f'\n{closing_lines(stages["ILMIL"], TOOLS, report)}')


if __name__ == '__main__':
    with user_errors():
        main()
