"""The main job on the built-in demo set: `make demo`.

Draws the shapes set, trains the first stage, fine-tuning and ILMIL, and joint training at the same time, prints one table and
writes one picture.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mmcv import imread
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmilmil.data_tools.shapes import ShapesSettings, write_shapes
from mmilmil.engine.chain import run_stage
from mmilmil.engine.chain_stages import ChainStage, stages_of
from mmilmil.engine.cli import check_folder, number, own_tools, user_errors
from mmilmil.engine.hooks.final_model import STOCK_CONFIG
from mmilmil.engine.methods import method_option
from mmilmil.engine.processes import ending_with_this_process
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
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings for every stage')
    return parser.parse_args()


@contextlib.contextmanager
def in_background(stage: ChainStage, options: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """Train and test ``stage`` in a process of its own that writes to ``log``; it ends with the block at the latest."""
    command = [sys.executable, str(TOOLS / 'train_chain.py'), str(stage.config), '--work-dir', str(stage.work_dir.parent)]
    if stage.method:
        command += ['--method', str(stage.method)]
    if options:
        command += ['--cfg-options', *options]
    with log.open('w') as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                                   preexec_fn=ending_with_this_process())
    print(f'{stage.name}: training beside the other stages, progress in {log}', flush=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)


def wait_for(process: subprocess.Popen, stage: ChainStage, log: Path, seconds: float = 20) -> None:
    """Wait until ``stage`` is tested, and tell every so many seconds how far it is.

    Raises:
        InputError: it ended with an error, which stands in ``log``.
    """
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.wait(seconds):
                raise InputError(f'{stage.name} failed with status {process.returncode}: see {log}')
            return
        for line in log.read_text().strip().splitlines()[-1:]:  # empty while it starts
            print(f'{stage.name}: {line}', flush=True)


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
        detector = init_detector(str(stage.work_dir / STOCK_CONFIG), str(stage.final), palette='random', device='cpu')
        found = [result.pred_instances.numpy() for result in inference_detector(detector, paths)]
        columns[title] = [(result.bboxes, result.labels, result.scores) for result in found]
    draw_comparison([imread(path, channel_order='rgb') for path in paths], columns, dataset.stage, str(out))


def main() -> None:
    args = parse_args()
    start = time.monotonic()
    out = check_folder(args.work_dir, '--work-dir')
    check_folder(args.data, '--data')
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
    log = out / f'{stages[JOINT].name}.log'
    rows = {}
    with in_background(stages[JOINT], args.cfg_options, log) as joint:
        for title, stage in stages.items():
            if title == JOINT:
                wait_for(joint, stage, log)
            rows[title] = run_stage(stage, tuple(args.cfg_options), TOOLS)
    table = results_table(rows, teacher=TEACHER, joint=JOINT)
    (out / 'table.md').write_text(f'{table}\n')
    picture = out / 'comparison.png'
    draw({title: stage for title, stage in stages.items() if title != JOINT}, args.data, args.images, picture)
    report_after_all([stage.work_dir for stage in stages.values()], out, stages[TEACHER].work_dir)
    print(f'\n{table}\n\npicture: {picture}\ntable: {out / "table.md"}\ntime: {(time.monotonic() - start) / 60:.1f} minutes')


if __name__ == '__main__':
    with user_errors():
        main()
