"""Write the configs of a split: `python tools/new_split.py --dataset voc07 --split 10+5+5`.

Also for one's own data: `--ann FOLDER`, `--ann data.yaml` or `--ann train.json --val-ann val.json --test-ann test.json`, see
docs/own_data.md. Writes the stages, and tells how to train them, with fine-tuning and joint training beside them.

And for a detector of one's own: `--ann DATA --teacher CONFIG CHECKPOINT`. Writes the stage in which its student learns the new
classes, everything else as that detector has it.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mmengine.config import Config

from mmilmil.class_names import is_data_set
from mmilmil.config import config_file
from mmilmil.config_writing.dataset_config import dataset_config, reordered_config
from mmilmil.config_writing.new_student import ROLES, chosen_new, new_data, told
from mmilmil.config_writing.small_detector import SMALL, small_detector_config
from mmilmil.config_writing.split_configs import ADAMW_SMALL, BASES, RECIPES, SGD_VOC, Recipe, SplitConfigs
from mmilmil.config_writing.student_configs import StudentConfigs
from mmilmil.config_writing.teachers import read_teacher
from mmilmil.data_tools.anchor_choice import choose, fit_lines
from mmilmil.data_tools.anchor_fit import anchors_of
from mmilmil.data_tools.drawing import Draw
from mmilmil.data_tools.finding import find_data, find_test
from mmilmil.data_tools.formats import UNDERSTOOD
from mmilmil.data_tools.own_data import OwnData, check_categories, check_trained, chosen_classes
from mmilmil.data_tools.training_scale import TrainingScale, train_boxes
from mmilmil.engine.cli import check_folder, in_package, own_tools, tool_command, user_errors
from mmilmil.errors import InputError
from mmilmil.loaders import innermost_dataset
from mmilmil.text_files import write_all

TOOLS = own_tools(__file__)
CONFIGS = TOOLS.parent / 'configs'
# The next install would delete what is written into the package.
OUT = Path('configs') if in_package(TOOLS) else CONFIGS
SCHEDULES = {'frcnn_r50_fpn': SGD_VOC, 'frcnn_r18_fpn_small': ADAMW_SMALL}
DATA_OPTIONS = ('val_ann', 'test_ann', 'images', 'val_images', 'test_images', 'annotations', 'converted')
DRAW_OPTIONS = ('shares', 'seed')
# What is of a detector of one's own, and what is of splits that begin with a first stage.
TEACHER_OPTIONS = ('new', 'distinct', 'teacher_classes', 'old_val', 'old_test', 'old_val_images', 'old_test_images')
SPLIT_OPTIONS = ('dataset', 'split', 'classes', 'model')
OWN_BASES = {'frcnn_r50_fpn': 'voc07', 'frcnn_r18_fpn_small': 'voc_style_small'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write the configs of a split')
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument('--dataset', choices=RECIPES, help='a data set whose settings come with the project')
    data.add_argument('--ann', metavar='PATH', type=os.path.expanduser,
                      help=f"one's own data: {UNDERSTOOD}")
    parser.add_argument('--split', help='sizes of the groups, oldest first, such as 15+5, 10+5+5 or 15+1x5')
    parser.add_argument('--classes', nargs='+', default=[], metavar='NAME',
                        help="class names in label order, or a file with one a line; default: all, in the data's order")
    parser.add_argument('--name', help='what file names call the data; default: the name of its folder')
    parser.add_argument('--val-ann', metavar='FILE', type=os.path.expanduser, help='COCO file to choose settings with')
    parser.add_argument('--test-ann', metavar='FILE', type=os.path.expanduser, help='COCO file to report on')
    parser.add_argument('--images', metavar='FOLDER', type=os.path.expanduser,
                        help='folder of the images; by default looked for near the COCO file; in VOC layout below the folder, '
                        'default JPEGImages')
    for split in ('val', 'test'):
        parser.add_argument(f'--{split}-images', metavar='FOLDER', type=os.path.expanduser,
                            help=f'folder of the images of the COCO file for {split}, where it is another')
    parser.add_argument('--annotations', metavar='FOLDER', type=os.path.expanduser,
                        help='in VOC layout the folder of XML files, default Annotations')
    parser.add_argument('--shares', nargs=3, type=float, metavar=('TRAIN', 'VAL', 'TEST'),
                        help='draw the splits that lack, with these shares of the images, as split_dataset.py does')
    parser.add_argument('--seed', type=int, help='of the draw; alone it draws with shares of 0.7 0.1 0.2')
    parser.add_argument('--converted', metavar='FOLDER', type=os.path.expanduser,
                        help='where to write the COCO files that YOLO and CVAT annotations are converted to; default coco in '
                        'their folder')
    parser.add_argument('--model', choices=SCHEDULES, help="detector; default frcnn_r50_fpn, or the shipped data set's")
    parser.add_argument('--epochs', nargs='+', type=int, metavar='N',
                        help='epochs: for frcnn_r18_fpn_small three numbers, of a first stage, a later one and joint training; '
                        'with --teacher one, of its student, by default 12 to 36 by the number of images')
    parser.add_argument('--out', default=str(OUT), metavar='FOLDER', type=os.path.expanduser,
                        help='folder of configs; default that of the checkout, or configs where this runs from the package')
    parser.add_argument('--force', action='store_true', help='replace files of the same name that say something else')
    teacher = parser.add_argument_group("a detector of one's own, which --ann teaches new classes")
    teacher.add_argument('--teacher', nargs=2, metavar=('CONFIG', 'CHECKPOINT'),
                         help='its config, a file or such as mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py, and its weights, a '
                         'file or URL')
    teacher.add_argument('--new', nargs='+', default=[], metavar='NAME',
                         help='the classes to learn, in label order; default: all in the data that the teacher does not know')
    teacher.add_argument('--distinct', nargs='+', default=[], metavar='NAME',
                         help="new classes that are others than the teacher's in spite of nearly the same name")
    teacher.add_argument('--teacher-classes', nargs='+', default=[], metavar='NAME',
                         help="the teacher's classes in label order, or the name of a set of MMDetection's such as coco, where "
                         'the checkpoint does not name them')
    for split in ROLES:
        teacher.add_argument(f'--old-{split}', metavar='DATA', type=os.path.expanduser,
                             help=f'what the old classes are measured on in {split}, in a layout of --ann')
        teacher.add_argument(f'--old-{split}-images', metavar='FOLDER', type=os.path.expanduser, help='folder of its images')
    args = parser.parse_args()
    if args.teacher is None and args.split is None:
        parser.error('give --split, the sizes of the groups, or --teacher, a detector that knows the old classes')
    return args


def own_data(args: argparse.Namespace) -> OwnData:
    """One's own annotations, in whatever layout."""
    options = {option: getattr(args, option) for option in DATA_OPTIONS}
    draw = None
    if args.shares or args.seed is not None:
        draw = Draw(args.shares or Draw.shares, args.seed or Draw.seed)
    return find_data(args.ann, draw=draw, split_command=partial(tool_command, TOOLS, 'split_dataset.py'), **options)


def name_of(data: OwnData) -> str:
    """What files call data without a name: its folder's."""
    return re.sub(r'\W+', '_', data.root.resolve().name).strip('_').lower()


def own_recipe(args: argparse.Namespace) -> tuple[Recipe, tuple[str, ...], dict[Path, str], OwnData]:
    """Recipe, classes, files in ``_base_`` (the data's, and the detector's where its boxes need another form) and the data."""
    data = own_data(args)
    name = args.name or name_of(data)
    classes = chosen_classes(args.classes, data.found, args.ann)
    check_trained(data, classes)
    check_categories(data, classes)
    model = args.model or 'frcnn_r50_fpn'
    base = shipped_base(args.out, 'datasets', OWN_BASES[model])
    recipe, path = Recipe(name, name, name, model, SCHEDULES[model]), BASES / 'datasets' / f'{name}.py'
    if model != SMALL:
        return recipe, classes, {path: dataset_config(data, name, classes, base)}, data
    anchors = anchors_of(Config.fromfile(CONFIGS / BASES / 'models' / f'{SMALL}.py').model)
    choice = choose(train_boxes(training_set(data), classes), anchors)
    why_side, why_scales = choice.why_side, choice.why_scales(anchors.needed)
    files = {path: dataset_config(data, name, classes, base, choice.side if why_side else None, why_side or '')}
    if why_scales:
        files[BASES / 'models' / f'{SMALL}_{name}.py'] = small_detector_config(
            name, choice.scales, why_scales, shipped_base(args.out, 'models', SMALL))
    return recipe, classes, files, replace(data, told=(*data.told, *filter(None, (why_side, why_scales))))


def training_set(data: OwnData) -> dict:
    """The settings of the data's training set."""
    return dict(type=data.kind, data_root=str(data.root), **data.settings['train'])


def tell_anchors(config: Path, data: OwnData, classes: Sequence[str]) -> None:
    """Tell which boxes of the classes no anchor of a stage can match, and what would."""
    cfg = Config.fromfile(config)
    anchors, scale = anchors_of(cfg.model), TrainingScale.of(innermost_dataset(cfg.train_dataloader.dataset).pipeline)
    if not isinstance(anchors, str) and scale is not None:
        for line in fit_lines(train_boxes(training_set(data), classes), anchors, scale):
            print(line)


def shipped_recipe(args: argparse.Namespace) -> tuple[Recipe, tuple[str, ...], dict[Path, str], None]:
    """Recipe and classes of a shipped data set, and a config of its own in ``_base_`` where the classes are others."""
    recipe = RECIPES[args.dataset]
    known = tuple(Config.fromfile(CONFIGS / BASES / 'datasets' / f'{recipe.dataset}.py').all_classes)
    classes = chosen_classes(args.classes, known, args.dataset)
    if args.model:
        recipe = replace(recipe, model=args.model, schedules=SCHEDULES[args.model])
    if classes == known and not args.name:
        return recipe, classes, {}, None
    if not args.name:
        raise InputError(f'--classes are not those of {args.dataset} in its own order: give the split a --name of its own')
    text = reordered_config(recipe.dataset, classes, shipped_base(args.out, 'datasets', recipe.dataset))
    files = {BASES / 'datasets' / f'{args.name}.py': text}
    return replace(recipe, title=args.name, prefix=args.name, dataset=args.name), classes, files, None


def shipped(out: str, folder: Path) -> str:
    """The project's folder of configs as seen from a folder below ``out``."""
    own = CONFIGS.resolve()
    # Behind a link `..` is one folder to the system and another to MMEngine, which goes by the text of a path.
    linked = Path(out).resolve() != Path(os.path.abspath(out))
    return own.as_posix() if linked else Path(os.path.relpath(own, Path(os.path.abspath(out)) / folder)).as_posix()


def shipped_base(out: str, kind: str, name: str) -> str:
    """A shipped file in ``_base_/datasets`` or ``_base_/models`` as seen from the same folder below ``out``."""
    folder = BASES / kind
    path = f'{shipped(out, folder)}/{folder.as_posix()}/{name}.py'
    same = f'../../{folder.as_posix()}/'  # the project's own folder of configs
    return f'./{path.removeprefix(same)}' if path.startswith(same) else path


def check_name(name: str) -> None:
    """A name can stand in file names and variables, and is not that of the project's own data."""
    if not re.fullmatch(r'[^\W\d_]\w*', name):
        raise InputError(f'the name {name!r} cannot be part of a file name and a variable: give a --name of letters, digits '
                         'and _ that begins with a letter, such as my_data')
    own = {word for recipe in RECIPES.values() for word in (recipe.prefix, recipe.dataset)}
    if name.lower() in own | {base for base in OWN_BASES.values()}:
        raise InputError(f'the name {name!r} is that of a data set which comes with the project, whose files and '
                         f'MMILMIL_{name.upper()}_ROOT would be mistaken for it: give another --name, such as my_{name}')


def check_epochs(epochs: list[int], recipe: Recipe) -> None:
    if recipe.schedules.epochs is None:
        raise InputError(f'--epochs: the schedules of {recipe.model} have their own; change train_cfg and param_scheduler in '
                         'the written configs')
    if len(epochs) != 3 or min(epochs) < 1:
        raise InputError(f'--epochs {" ".join(map(str, epochs))}: give three numbers of 1 or more, the epochs of a first '
                         'stage, a later one and joint training')


def write(files: dict[Path, str], out: Path, force: bool, check: Callable[[], None]) -> None:
    """Write what is new, or nothing at all; refuse to replace what a person may have changed."""
    old = {path: (out / path).read_text(encoding='utf-8', errors='replace') for path in files if os.path.isfile(out / path)}
    others = [str(out / path) for path, text in old.items() if text != files[path]]
    if others and not force:
        raise InputError(f'{", ".join(others)} {"is" if len(others) == 1 else "are"} there already and would change: '
                         'give --force to replace them, or another --name or --out')
    write_all({out / path: text for path, text in files.items() if old.get(path) != text}, check)
    for path, text in files.items():
        print(f'{"as it is" if old.get(path) == text else "written"}: {out / path}')


def check_configs(paths: Iterable[Path], classes: tuple[str, ...], root: Path | None, variable: str) -> None:
    """The written configs can be loaded and say what was meant; MMEngine puts folders and variables into their text."""
    for path in paths:
        try:
            cfg = Config.fromfile(path)
        except Exception as error:  # whatever a text that is run as Python raises
            raise InputError(f'MMEngine cannot load {path} as it would be written ({type(error).__name__}: {error}), so '
                             'nothing is written: give --out a folder without quotes and braces in its path, and classes names '
                             'without braces') from None
        moved = root is not None and variable not in os.environ and cfg.data_root != str(root)
        if moved or tuple(cfg.all_classes) != classes:
            raise InputError(f'MMEngine would read other class names or another folder from {path} than were given, so nothing '
                             'is written: give names without {{, }} and $')


def forbid(args: argparse.Namespace, options: Iterable[str], why: str) -> None:
    """Stop where one of the options is given."""
    for option in options:
        if getattr(args, option) not in (None, '', []):
            raise InputError(f'--{option.replace("_", "-")} {why}')


def write_split(args: argparse.Namespace, out: Path) -> None:
    """The stages of a split, the first one included."""
    forbid(args, TEACHER_OPTIONS, "is for a detector of one's own: name it by --teacher CONFIG CHECKPOINT")
    if args.dataset:
        forbid(args, (*DATA_OPTIONS, *DRAW_OPTIONS), f"is for data of one's own (--ann); {args.dataset} has its own")
    recipe, classes, bases, data = shipped_recipe(args) if args.dataset else own_recipe(args)
    if bases:
        check_name(recipe.prefix)
    if args.epochs:
        check_epochs(args.epochs, recipe)
        recipe = replace(recipe, schedules=replace(recipe.schedules, epochs=tuple(args.epochs)))
    models = [path.stem for path in bases if path.parent.name == 'models']
    split = SplitConfigs(recipe, args.split, classes, shipped(args.out, Path('ilmil')), own_dataset=bool(bases),
                         own_model=models[0] if models else None)
    files = {**bases, **split.files()}
    variable = f'MMILMIL_{recipe.prefix.upper()}_ROOT'
    with_classes = [out / path for path in files if path.parent.name != 'models']
    write(files, out, args.force, lambda: check_configs(with_classes, classes, data and data.root, variable))
    print(f'\n{len(classes)} classes in label order: {", ".join(classes)}')
    if data:
        print('', *data.notes(classes), sep='\n')
        tell_anchors(out / split.last, data, classes)
        tell_variable(variable, bases[BASES / 'datasets' / f'{recipe.dataset}.py'], data)
    print('\nTrain the stages, with fine-tuning and joint training beside them:\n'
          f'  {tool_command(TOOLS, "train_chain.py", out / split.last)} --methods finetune joint')


def classes_of(names: list[str]) -> str | tuple[str, ...] | None:
    """What ``--teacher-classes`` says: names, the name of a set, or nothing."""
    return names[0] if len(names) == 1 and is_data_set(names[0]) else tuple(names) or None


def write_student(args: argparse.Namespace, out: Path) -> None:
    """The stage in which the student of a detector of one's own learns new classes."""
    forbid(args, SPLIT_OPTIONS, "is for splits that begin with a first stage; with --teacher the classes are the teacher's and "
           "those of --new, and the model is the teacher's: leave it out")
    for split in ROLES:
        if getattr(args, f'old_{split}_images') and not getattr(args, f'old_{split}'):
            raise InputError(f'--old-{split}-images names the images of --old-{split}: give that too')
    epochs = args.epochs and args.epochs[0]
    if args.epochs and (len(args.epochs) != 1 or epochs < 1):
        raise InputError(f'--epochs {" ".join(map(str, args.epochs))}: with --teacher give one number of 1 or more, the epochs '
                         'of the student')
    data = own_data(args)
    name = args.name or name_of(data)
    check_name(name)
    old = {split: find_test(path, getattr(args, f'old_{split}_images'), f'--old-{split}')
           for split in ROLES if (path := getattr(args, f'old_{split}'))}
    teacher = read_teacher(*args.teacher, classes_of(args.teacher_classes))
    new = chosen_new(teacher, data, args.new, args.distinct)
    check_categories(data, new)
    measured = new_data(teacher, data, new, name, old)
    configs = StudentConfigs(teacher, measured, new, shipped(args.out, Path('ilmil')), epochs)
    files = configs.files()
    variable, dataset = f'MMILMIL_{name.upper()}_ROOT', files[configs.dataset_file]
    with_classes = [out / path for path in (configs.dataset_file, configs.tested, configs.stage)]

    before = Config.fromfile(config_file(teacher.config)).to_dict()

    def check() -> None:
        if Config.fromfile(config_file(teacher.config)).to_dict() != before:
            raise InputError(f'{args.teacher[0]} is made of files that would be replaced, such as '
                             f'{out / configs.dataset_file}, so nothing is written: give the data another --name than {name}')
        check_configs(with_classes, configs.classes, data.root, variable)
        found = Config.fromfile(out / configs.stage).model.teacher.checkpoint
        if found != teacher.checkpoint:
            raise InputError(f'MMEngine would read the checkpoint {teacher.checkpoint} as {found}, so nothing is written: give '
                             'a path without {{, }} and $')

    write(files, out, args.force, check)
    print('', *told(teacher, data, new, measured, old), sep='\n')
    tell_anchors(out / configs.stage, data, new)
    tell_variable(variable, dataset, data)
    print(configs.told)
    print(f'\nTrain the student, with plain fine-tuning beside it, and test both and the teacher:\n'
          f'  {tool_command(TOOLS, "train_chain.py", out / configs.stage)} --methods finetune')


def tell_variable(variable: str, dataset: str, data: OwnData) -> None:
    """Say so where the environment moves the data."""
    if variable in os.environ and variable in dataset:
        print(f'{variable} is set to {os.environ[variable]}, which the configs take instead of {data.root}')


def main() -> None:
    args = parse_args()
    out = check_folder(args.out, '--out')
    if out.resolve().is_relative_to(Path.cwd()):
        out = out.resolve().relative_to(Path.cwd())
    (write_student if args.teacher else write_split)(args, out)


if __name__ == '__main__':
    with user_errors():
        main()
