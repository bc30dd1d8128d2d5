"""Tell what fails in a student: `python tools/analysis_tools/diagnose.py configs/ilmil/frcnn_pcb_4+2.py FINAL.pth`.

From one pass over val or test, for the student and the checkpoints beside it: AP by group and on the images of one group alone,
what each kind of error costs, a confusion matrix, recall of the RPN, drift of the old logits; from training images, precision
and recall of the teacher's boxes and the positives that a step samples. Ends with the sentence where most AP is lost.
"""

import argparse
import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed

from mmilmil.atomic_write import write_atomically
from mmilmil.config import random_seed
from mmilmil.engine.building import check_loaders
from mmilmil.engine.cli import CfgOptions, check_file, number, own_tools, read_config, user_errors
from mmilmil.engine.hooks.stage_check import check_names, check_teacher
from mmilmil.engine.methods import add_method_option
from mmilmil.errors import InputError
from mmilmil.evaluation.diagnosis import DiagnosedDetector, most_lost, numbers, pass_over, training_positives
from mmilmil.evaluation.diagnosis_tables import diagnosis_text, left_out_text
from mmilmil.evaluation.teacher_boxes import SCORE_BANDS
from mmilmil.evaluation.teacher_on_training import count_teacher_boxes
from mmilmil.loaders import innermost_dataset
from mmilmil.models.loading import load_detector
from mmilmil.models.teacher import Teacher, teacher_settings
from mmilmil.models.views import TwoStageView, view_of
from mmilmil.progress_bar import tracked
from mmilmil.stage import Stage
from mmilmil.weights import may_exist


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Tell what fails in a student')
    parser.add_argument('config', help="config file of the student's stage")
    parser.add_argument('checkpoint', help="the student's checkpoint, or its URL")
    parser.add_argument('--beside', nargs='+', default=[], metavar='CHECKPOINT',
                        help='detectors of the same classes to tell beside it, such as those of fine-tuning and joint training')
    add_method_option(parser, own_tools(__file__).parent)
    parser.add_argument('--split', choices=('val', 'test'), default='val', help='default: val')
    parser.add_argument('--out', help='write all figures to this .json file')
    parser.add_argument('--score-thr', type=number(float, 0, 1), default=0.3,
                        help='scores from which detections count in the confusion matrix; default 0.3')
    parser.add_argument('--train-images', type=number(int, 1), default=200,
                        help="training images on which the teacher's boxes are counted, drawn at random; default 200")
    parser.add_argument('--train-steps', type=number(int, 1), default=50,
                        help='training batches of which the sampled positives are counted; default 50')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def titles_of(checkpoints: list[str]) -> list[str]:
    """The folders' names, or the paths where these are not told apart by them."""
    names = [Path(path).absolute().parent.name for path in checkpoints]
    return names if len(set(names)) == len(names) else checkpoints


def load_rows(args: argparse.Namespace, cfg: Config, stage: Stage, device: str) -> dict[str, DiagnosedDetector]:
    """The student by the config, and the detectors beside it by the configs that are in their checkpoints."""
    checkpoints = [args.checkpoint, *args.beside]
    if twice := [path for path in checkpoints if checkpoints.count(path) > 1]:
        raise InputError(f'{twice[0]} is given twice: name each checkpoint once')
    rows = {}
    for title, path in zip(titles_of(checkpoints), checkpoints):
        config = dict(model=cfg.model) if path == args.checkpoint else None
        detector, classes = load_detector(path, config, whose='the ', where='', classes=stage.classes if config else None)
        check_names(classes, stage.classes, path)
        rows[title] = DiagnosedDetector(detector.to(device), stage, args.score_thr)
    return rows


def load_teacher(cfg: Config, stage: Stage, device: str, left_out: list[str]) -> Teacher | None:
    """The config's teacher; None, with a line in ``left_out``, where there is none."""
    what = "drift of the old logits, precision and recall of the teacher's boxes"
    if not cfg.model.get('teacher'):
        left_out.append(f'{what}: {cfg.filename} has no teacher')
        return None
    settings = teacher_settings(cfg.model.teacher)
    if not may_exist(settings['checkpoint']):
        left_out.append(f'{what}: the teacher {settings["checkpoint"]} is not there; name it by '
                        '--cfg-options model.teacher.checkpoint=PATH')
        return None
    teacher = Teacher.load(**settings).to(device)
    check_teacher(stage, teacher.classes, settings['checkpoint'])
    return teacher


def teacher_figures(teacher: Teacher, cfg: Config, images: int) -> dict:
    """Precision and recall of the teacher's boxes on training images, with the counts behind them."""
    counts, looked_at = count_teacher_boxes(teacher, cfg, images)
    right, wrong = int(counts.right.sum()), int(counts.wrong.sum())
    return dict(images=looked_at, score_thr=SCORE_BANDS[0], right=right, wrong=wrong, objects=counts.objects,
                found=counts.found, precision=right / (right + wrong) if right + wrong else None,
                recall=counts.found / counts.objects if counts.objects else None)


def main() -> None:
    args = parse_args()
    for path in (args.checkpoint, *args.beside):
        if not may_exist(path):
            raise InputError(f'the checkpoint {path} does not exist: give the path or URL of a .pth file')
    if args.out:
        check_file(args.out, '--out')
    cfg = read_config(args.config, args.cfg_options, method=args.method)
    check_loaders(cfg)
    loader = cfg.get(f'{args.split}_dataloader')
    if not loader:
        raise InputError(f'{args.config} has no {args.split}_dataloader: give another --split')
    stage = Stage.from_metainfo(innermost_dataset(loader.dataset).get('metainfo') or {}, f'{args.split}_dataloader.dataset')
    if not stage.old:
        raise InputError(f'{args.config} is a first stage, which has no old classes to tell from new ones: give the config of '
                         'a later stage')
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    seed = set_random_seed(random_seed(cfg))
    device, left_out = 'cuda' if torch.cuda.is_available() else 'cpu', []
    rows = load_rows(args, cfg, stage, device)
    teacher = load_teacher(cfg, stage, device, left_out)
    student = next(iter(rows.values())).detector
    two_stage = isinstance(view_of(student), TwoStageView)
    compared = None if teacher is None or not isinstance(teacher.view, TwoStageView) else teacher.detector
    if teacher is not None and compared is None:
        left_out.append('drift of the old logits: a one-stage detector has no logits of a box')
    if not two_stage:
        left_out.append(f'recall of the RPN and sampled positives: {type(student).__name__} is a one-stage detector')

    data = Runner.build_dataloader(loader, seed=seed)
    pass_over(tracked(data, args.split, unit='batch'), list(rows.values()), compared)
    figures = {title: numbers(row.figures()) for title, row in rows.items()}
    boxes = None
    if teacher is not None:
        boxes = teacher_figures(teacher, cfg, args.train_images)
    positives = None
    if two_stage and cfg.model.get('merging') and teacher is None:
        left_out.append("sampled positives: they are also those of the teacher's boxes, which are merged in training")
    elif two_stage:
        counted = training_positives(cfg, student, args.train_steps, len(stage.old))
        positives = dict(steps=counted.steps, means=counted.means())

    print('\n', diagnosis_text(figures, boxes, positives), sep='')
    if left_out:
        print('\n', left_out_text(left_out), sep='')
    sentence = most_lost(next(iter(figures.values())))
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        content = dict(config=args.config, split=args.split, classes=list(stage.classes), num_old=len(stage.old), rows=figures,
                       teacher_boxes=boxes, positives=positives, left_out=left_out, most_lost=sentence)
        write_atomically((json.dumps(content, indent=2) + '\n').encode(), Path(args.out))
    print('\n', sentence, sep='')


if __name__ == '__main__':
    with user_errors():
        main()
