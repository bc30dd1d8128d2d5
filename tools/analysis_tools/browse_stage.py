"""Draw the data as a stage sees it: `python tools/analysis_tools/browse_stage.py CONFIG --teacher CKPT`.

Beside each other: the annotation, with the boxes that are trained on, those that the stage does not get to see (objects of old
classes and of later ones) and those that are ignored; and what the teacher finds, its boxes that will be merged and those that
merging refuses, with the reason. Images that the stage drops come with the reason too. What is drawn is what the stage filter
and merging themselves decide; images are as in their files, while training sees them flipped, cropped and so on.

Drawn are images that together show everything that occurs, and others spread evenly over the set. The teacher looks at
`--teacher-images` of those that are trained on, spread alike. Writes `sheet.jpg`, a picture of each image and `counts.json`.
"""

import argparse
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmilmil.atomic_write import write_atomically
from mmilmil.class_colors import class_colors
from mmilmil.datasets.image_loading import image_loader, load_image
from mmilmil.engine.cli import CfgOptions, check_device, check_folder, number, own_tools, read_config, user_errors
from mmilmil.engine.hooks.stage_check import check_teacher
from mmilmil.engine.methods import add_method_option
from mmilmil.errors import InputError
from mmilmil.evaluation.stage_images import (
    LATER,
    Merging,
    StageCounts,
    StageImage,
    class_names,
    shown_images,
    spread,
    stage_images,
)
from mmilmil.models.teacher import Teacher, teacher_settings
from mmilmil.progress_bar import tracked
from mmilmil.stage import Stage
from mmilmil.visualization.marked_images import LATER_COLOR, Legend, Mark, MarkedImage, marked_page
from mmilmil.visualization.sheet import fonts_for
from mmilmil.weights import may_exist

COUNTS, SHEET = 'counts.json', 'sheet.jpg'
REFUSED = dict(score='low score', annotated='on an annotated box', ignored='on an ignored box', nms='NMS')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw the data as a stage sees it')
    parser.add_argument('config', help='config file of the stage')
    add_method_option(parser, own_tools(__file__).parent)
    parser.add_argument('--teacher', metavar='CKPT',
                        help="the stage's teacher; default: model.teacher.checkpoint, if it is there")
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train', help='default: train')
    parser.add_argument('--images', type=number(int, 1), default=12, metavar='N', help='draw so many images; default 12')
    parser.add_argument('--teacher-images', type=number(int, 1), default=60, metavar='N',
                        help='the teacher looks at so many, spread over the set; default 60')
    parser.add_argument('--score-thr', type=number(float, 0, 1), default=0.3,
                        help="the teacher's boxes of lower scores are not shown as refused; default 0.3")
    parser.add_argument('--out', metavar='DIR', help='folder to write; default: stage_images in the work dir of the config')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default: cuda where it is')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def written_before(folder: Path) -> list[Path]:
    """The files that this tool left in a folder, which it replaces.

    Raises:
        InputError: there are others.
    """
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    try:
        known = {*json.loads((folder / COUNTS).read_text(encoding='utf-8'))['files'], COUNTS}
        known |= {f'{name}.part' for name in known}  # of one that was killed
    except (OSError, ValueError, KeyError, TypeError):
        known = {f'{COUNTS}.part'}
    if others := [path.name for path in there if path.name not in known]:
        raise InputError(f'--out {folder} has files of something else ({", ".join(others[:3])}{", ..." * (len(others) > 3)}): '
                         'name a folder that is new, empty, or was written by this tool')
    return there


def replace_files(folder: Path, before: Sequence[Path], files: Mapping[str, bytes], counts: dict) -> None:
    """Put files into the place of those that this tool left; however it ends, it knows those that are there as its own.

    Args:
        folder: Where they go.
        before: What :func:`written_before` found.
        files: Their content by name.
        counts: Content of :data:`COUNTS`, which is written last.

    Raises:
        InputError: a file cannot be written.
    """
    def write_counts(content: dict) -> None:
        write_atomically((json.dumps(content, indent=2, ensure_ascii=False) + '\n').encode(), folder / COUNTS)

    folder.mkdir(parents=True, exist_ok=True)
    write_counts(dict(files=sorted({*files, *(path.name for path in before)} - {COUNTS})))
    for path in before:
        if path.name != COUNTS:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)  # a draft of the list is gone by now
    for name, content in files.items():
        write_atomically(content, folder / name)
    write_counts(dict(counts, files=[*files]))


def merging_of(cfg: Config, args: argparse.Namespace, stage: Stage) -> tuple[Merging | None, str]:
    """What asks the teacher, or ``None`` and why there is nothing to ask."""
    if args.split != 'train':
        if args.teacher:
            raise InputError(f'--teacher with --split {args.split}: boxes are merged in training alone, so leave one of the '
                             'two out')
        return None, f'boxes are merged in training alone, not on {args.split}'
    if not cfg.model.get('teacher'):
        return None, 'this stage has no teacher (model.teacher)'
    if cfg.model.get('merging', ...) is None:
        return None, 'this stage merges no boxes of its teacher (model.merging = None)'
    checkpoint = cfg.model.teacher.checkpoint
    if not may_exist(checkpoint):
        if args.teacher:
            raise InputError(f'--teacher {checkpoint} does not exist: give the path or URL of a .pth file')
        return None, f'the teacher {checkpoint} is not there; give --teacher CKPT to see its boxes'
    check_device(args.device)
    teacher = Teacher.load(**teacher_settings(cfg.model.teacher))
    check_teacher(stage, teacher.classes, checkpoint)
    return Merging(cfg, teacher.to(args.device), args.score_thr), ''


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, teacher=args.teacher, method=args.method)
    out = check_folder(args.out or Path(cfg.work_dir) / 'stage_images', '--out')
    before = written_before(out)
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    images = stage_images(cfg, args.split)
    stage = images[0].dataset.stage
    merging, without = merging_of(cfg, args, stage)
    if merging:
        kept = [image for image in images if not image.filtered.dropped]
        for image in tracked(spread(kept, args.teacher_images), 'teacher'):
            image.found = merging(image.filtered)
    else:
        print(f"the data alone is drawn, without a teacher's boxes: {without}")
    counts = StageCounts.of(images)
    chosen, unseen = shown_images(images, args.images)
    colors = {**{name: LATER_COLOR for one in images for name in {item.name for item in one.filtered.objects}},
              **dict(zip(stage.classes, class_colors(stage.split)))}
    pictures = [picture_of(image, colors, merging is not None) for image in chosen]

    by = f', {args.method.stem}' if args.method else ''
    title = f'{Path(args.config).name}{by}: {args.split} as the stage sees it'
    legend = legend_of(counts, chosen, colors, stage, merging, without)
    columns = min(2 if merging else 4, len(pictures))
    stems = [re.sub(r'[^\w.-]+', '_', Path(image.filtered.path).stem)[:60] for image in chosen]
    names = [f'{index + 1:02d}_{stem}.jpg' for index, stem in enumerate(stems)]
    files = {SHEET: marked_page(pictures, title, legend, 380, columns, must_label=False).content('jpg')}
    for name, picture in zip(names, tracked(pictures, 'pictures', unit='picture')):
        files[name] = marked_page([picture], title, legend, 760, must_label=False).content('jpg')
    content = dict(config=args.config, method=args.method.stem if args.method else None, split=args.split,
                   classes=stage.classes, groups=stage.split, merging=merging.thresholds if merging else None,
                   without_teacher=without or None, **counts.to_dict(), not_shown=sorted(unseen),
                   pictures={name: dict(image=image.filtered.path, reasons=sorted(image.reasons))
                             for name, image in zip(names, chosen)})
    replace_files(out, before, files, content)

    print('\n'.join(told(counts)))
    if unseen:
        print(f'not on a picture: {", ".join(sorted(unseen))}; raise --images')
    if lacking := fonts_for(colors)[1]:
        print(f'no font of this system has {lacking}, which are drawn as empty squares: install one, such as fonts-noto-cjk')
    print(f'{out / SHEET}, {len(names)} pictures and {COUNTS} beside it')


def picture_of(image: StageImage, colors: dict[str, str], with_teacher: bool) -> MarkedImage:
    """An image with its objects and, beside it, the teacher's boxes."""
    filtered = image.filtered
    pixels = load_image(image_loader(image.dataset.pipeline.transforms, image.dataset.backend_args), filtered.path)
    pixels = np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels[:, :, 2::-1]
    styles = dict(kept='kept', ignored='ignored', hidden='hidden')
    more = dict(ignored=' (ignored)')
    drawn = sorted((one for one in filtered.objects if one.fate in styles), key=lambda one: [*styles].index(one.fate))
    marks = [Mark(one.bbox, colors[one.name], styles[one.fate], shown(one.name) + more.get(one.fate, '')) for one in drawn]
    total = {fate: sum(one.fate == fate for one in filtered.objects) for fate in (*styles, 'left out')}
    panels = {f'annotation: {", ".join(f"{count} {fate}" for fate, count in total.items() if count) or "no object"}': marks}
    if image.found:
        panels.update([teacher_panel(image, marks, colors)])
    elif with_teacher:
        why = 'is not asked about a dropped image' if filtered.dropped else 'did not look at this image'
        panels[f'the teacher {why}'] = ()
    note = f'dropped: {filtered.dropped}' if filtered.dropped else \
        'replayed: an image of an earlier stage' if filtered.replayed else \
        'unlabelled: nobody has annotated it' if filtered.unlabelled else ''
    return MarkedImage(np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8)), shown(Path(filtered.path).name), panels,
                       note)


def teacher_panel(image: StageImage, marks: list[Mark], colors: dict[str, str]) -> tuple[str, list[Mark]]:
    """The teacher's boxes over what the annotation has, the surest first."""
    beside = dict(kept='context', hidden='faint', ignored='ignored')
    found, classes = image.found, image.dataset.stage.classes
    drawn = [Mark(mark.box, mark.color, beside[mark.style]) for mark in marks]
    order = sorted(range(len(found.fates)), key=lambda index: (found.fates[index] != 'merged', -found.scores[index]))
    for index in order:
        name, fate = classes[found.labels[index]], found.fates[index]
        text = f'{shown(name)} {found.scores[index]:.2f}'
        drawn.append(Mark(found.bboxes[index], colors[name], 'merged' if fate == 'merged' else 'refused',
                          f'+ {text}' if fate == 'merged' else f'× {text}: {REFUSED[fate]}'))
    merged = found.fates.count('merged')
    return f'teacher: {merged} merged, {len(order) - merged} refused', drawn


def legend_of(counts: StageCounts, chosen: list[StageImage], colors: dict[str, str], stage: Stage, merging: Merging | None,
              without: str) -> Legend:
    """What lines and colours mean on the chosen images, with the counts of the set."""
    names = class_names(chosen, stage)
    total = {kind: found.total() for kind, found in counts.objects.items()}
    some = {group: colors[found[0]] for group, found in names.items() if found}
    new = some.get('new') or some.get('old') or LATER_COLOR
    old = some.get('old') or new
    hidden = [f'{total[f"hidden {group}"]} of {group} classes' for group in ('old', 'new', LATER) if total[f'hidden {group}']]
    kinds = [('kept', new, f'kept: {total["kept"]} objects')]
    if hidden or any(one.fate == 'hidden' for image in chosen for one in image.filtered.objects):
        color = old if total['hidden old'] or not hidden else LATER_COLOR
        where = ', '.join(hidden) or 'none on the kept images'
        kinds.append(('hidden', color, f'annotated, but hidden from the stage: {where}'))
    if total['ignored']:
        kinds.append(('ignored', new, f'ignored: {total["ignored"]}'))
    if merging:
        boxes = {fate: found.total() for fate, found in counts.teacher.items()}
        reasons = [f'{boxes[fate]} {word}' for fate, word in REFUSED.items() if boxes[fate]]
        kinds += [('merged', old, f"the teacher's, merged: {boxes['merged']}"),
                  ('refused', old, f"the teacher's, refused: {', '.join(reasons) or 'none'}")]
    lines = [' '.join(told(counts)[:1])]
    if merging:
        limits = ', '.join(f'{name} {value}' for name, value in merging.thresholds.items())
        lines.append(f"The teacher's boxes are counted over {counts.asked} images, those with scores above "
                     f'{merging.score_thr:g}; merging by {limits}')
    else:
        lines.append(f"Without a teacher's boxes: {without}")
    first = len(stage.split) == 1
    headings = dict(old='old classes', new='classes' if first else 'new classes', **{LATER: 'hidden: later classes'})
    classes = {headings[group]: {shown(name): colors[name] for name in found} for group, found in names.items()}
    return Legend(kinds, classes, lines)


def told(counts: StageCounts) -> list[str]:
    """The counts in lines."""
    more = ', '.join(f'{count} {kind}' for kind, count in (('replayed', counts.replayed), ('unlabelled', counts.unlabelled))
                     if count)
    dropped = ', '.join(f'{count} {reason}' for reason, count in counts.dropped.items()) or 'none'
    objects = ', '.join(f'{found.total()} {kind}' for kind, found in counts.objects.items() if found) or 'none'
    lines = [f'{counts.listed} images listed, {counts.kept} kept{more and f" ({more})"}; dropped: {dropped}',
             f'objects on them: {objects}']
    lines += [f'  {count} {reason}' for reason, count in counts.reasons.items()]
    if counts.asked:
        boxes = [f'{found.total()} {"merged" if fate == "merged" else "refused, " + REFUSED[fate]}'
                 for fate, found in counts.teacher.items()]
        lines.append(f"the teacher's boxes on {counts.asked} images: {', '.join(boxes)}")
    return lines


def shown(name: str) -> str:
    """A name in one line."""
    return ' '.join(''.join(letter if letter.isprintable() else ' ' for letter in name).split()) or repr(name)


if __name__ == '__main__':
    with user_errors():
        main()
