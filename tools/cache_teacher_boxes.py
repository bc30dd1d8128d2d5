"""Find the teacher's boxes on a stage's training images once: `python tools/cache_teacher_boxes.py CONFIG`.

Training then takes them from the file (`model.teacher_boxes`) instead of looking for them in every step. A build that was
stopped is resumed where it was.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import ConcatDataset, DataLoader, Subset

from mmilmil.atomic_write import write_atomically
from mmilmil.datasets.masks import has_mask_head
from mmilmil.datasets.moves import check_moves
from mmilmil.engine.cli import CfgOptions, check_device, check_file, number, own_tools, read_config, user_errors
from mmilmil.engine.hooks.stage_check import check_teacher
from mmilmil.engine.methods import add_method_option
from mmilmil.engine.unlabelled import add_unlabelled_option, use_unlabelled
from mmilmil.errors import InputError
from mmilmil.loaders import innermost_dataset, innermost_datasets, test_loader
from mmilmil.models.box_cache import TeacherBoxCache, head_line, image_line
from mmilmil.models.teacher import Teacher, teacher_settings
from mmilmil.progress_bar import progress_bar
from mmilmil.registry import DATASETS, MODELS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cache the teacher's boxes on a stage's training images")
    parser.add_argument('config', help="config file of the student's stage")
    add_method_option(parser, own_tools(__file__))
    add_unlabelled_option(parser)
    parser.add_argument('--out', help='the cache; default teacher_boxes.jsonl in the work dir of the config')
    parser.add_argument('--score-thr', type=number(float, 0, 1), default=0.3,
                        help='leave out detections of a lower score; default 0.3')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='where the teacher runs')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def begun(path: Path, head: str) -> set:
    """The ids of the images that a stopped build has done, or nothing of a new one; what was cut off is taken out.

    Raises:
        InputError: the file is another teacher's, of another threshold, or no cache.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head, encoding='utf-8')
        return set()
    text = path.read_text(encoding='utf-8', errors='replace')
    if text and not text.startswith(head):
        raise InputError(f'{path} is there already and is no cache of this teacher with this --score-thr: remove it, or name '
                         'another file with --out')
    write_atomically((text[:text.rfind('\n') + 1] or head).encode(), path)
    return set(TeacherBoxCache.load(path).images)


def detections(teacher: Teacher, loader: DataLoader, score_thr: float) -> Iterator[tuple[DetDataSample, InstanceData]]:
    """By image its sample and the teacher's boxes, in pixels of the image file."""
    for batch in loader:
        data = teacher.detector.data_preprocessor(batch)
        found = teacher.observe(data['inputs'], data['data_samples'], score_thr).detections
        for sample, boxes in zip(data['data_samples'], found):
            boxes.bboxes = boxes.bboxes / boxes.bboxes.new_tensor(sample.scale_factor).repeat(2)
            yield sample, boxes


def training_images(cfg: Config) -> tuple[ConcatDataset, list]:
    """The training images without augmentation, each once, of all the sets that the stage joins; and their ids.

    Raises:
        InputError: an id is twice among them.
    """
    pipeline = innermost_dataset(test_loader(cfg).dataset).pipeline
    sets = [DATASETS.build(dict(dataset, pipeline=pipeline)) for dataset in innermost_datasets(cfg.train_dataloader.dataset)]
    img_ids = [part.get_data_info(index)['img_id'] for part in sets for index in range(len(part))]
    twice = [img_id for img_id, count in Counter(img_ids).items() if count > 1]
    if twice:
        raise InputError(f'the training sets hold {len(twice)} image ids twice ({twice[0]!r} is one), by which the boxes are '
                         'found again: give the images of each set other names or ids, or train without a cache')
    return ConcatDataset(sets), img_ids


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, method=args.method)
    if not cfg.model.get('teacher'):
        raise InputError(f"{args.config} has no teacher (model.teacher): give the config of a student's stage")
    use_unlabelled(cfg, args.unlabelled)
    if has_mask_head(cfg.model):
        raise InputError(f'{args.config} has a mask head (model.roi_head.mask_head), and a cache holds boxes without masks: '
                         'train without one, so that the teacher finds both in the batch')
    merging = cfg.model.get('merging')
    wanted = (merging or {}).get('score_thr', args.score_thr)
    if args.score_thr > wanted:
        raise InputError(f'--score-thr {args.score_thr} leaves out boxes that model.merging.score_thr = {wanted} asks for: '
                         f'give {wanted} or less')
    out = check_file(args.out or Path(cfg.work_dir) / 'teacher_boxes.jsonl', '--out')
    check_device(args.device)
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    # What training would refuse is told before the teacher looks at a whole set.
    check_moves(DATASETS.build(cfg.train_dataloader.dataset), MODELS.build(cfg.model.data_preprocessor))
    # Once for all epochs, so it may look at all the proposals that it is tested with.
    teacher = Teacher.load(**dict(teacher_settings(cfg.model.teacher), max_proposals=10**6)).to(args.device)
    dataset, img_ids = training_images(cfg)
    check_teacher(dataset.datasets[0].stage, teacher.classes, cfg.model.teacher.checkpoint)

    done = begun(out, head_line(teacher.fingerprint, teacher.classes, args.score_thr))
    left = [index for index, img_id in enumerate(img_ids) if img_id not in done]
    print(f'{len(dataset)} training images, {len(dataset) - len(left)} of them done already')
    loader = Runner.build_dataloader(dict(
        dataset=Subset(dataset, left), batch_size=test_loader(cfg).batch_size, num_workers=test_loader(cfg).num_workers,
        sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='pseudo_collate')))
    boxes = 0
    with out.open('a', encoding='utf-8') as file, progress_bar('teacher', len(left)) as bar:
        for sample, found in detections(teacher, loader, args.score_thr) if left else ():
            file.write(image_line(sample.img_id, found))
            file.flush()
            boxes += len(found)
            bar.update()
    print(f'{boxes} boxes added to {out}: train with --cfg-options model.teacher_boxes={out}')


if __name__ == '__main__':
    with user_errors():
        main()
