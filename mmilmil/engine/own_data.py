"""From a user's own annotations to a file in `_base_/datasets`."""

import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..datasets.stage_filter import close_names
from ..errors import InputError

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class OwnData:
    """Annotations of one's own, found and checked.

    Attributes:
        kind: The dataset's class.
        root: Folder that everything else is relative to.
        settings: Settings of the dataset by split, beside type and root.
        found: The class names, in the order of the training file's category ids, or alphabetical.
        trained: Those with objects in the training annotation.
    """

    kind: str
    root: Path
    settings: dict[str, dict]
    found: tuple[str, ...]
    trained: frozenset[str]


def voc_data(root: Path, images: str = 'JPEGImages', annotations: str = 'Annotations') -> OwnData:
    """A folder in the layout of PASCAL VOC.

    Args:
        root: The folder; holds ``ImageSets/Main/{train,val,test}.txt``.
        images: Its folder of images.
        annotations: Its folder of XML files.

    Raises:
        InputError: a folder, list or annotation is missing or broken.
    """
    for folder in (images, annotations):
        if not (root / folder).is_dir():
            raise InputError(f'{root} has no folder {folder}: name the folders of images and XML files with --images and '
                             '--annotations')
    lists = {split: Path('ImageSets/Main') / f'{split}.txt' for split in SPLITS}
    absent = [str(root / path) for path in lists.values() if not (root / path).is_file()]
    if absent:
        raise InputError(f'no {", ".join(absent)}: a file with one image name a line (without extension) for each split; '
                         f'`python tools/split_dataset.py {root}` draws them at random')
    names = {split: set() for split in SPLITS}
    for split, path in lists.items():
        for image in (root / path).read_text(encoding='utf-8-sig').split('\n'):
            if image.strip():
                names[split].update(_names_in(root / annotations / f'{image.strip()}.xml', path))
    folders = {key: value for key, value, usual in (('img_subdir', images, 'JPEGImages'),
                                                    ('ann_subdir', annotations, 'Annotations')) if value != usual}
    settings = {split: dict(ann_file=str(path), **folders) for split, path in lists.items()}
    found = set().union(*names.values())
    return OwnData('IncrementalVOCDataset', root, settings, tuple(sorted(found)), frozenset(names['train']))


def _names_in(path: Path, listed: Path) -> set[str]:
    try:
        return {name for name in (item.findtext('name') for item in ET.parse(path).iterfind('object')) if name}
    except FileNotFoundError:
        raise InputError(f'no annotation {path}, though {listed} names it') from None
    except ET.ParseError as error:
        raise InputError(f'{path} is not valid XML: {error}') from None


def coco_data(files: dict[str, Optional[str]], images: str) -> OwnData:
    """Annotations in COCO's JSON format.

    Args:
        files: The JSON file by split.
        images: Folder of the images.

    Raises:
        InputError: a file or the folder is missing or broken.
    """
    absent = [split for split in SPLITS if not files.get(split)]
    if absent:
        raise InputError(f'no annotation for {" and ".join(absent)}: settings are chosen on val and reported on test, so give '
                         f'--val-ann and --test-ann; `python tools/split_dataset.py {files["train"]}` makes three files of one')
    for path in (*files.values(), images):
        if not Path(path).exists():
            raise InputError(f'{path} does not exist: name the JSON files with --ann, --val-ann and --test-ann, and the folder '
                             'of images with --images')
    try:
        content = json.loads(Path(files['train']).read_text(encoding='utf-8'))
        name_of = {category['id']: category['name'] for category in content['categories']}
        names = [name_of[number] for number in sorted(name_of)]
        trained = {name_of.get(annotation['category_id']) for annotation in content['annotations']} & set(names)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{files["train"]} is no COCO annotation with lists "categories" and "annotations" '
                         f'({type(error).__name__}: {error})') from None
    if any(map(os.path.isabs, (images, *files.values()))):
        images, files = os.path.abspath(images), {split: os.path.abspath(path) for split, path in files.items()}
    root = os.path.commonpath([images, *(os.path.dirname(path) for path in files.values())])
    prefix = dict(img=os.path.relpath(images, root or '.'))
    settings = {split: dict(ann_file=os.path.relpath(path, root or '.'), data_prefix=prefix) for split, path in files.items()}
    return OwnData('IncrementalCocoDataset', Path(root), settings, tuple(names), frozenset(trained))


def chosen_classes(names: Sequence[str], found: Sequence[str], where: str, old: int = 0) -> tuple[str, ...]:
    """The classes that a user names, or all that were found.

    Args:
        names: The user's, in label order, or the path of a file with one name a line; empty for all.
        found: Those in the data.
        where: The data, for messages.
        old: So many of the first names need not be in the data: a detector of one's own knows them. A name that is nearly one
            in the data is taken for a slip all the same.

    Raises:
        InputError: a name is twice in the list or not in the data.
    """
    if len(names) == 1 and Path(names[0]).is_file():
        names = [line.strip() for line in Path(names[0]).read_text(encoding='utf-8').splitlines() if line.strip()]
    if not names:
        return tuple(found)
    for index, name in enumerate(names):
        if list(names).count(name) > 1:
            raise InputError(f'--classes names {name!r} more than once')
        if name not in found:
            near = close_names(name, set(found) - set(names))
            if index < old and not near:
                continue
            hint = f'did you mean {" or ".join(map(repr, near))}?' if near else f'there are {", ".join(map(repr, found))}'
            raise InputError(f'--classes names {name!r}, which {where} does not have: {hint}')
    return tuple(names)


def dataset_config(data: OwnData, name: str, classes: Sequence[str], base: str) -> str:
    """The file in ``_base_/datasets``.

    Args:
        data: The data.
        name: What it is called, a word; its folder can be set by the environment variable ``MMILMIL_<NAME>_ROOT``.
        classes: All classes in label order.
        base: The file that it inherits pipelines and loaders from, relative to its own folder.
    """
    root = str(data.root)
    if re.fullmatch(r'[\w./-]+', root):  # MMEngine takes a variable's default for a regular expression, without blanks
        root = f'{{{{$MMILMIL_{name.upper()}_ROOT:{root}}}}}'
    lines = [
        f'# {name}: written by tools/new_split.py.',
        f"_base_ = '{base}'",
        f'data_root = {root!r}',
        '# In label order; a stage config takes the first ones.',
        _names_tuple(classes),
        '',
    ]
    for split in SPLITS:
        settings = ', '.join(f'{key}={value!r}' for key, value in data.settings[split].items())
        lines += [f'{split}_dataloader = dict(', '    dataset=dict(',
                  f"        type='{data.kind}', data_root=data_root,", f'        {settings}))']
    if data.kind == 'IncrementalCocoDataset':
        lines += [f"{split}_evaluator = dict(\n    _delete_=True, type='IncrementalCocoMetric', "
                  f"ann_file=f'{{data_root}}/{data.settings[split]['ann_file']}')" for split in ('val', 'test')]
    return '\n'.join(lines) + '\n'


def reordered_config(dataset: str, classes: Sequence[str], base: str) -> str:
    """The file in ``_base_/datasets`` for a shipped set with other classes or another order of them.

    Args:
        dataset: The shipped set's name.
        classes: The classes in label order.
        base: Its file, relative to the new one's folder.
    """
    return '\n'.join([
        f"# {dataset} with classes of one's own choice; written by tools/new_split.py.",
        f"_base_ = '{base}'",
        '# In label order; a stage config takes the first ones.',
        _names_tuple(classes),
    ]) + '\n'


def _names_tuple(classes: Sequence[str]) -> str:
    if len(classes) == 1:
        return f'all_classes = ({classes[0]!r}, )'
    lines, line = [], 'all_classes = ('
    for index, name in enumerate(classes):
        item = f'{name!r}' + (', ' if index < len(classes) - 1 else ')')
        if len(line + item) > 120:
            lines.append(line.rstrip())
            line = ' ' * len('all_classes = (')
        line += item
    return '\n'.join([*lines, line])
