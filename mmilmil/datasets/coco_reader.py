"""The one reader of annotations in COCO's JSON format: for datasets, metrics, tools and checks."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import InputError
from .reading import (
    LIKE_SHARES,
    NAME_AS_READ,
    StopAtFirst,
    Tell,
    class_name,
    decode,
    flag,
    has_control,
    identity,
    is_share,
    number,
    plain_path,
    read_bytes,
    shortened,
)

PARTS = ('images', 'annotations', 'categories')
_DEEPEST = 2000  # calls and nested brackets; a COCO file nests five


@dataclass(frozen=True)
class CocoFile:
    """What a COCO file tells, every value that is used read by its rule.

    Args:
        content: The whole file, without the entries that have a mistake. In the entries of ``images``, ``annotations`` and
            ``categories`` ids are integers or texts, coordinates and sizes numbers, ``iscrowd`` and ``ignore`` 0 or 1; all
            else is as in the file.
        names: Class name by category id, in the order of the ids.
        annotations: Entries of ``annotations`` by image id, for every listed image.
        lost: The same for image ids that the file does not list.
    """

    content: dict[str, Any]
    names: dict[int | str, str]
    annotations: dict[int | str, list[dict]]
    lost: dict[int | str, list[dict]]

    @property
    def images(self) -> list[dict]:
        """Entries of ``images``, with ``id``, ``file_name``, ``width`` and ``height``."""
        return self.content['images']


def id_order(value: int | str) -> tuple:
    """Sort key of ids: numbers before texts."""
    return isinstance(value, str), value


def is_ignored(annotation: Mapping) -> bool:
    """Whether an annotation as read is neither to be learnt nor to be found: a crowd, or marked ``ignore``."""
    return bool(annotation.get('iscrowd') or annotation.get('ignore'))


def is_flat(annotation: Mapping) -> bool:
    """Whether MMDetection leaves the box out whatever its image: below a pixel in width or height, or an area of zero."""
    *_, width, height = annotation['bbox']
    return width < 1 or height < 1 or annotation.get('area', width * height) <= 0


def read_coco(path: str, backend_args: dict | None = None, tell: Tell | None = None) -> CocoFile:
    """Read a COCO file.

    Args:
        path: JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        backend_args: As in MMDetection's datasets.
        tell: Where mistakes are told; without it the first one is raised. An entry with a mistake is left out.

    Raises:
        InputError: the file is missing, no COCO file, or has a value that no rule reads.
    """
    path, tell = str(path), tell or StopAtFirst()
    try:
        content = _json(path, backend_args)
    except InputError as error:
        tell.error('file that cannot be read', error)
        content = {part: [] for part in PARTS}
    content = dict(content)
    for part in PARTS:
        if not isinstance(content.get(part), list):
            tell.error('file that is no COCO file', f'{path} has no list {part!r}: it must be a COCO file with '
                       f'{", ".join(PARTS)}')
            content[part] = []
    categories = content['categories'] = _entries(content, 'categories', _category, path, tell)
    _unique(categories, 'id', 'categories', path, 'give each category its own', tell)
    name_of = {category['id']: category['name'] for category in categories}
    images = content['images'] = _entries(content, 'images', _image, path, tell)
    if not images:
        tell.error('no image listed', f'{path} lists no image: an empty file, or not the one you meant as ann_file')
    _unique(images, 'id', 'images', path, 'give each image its own', tell)
    _unique(images, 'file_name', 'images', path, 'list each image once', tell)
    annotations = content['annotations'] = _entries(content, 'annotations', partial(_annotation, name_of=name_of), path, tell)
    _unique(annotations, 'id', 'annotations', path, 'give each annotation its own, or leave ids out', tell)
    _names(categories, annotations, path, tell)

    of_image, lost = {image['id']: [] for image in images}, defaultdict(list)
    for annotation in annotations:
        img_id = annotation['image_id']
        (of_image if img_id in of_image else lost)[img_id].append(annotation)
    return CocoFile(content, {key: name_of[key] for key in sorted(name_of, key=id_order)}, of_image, dict(lost))


def _json(path: str, backend_args: dict | None) -> dict:
    text = decode(read_bytes(path, backend_args, f'no file {path} (ann_file): check data_root and ann_file'), path)
    limit = sys.getrecursionlimit()
    # Where MMRazor is imported it is a million, and brackets nested that deep end the process instead of the reading.
    sys.setrecursionlimit(min(limit, _DEEPEST))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path} is not valid JSON: {error}') from None
    finally:
        sys.setrecursionlimit(limit)
    return content if isinstance(content, dict) else {}


def _entries(content: Mapping, part: str, read: Callable[[dict], tuple[str, str] | None], path: str, tell: Tell) -> list[dict]:
    """The entries of a part that could be read; ``read`` puts their values right in place, and may return a note."""
    sound = []
    for index, entry in enumerate(content[part]):
        try:
            if not isinstance(entry, dict):
                raise InputError(f'{entry!r} is not an object with names and values')
            note = read(entry)
        except InputError as error:
            tell.error(f'entry of {part} that cannot be read', f'{_place(path, part, index, entry)}: {error}')
            continue
        sound.append(entry)
        if note:
            kind, text = note
            tell.note(kind, f'{_place(path, part, index, entry)}: {text}')
    return sound


def _place(path: str, part: str, index: int, entry: object) -> str:
    keys = [f'{key} {entry[key]!r}' for key in ('id', 'image_id') if key in entry] if isinstance(entry, dict) else []
    return f'{path}, {part}[{index}]' + f' ({", ".join(keys)})' * bool(keys)


def _lacking(entry: Mapping, *keys: str) -> None:
    if lacking := [key for key in keys if key not in entry]:
        raise InputError(f'lacks {", ".join(map(repr, lacking))}: {shortened(entry)}')


def _category(entry: dict) -> tuple[str, str] | None:
    _lacking(entry, 'id', 'name')
    entry['id'] = identity(entry['id'], 'id')
    told = entry['name']
    entry['name'] = class_name(told)
    return (NAME_AS_READ, f'{told!r} is read as {entry["name"]!r}') if entry['name'] != told else None


def _image(entry: dict) -> None:
    _lacking(entry, 'id', 'file_name', 'width', 'height')
    entry['id'] = identity(entry['id'], 'id')
    name = entry['file_name']
    if not isinstance(name, str) or not name.strip() or has_control(name):
        raise InputError(f'file_name is {name!r}; give the path of the image below the folder of images')
    entry['file_name'] = plain_path(name)
    for side in ('width', 'height'):
        pixels = number(entry[side])
        if pixels is None or pixels <= 0:
            raise InputError(f'{side} is {entry[side]!r}, not a number of pixels; correct it')
        entry[side] = pixels


def _annotation(entry: dict, name_of: Mapping) -> tuple[str, str] | None:
    _lacking(entry, 'image_id', 'category_id', 'bbox')
    if entry.get('id') is not None:
        entry['id'] = identity(entry['id'], 'id')
    for key in ('image_id', 'category_id'):
        entry[key] = identity(entry[key], key)
    if entry['category_id'] not in name_of:
        raise InputError(f'category_id is {entry["category_id"]!r}, which no category of the file has; add the category, or '
                         'correct the id')
    box = entry['bbox']
    numbers = [number(value) for value in box] if isinstance(box, list) else []
    if len(numbers) != 4 or None in numbers:
        raise InputError(f'bbox is {shortened(box)}, not four numbers [x, y, width, height]; correct it')
    entry['bbox'] = numbers
    if 'area' in entry:
        area = number(entry['area'])
        if area is None:
            raise InputError(f'area is {entry["area"]!r}, not a number: correct it or leave it out')
        entry['area'] = area
    for key in ('iscrowd', 'ignore'):
        if key in entry:
            entry[key] = flag(entry[key], key)
    return (LIKE_SHARES, str(numbers)) if is_share(numbers) else None


def _unique(entries: list[dict], key: str, part: str, path: str, remedy: str, tell: Tell) -> None:
    times = Counter(entry[key] for entry in entries if entry.get(key) is not None)
    for value, count in times.items():
        if count > 1:
            tell.error(f'{key} of {part} more than once', f'{path} lists the {key} {value!r} of {part} {count} times: {remedy}')


def _names(categories: list[dict], annotations: list[dict], path: str, tell: Tell) -> None:
    ids = defaultdict(list)
    for category in categories:
        ids[category['name']].append(category['id'])
    boxes = Counter(annotation['category_id'] for annotation in annotations)
    for name, same in ids.items():
        if len(set(same)) > 1:
            told = ', '.join(f'id {key!r} ({boxes[key]} boxes)' for key in same)
            tell.error('name of categories more than once', f'{path} names {len(same)} categories {name!r}: {told}; give each '
                       'its own name, or all boxes one id and take the other categories out')
