"""The images that a detector does worst on: `python tools/analysis_tools/hard_examples.py CONFIG CHECKPOINT --num 50`.

Images are ranked by the number of mistakes: missed objects, objects taken for another class, detections on background, and
those on top of an object that a surer one has found; among equals the one with fewer right objects comes first. Detections
from `--score-thr` on count, and are matched as in the confusion matrix of diagnose.py. A loss would be another measure; it
depends on sampling and on the terms of the method, and is not used here.

On train only what the stage may see is judged: objects of the classes that it is trained on, and detections of these classes;
objects that it hides are neither read nor missed, and images of replay and without annotation are not ranked. On val and test
it is what the metric sees. Writes the worst as a list that a config can train on (names as in ImageSets, or a COCO file).
"""

import argparse
import os
from pathlib import Path

import torch
from mmcv import imread
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from torch.utils.data import ConcatDataset

from mmilmil.atomic_write import write_atomically
from mmilmil.config import random_seed
from mmilmil.data_tools.subset_list import absent_classes, how_to_train, list_ending, list_text
from mmilmil.engine.building import check_loaders
from mmilmil.engine.cli import CfgOptions, check_device, check_file, check_folder, number, own_tools, read_config, user_errors
from mmilmil.engine.methods import add_method_option
from mmilmil.errors import InputError
from mmilmil.evaluation import IncrementalVOCMetric
from mmilmil.evaluation.hard_examples import judged, mistakes_of, ranked
from mmilmil.loaders import innermost_dataset, innermost_datasets, located_datasets, test_loader
from mmilmil.models.loading import load_detector
from mmilmil.progress_bar import tracked
from mmilmil.registry import DATASETS
from mmilmil.stage import Stage
from mmilmil.visualization import draw_comparison
from mmilmil.weights import may_exist

SPLITS = ('train', 'val', 'test')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='List the images that a detector does worst on')
    parser.add_argument('config', help='config file of the stage')
    parser.add_argument('checkpoint', help='checkpoint file, or its URL')
    add_method_option(parser, own_tools(__file__).parent)
    parser.add_argument('--split', choices=SPLITS, default='train', help='default: train')
    parser.add_argument('--num', type=number(int, 1), default=50, metavar='N', help='list so many images; default 50')
    parser.add_argument('--out', help='file for the list; default hard_<split>.txt (of COCO files .json) in the work dir of '
                        'the config; of several sets each has its number behind the name')
    parser.add_argument('--draw', metavar='DIR', help='draw them, with ground truth and detections side by side')
    parser.add_argument('--score-thr', type=number(float, 0, 1), default=0.3,
                        help='scores from which detections count; default 0.3')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default: cuda where it is')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def located_sets(cfg: Config, split: str) -> list[tuple[str, object]]:
    """The split's sets by their place in the config, built with the test's pipeline."""
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise InputError(f'{cfg.filename} has no {split}_dataloader: give another --split')
    pipeline = innermost_dataset(test_loader(cfg).dataset).pipeline
    # On training images neither those of earlier stages nor those that nobody has annotated are to be judged.
    changes, without = ({}, ()) if split != 'train' else (dict(pipeline=pipeline), ('replay', 'unlabelled'))
    return [(place, DATASETS.build(dict(one, **changes, **{name: None for name in without if name in one})))
            for place, one in located_datasets(loader.dataset, f'{split}_dataloader.dataset')]


def lists_read(cfg: Config) -> set[str]:
    """Real paths of the files that list the images of the config's sets, or are their annotation."""
    loaders = [loader for split in SPLITS if (loader := cfg.get(f'{split}_dataloader'))]
    return {os.path.realpath(os.path.join(one.get('data_root') or '', one.get('ann_file') or ''))
            for loader in loaders for one in innermost_datasets(loader.dataset)}


def lists_of(sets: list[tuple[str, object]], out: str | None, folder: Path, split: str, read: set[str]) -> list[Path]:
    """The file for the list of each set, none of them one of ``read``."""
    endings = [list_ending(one) for _, one in sets]
    path = Path(out) if out else folder / f'hard_{split}{endings[0]}'
    if wrong := [ending for ending in endings if out and path.suffix != ending]:
        raise InputError(f'--out {out}: the list of this set is a {wrong[0]} file, so give it a name that ends in {wrong[0]}')
    paths = [path]
    if len(sets) > 1:
        paths = [path.with_name(f'{path.stem}_{index}{ending}') for index, ending in enumerate(endings)]
    for path in paths:
        if os.path.realpath(check_file(path, '--out')) in read:
            raise InputError(f'the list {path} would replace the ann_file of a set of the config: name another file by --out')
    return paths


def main() -> None:
    args = parse_args()
    if not may_exist(args.checkpoint):
        raise InputError(f'the checkpoint {args.checkpoint} does not exist: give the path or URL of a .pth file')
    check_device(args.device)
    cfg = read_config(args.config, args.cfg_options, method=args.method)
    check_loaders(cfg)
    if args.draw:
        check_folder(args.draw, '--draw')
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    seed = set_random_seed(random_seed(cfg))
    sets = located_sets(cfg, args.split)
    files = lists_of(sets, args.out, Path(cfg.work_dir), args.split, lists_read(cfg))
    together = ConcatDataset([one for _, one in sets])
    stage: Stage = sets[0][1].stage
    detector, _ = load_detector(args.checkpoint, dict(model=cfg.model), whose='the ', where='', classes=stage.classes)
    detector.to(args.device).eval()

    # One by one, so that no image is padded to the size of another.
    loader = Runner.build_dataloader(dict(
        batch_size=1, num_workers=test_loader(cfg).get('num_workers', 0), dataset=together,
        sampler=dict(type='DefaultSampler', shuffle=False)), seed=seed)
    metric, mistakes = IncrementalVOCMetric(eval_mode='area'), []
    labels = [{stage.classes.index(name) for name in one.kept_classes} for _, one in sets for _ in range(len(one))]
    with torch.no_grad():
        for index, batch in enumerate(tracked(loader, 'test')):
            metric.process(None, [sample.to_dict() for sample in detector.test_step(batch)])
            metric.results[-1] = judged(metric.results[-1], labels[index])
            mistakes.append(mistakes_of(metric.results[-1], len(stage.classes), args.score_thr))
    worst = ranked(mistakes)[:args.num]
    if not worst:
        raise InputError(f'there is no mistake in the {len(together)} images of {args.split} at scores from {args.score_thr}: '
                         'lower --score-thr, or give another --split')

    paths, start = [], 0
    for (place, one), file in zip(sets, files):
        chosen = [index - start for index in worst if start <= index < start + len(one)]
        start += len(one)
        if chosen:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(list_text(one, chosen).encode(), file)
            paths.append((place, file, len(chosen), absent_classes(one, chosen)))
    for rank, index in enumerate(worst):
        set_of, place = _located(together, index)
        image = set_of.get_data_info(place)['img_path']
        print(f'{rank + 1:4d}. {image}: {mistakes[index]}')
        if args.draw:
            out = Path(args.draw) / f'{rank + 1:04d}_{Path(image).stem}.jpg'
            _draw(metric.results[index], image, stage, out, args.score_thr)
    total = sum(one.total for one in mistakes)
    share = sum(mistakes[index].total for index in worst)
    print(f'\nthese {len(worst)} of {len(together)} images have {share} of the {total} mistakes')
    for place, file, count, lacking in paths:
        print(f'{file}: {count} images')
        if args.split == 'train':
            print(how_to_train(args.config, place, file.absolute(), lacking))
    if args.split != 'train':
        print(f'to look at: what is learnt from {args.split} is no longer measured on it')


def _located(together: ConcatDataset, index: int) -> tuple:
    """The set that an image is of, and its place in it."""
    for one in together.datasets:
        if index < len(one):
            return one, index
        index -= len(one)
    raise IndexError(index)


def _draw(image, path: str, stage: Stage, out: Path, score_thr: float) -> None:
    """Ground truth and detections of an image side by side."""
    chosen = [image.evaluated.measures(label) for label in image.detected_labels.tolist()]
    found = image.detections[chosen], image.detected_labels[chosen]
    columns = {'ground truth': [(image.boxes, image.labels, None)],
               'detections': [(found[0][:, :4], found[1], found[0][:, 4])]}
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_comparison([imread(path, channel_order='rgb')], columns, stage, str(out), score_thr)


if __name__ == '__main__':
    with user_errors():
        main()
