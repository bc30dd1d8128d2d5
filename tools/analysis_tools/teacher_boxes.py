"""Tell what the teacher sees on the training images of a stage, to choose `merging` and `max_proposals` for one's own data.

`python tools/analysis_tools/teacher_boxes.py configs/ilmil/frcnn_pcb_4+2.py`: how many old objects that the stage hides the
teacher finds, how many of its boxes are right by score and by IoU with the annotated boxes, and, of a two-stage detector, how
many of its detections fewer proposals would find. The annotation must name the old objects too; training never reads them.
"""

import argparse
import json

import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

from mmilmil.atomic_write import write_atomically
from mmilmil.config import random_seed
from mmilmil.engine.cli import CfgOptions, check_file, number, own_tools, read_config, user_errors
from mmilmil.engine.hooks.stage_check import check_teacher
from mmilmil.engine.methods import add_method_option
from mmilmil.errors import InputError
from mmilmil.evaluation.teacher_boxes import SCORE_BANDS, TeacherBoxes, match
from mmilmil.evaluation.teacher_on_training import detect, ground_truth, training_images
from mmilmil.models.teacher import Teacher, teacher_settings
from mmilmil.models.views import TwoStageView
from mmilmil.progress_bar import tracked


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tell what the teacher sees on a stage's training images")
    parser.add_argument('config', help="config file of the student's stage")
    add_method_option(parser, own_tools(__file__).parent)
    parser.add_argument('--images', type=number(int, 1), help='look at so many images, drawn at random; default all')
    parser.add_argument(
        '--proposals', nargs='+', type=number(int, 1),
        help='of a two-stage detector, proposals an image to try; default 32 64 128')
    parser.add_argument('--out', help='write the counts to this .json file; the report shows those of teacher_boxes.json in '
                        'the work dir')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = check_file(args.out, '--out') if args.out else None
    cfg = read_config(args.config, args.cfg_options, method=args.method)
    if not cfg.model.get('teacher'):
        raise InputError(f"{args.config} has no teacher (model.teacher): give the config of a student's stage")
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    set_random_seed(random_seed(cfg))
    seen, indices = training_images(cfg)
    teacher = Teacher.load(**teacher_settings(cfg.model.teacher))
    check_teacher(seen.datasets[0].stage, teacher.classes, cfg.model.teacher.checkpoint)
    proposals = args.proposals
    if not isinstance(teacher.view, TwoStageView):
        if proposals:
            raise InputError(f'--proposals: the teacher {cfg.model.teacher.checkpoint} is a one-stage detector, a '
                             f'{type(teacher.detector).__name__}, and makes none: leave it out')
        proposals = ()
    elif proposals is None:
        proposals = (32, 64, 128)
    if args.images:
        indices = np.random.permutation(indices)[:args.images].tolist()
    counts, by_number, every = TeacherBoxes(), dict.fromkeys(proposals, 0), 0
    for index in tracked(indices, 'teacher'):
        data = teacher.detector.data_preprocessor(pseudo_collate([seen[index]]))
        detections, classes = detect(teacher, data)
        counts.add(detections, classes, *ground_truth(data['data_samples'][0]), teacher.num_classes)
        every += len(detections)
        for count in by_number:
            by_number[count] += match(*detect(teacher, data, count), detections[:, :4], classes)[0].sum()

    print(f'\n{len(indices)} images; a detection is a box with a score above {SCORE_BANDS[0]}')
    print(f'old objects that the stage hides: {counts.objects}, found: {counts.found}{share(counts.found, counts.objects)}\n')
    print(counts.table())
    if counts.on_ignored:
        print(f'{counts.on_ignored} detections on ignored objects (difficult, crowd) of new classes: in no band, never merged')
    if out:
        content = dict(images=len(indices), right=int(counts.right.sum()), wrong=int(counts.wrong.sum()),
                       objects=counts.objects, found=counts.found, score_thr=SCORE_BANDS[0])
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically((json.dumps(content, indent=2) + '\n').encode(), out)
    for count, found in by_number.items():
        print(f'{count} proposals: {found} of {every} detections{share(found, every)}')


def share(part: int, whole: int) -> str:
    """`` (12 %)``, or nothing of an empty whole."""
    return f' ({100 * part / whole:.1f} %)' if whole else ''


if __name__ == '__main__':
    with user_errors():
        main()
