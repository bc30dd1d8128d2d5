"""Write the configs of a split: `python tools/new_split.py --dataset voc07 --split 10+5+5`.

Also for one's own data: `--ann FOLDER` with VOC-style annotations, or `--ann train.json --val-ann val.json --test-ann test.json
--images FOLDER` in COCO's format. Writes the stages, fine-tuning and joint training, and tells how to train them.
"""

import argparse
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from mmilmil.engine.cli import in_package, own_tools, user_errors
from mmilmil.engine.own_data import chosen_classes, coco_data, dataset_config, reordered_config, voc_data
from mmilmil.engine.split_configs import ADAMW_SMALL, BASES, RECIPES, SGD_VOC, Recipe, SplitConfigs
from mmilmil.errors import InputError
from mmilmil.stage import parse_split

TOOLS = own_tools(__file__)
CONFIGS = TOOLS.parent / 'configs'
# The next install would delete what is written into the package.
OUT = Path('configs') if in_package(TOOLS) else CONFIGS
SCHEDULES = {'frcnn_r50_fpn': SGD_VOC, 'frcnn_r18_fpn_small': ADAMW_SMALL}
OWN_BASES = {'frcnn_r50_fpn': 'voc07', 'frcnn_r18_fpn_small': 'voc_style_small'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write the configs of a split')
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument('--dataset', choices=RECIPES, help='a data set whose settings come with the project')
    data.add_argument('--ann', metavar='PATH', help="one's own data: a folder in VOC layout, or a COCO file for training")
    parser.add_argument('--split', required=True, help='sizes of the groups, oldest first, such as 15+5, 10+5+5 or 15+1x5')
    parser.add_argument('--classes', nargs='+', default=[], metavar='NAME',
                        help="class names in label order, or a file with one a line; default: all, in the data's order")
    parser.add_argument('--name', help='what file names call the data; default: the name of its folder')
    parser.add_argument('--val-ann', metavar='FILE', help='COCO file to choose settings with')
    parser.add_argument('--test-ann', metavar='FILE', help='COCO file to report on')
    parser.add_argument('--images', metavar='FOLDER',
                        help='folder of the images; in VOC layout below the folder, default JPEGImages')
    parser.add_argument('--annotations', default='Annotations', metavar='FOLDER',
                        help='in VOC layout the folder of XML files, default Annotations')
    parser.add_argument('--model', choices=SCHEDULES, help="detector; default frcnn_r50_fpn, or the shipped data set's")
    parser.add_argument('--epochs', nargs=3, type=int, metavar=('FIRST', 'LATER', 'JOINT'),
                        help='epochs of a first stage, a later one and joint training, for frcnn_r18_fpn_small')
    parser.add_argument('--out', default=str(OUT), metavar='FOLDER',
                        help='folder of configs; default that of the checkout, or configs where this runs from the package')
    parser.add_argument('--force', action='store_true', help='replace files of the same name that say something else')
    return parser.parse_args()


def own_recipe(args: argparse.Namespace) -> tuple[Recipe, tuple[str, ...], str, list[str]]:
    """Recipe, classes, the data set's config, and the classes without an annotation to train on, for one's own annotations."""
    path = Path(args.ann)
    if path.is_dir():
        data = voc_data(path, args.images or 'JPEGImages', args.annotations)
    elif path.is_file():
        if not args.images:
            raise InputError(f'the folder of the images that {path} names is not known: give --images')
        data = coco_data(dict(train=args.ann, val=args.val_ann, test=args.test_ann), args.images)
    else:
        raise InputError(f'--ann {path} does not exist: give a folder in VOC layout or a COCO file')
    name = args.name or re.sub(r'\W+', '_', data.root.resolve().name).lower()
    classes = chosen_classes(args.classes, data.found, args.ann, old=sum(parse_split(args.split)[:-1]))
    model = args.model or 'frcnn_r50_fpn'
    base = dataset_base(args.out, OWN_BASES[model])
    recipe = Recipe(name, name, name, model, SCHEDULES[model])
    return recipe, classes, dataset_config(data, name, classes, base), [name for name in classes if name not in data.trained]


def shipped_recipe(args: argparse.Namespace) -> tuple[Recipe, tuple[str, ...], str | None, list[str]]:
    """Recipe and classes of a shipped data set, and a config of its own where the classes are others."""
    recipe = RECIPES[args.dataset]
    known = tuple(Config.fromfile(CONFIGS / BASES / 'datasets' / f'{recipe.dataset}.py').all_classes)
    classes = chosen_classes(args.classes, known, args.dataset)
    if args.model:
        recipe = replace(recipe, model=args.model, schedules=SCHEDULES[args.model])
    if classes == known and not args.name:
        return recipe, classes, None, []
    if not args.name:
        raise InputError(f'--classes are not those of {args.dataset} in its own order: give the split a --name of its own')
    text = reordered_config(recipe.dataset, classes, dataset_base(args.out, recipe.dataset))
    return replace(recipe, title=args.name, prefix=args.name, dataset=args.name), classes, text, []


def shipped(out: str, folder: Path) -> str:
    """The project's folder of configs as seen from a folder below ``out``."""
    return Path(os.path.relpath(CONFIGS, Path(out) / folder)).as_posix()


def dataset_base(out: str, name: str) -> str:
    """A shipped file in ``_base_/datasets`` as seen from the same folder below ``out``."""
    folder = BASES / 'datasets'
    path = Path(os.path.relpath(CONFIGS / folder / f'{name}.py', Path(out) / folder)).as_posix()
    return path if path.startswith('.') else f'./{path}'


def write(files: dict[Path, str], out: Path, force: bool) -> None:
    """Write what is new; refuse to replace what a person may have changed."""
    others = [out / path for path, text in files.items() if (out / path).is_file() and (out / path).read_text() != text]
    if others and not force:
        raise InputError(f'{", ".join(map(str, others))} {"is" if len(others) == 1 else "are"} there already and would change: '
                         'give --force to replace them, or another --name or --out')
    for path, text in files.items():
        target = out / path
        new = not target.is_file() or target.read_text() != text
        if new:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding='utf-8')
        print(f'{"written" if new else "as it is"}: {target}')


def main() -> None:
    args = parse_args()
    if args.dataset and (args.val_ann or args.test_ann or args.images):
        raise InputError(f"--val-ann, --test-ann and --images are for data of one's own (--ann); {args.dataset} has its own")
    recipe, classes, dataset, untrained = shipped_recipe(args) if args.dataset else own_recipe(args)
    if not re.fullmatch(r'[A-Za-z]\w*', recipe.prefix):
        raise InputError(f'the name {recipe.prefix!r} cannot be part of a file name and a variable: give a --name of letters, '
                         'digits and _, such as my_data')
    if args.epochs:
        if recipe.schedules.epochs is None:
            raise InputError(f'--epochs: the schedules of {recipe.model} have their own; change train_cfg and param_scheduler '
                             'in the written configs')
        recipe = replace(recipe, schedules=replace(recipe.schedules, epochs=tuple(args.epochs)))
    out = Path(args.out)
    if out.resolve().is_relative_to(Path.cwd()):
        out = out.resolve().relative_to(Path.cwd())
    split = SplitConfigs(recipe, args.split, classes, shipped(args.out, Path('ilmil')), own_dataset=dataset is not None)
    files = split.files()
    if dataset is not None:
        files = {BASES / 'datasets' / f'{recipe.dataset}.py': dataset, **files}
    write(files, out, args.force)
    print(f'\n{len(classes)} classes in label order: {", ".join(classes)}\n')
    last, finetune, joint = (shlex.quote(str(out / path)) for path in (split.last, split.last_finetune, split.joint))
    chain = TOOLS / 'train_chain.py'
    if chain.is_relative_to(Path.cwd()):
        chain = chain.relative_to(Path.cwd())
    command = f'  python {shlex.quote(str(chain))} {last} \\\n      --beside {finetune}'
    if untrained:
        print(f'{args.ann} has no training annotation of {", ".join(untrained)}: neither the stage that learns them nor joint '
              "training can be trained on it. Name the detector that knows them as the next stage's teacher "
              f'(docs/own_data.md), then:\n{command}')
    else:
        print(f'Train the stages, with fine-tuning and joint training beside them:\n{command} \\\n      --joint {joint}')


if __name__ == '__main__':
    with user_errors():
        main()
