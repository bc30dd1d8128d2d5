"""Whether a stage costs more the more stages stand behind it: a training step of every stage of a chain, in turn.

`python benchmarks/chain_cost.py` prints seconds a step and peak memory of the five stages of DeepPCB 2+1x4 with the small R18,
each taught by the stage before it, on the same number of images and objects. A stage has one teacher, whatever stands behind
that, so but for a few more class rows the later stages' figures should be equal.
"""

import argparse
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from step_time import CONFIGS, make_batch, seconds, status

from mmilmil.config_writing.split_configs import RECIPES, SplitConfigs
from mmilmil.registry import MODELS

DATASET, SPLIT = 'pcb', '2+1x4'
SIZE, IMAGES = 256, 8


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--steps', type=int, default=15, help='timed steps of each stage; default 15')
    parser.add_argument('--warmup', type=int, default=3, help='steps of each stage before timing; default 3')
    parser.add_argument('--threads', type=int, help='threads of torch; default all cores')
    return parser.parse_args()


def write_chain(folder: Path) -> list[str]:
    """Write the chain's configs and, with random weights, the checkpoint of every stage; returns the configs."""
    init_default_scope('mmilmil')
    MMLogger.get_current_instance().setLevel('ERROR')
    torch.manual_seed(0)
    classes = Config.fromfile(CONFIGS / f'_base_/datasets/{DATASET}.py').all_classes
    paths, teacher = [], None
    for path, text in SplitConfigs(RECIPES[DATASET], SPLIT, classes, shipped=str(CONFIGS)).files().items():
        if path.parent.name != 'ilmil':
            continue
        (folder / path).parent.mkdir(exist_ok=True)
        if teacher:
            text += f"model['teacher']['checkpoint'] = '{teacher}'\n"
        (folder / path).write_text(text)
        config = Config.fromfile(folder / path)
        model = MODELS.build(config.model)
        model.init_weights()
        teacher = folder / f'{path.stem}.pth'
        torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=config.metainfo.classes))), teacher)
        paths.append(str(folder / path))
    return paths


def make_step(path: str) -> Callable[[], None]:
    """A training step of a stage: preprocessing, losses, backward pass and optimizer."""
    init_default_scope('mmilmil')
    MMLogger.get_current_instance().setLevel('ERROR')
    config = Config.fromfile(path)
    model = MODELS.build(config.model)
    model.init_weights()
    optimizer = build_optim_wrapper(model.train(), config.optim_wrapper)
    batch = make_batch(SIZE, IMAGES, len(config.metainfo.classes) - 1, 'cpu')
    return lambda: model.train_step(batch, optimizer)


def peak_memory(path: str, threads: int) -> float:
    """Peak memory of three steps in MiB; to be called in a fresh process."""
    torch.set_num_threads(threads)
    before = status('VmRSS')
    step = make_step(path)
    for _ in range(3):
        step()
    return status('VmHWM') - before


def main() -> None:
    args = parse_args()
    threads = args.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_chain(Path(folder))
        with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
            memory = [pool.apply(peak_memory, (path, threads)) for path in paths]
        steps = [make_step(path) for path in paths]
    times = [[] for _ in paths]
    for turn in range(args.warmup + args.steps):
        for step, kept in zip(steps, times):
            spent = seconds(step, 'cpu')
            if turn >= args.warmup:
                kept.append(spent)
    print(f'torch {torch.__version__}, {threads} threads, {IMAGES} images of {SIZE} px, medians of {args.steps} steps in turn')
    for index, (kept, peak) in enumerate(zip(times, memory)):
        print(f'stage {index + 1} of {SPLIT}: {statistics.median(kept):.3f} s a step; peak {peak:.0f} MiB')


if __name__ == '__main__':
    main()
