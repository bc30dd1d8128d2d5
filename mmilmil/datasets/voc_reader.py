"""The one reader of image lists and XML files in the layout of PASCAL VOC: for datasets, tools and checks."""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from typing import NamedTuple

from ..errors import InputError
from .reading import (
    LIKE_SHARES,
    NAME_AS_READ,
    StopAtFirst,
    Tell,
    class_name,
    decode,
    decode_as,
    flag,
    has_control,
    is_share,
    number,
    plain_path,
    read_bytes,
    text_lines,
)

_DECLARED = re.compile(rb'\s*<\?xml[^>]*?\sencoding\s*=\s*["\']([^"\'>]*)["\']')
_OF_A_CLASS = re.compile(r'\S+\s+(?:-1|0|1)')


class VocAnnotation(NamedTuple):
    """What one XML file tells.

    Args:
        size: Width and height in pixels; None where the file tells none (absent or 0), so that the image has to.
        objects: Dicts with ``name``, ``bbox`` (``[x1, y1, x2, y2]``, 0-based pixels) and ``ignore_flag`` (1: difficult).
    """

    size: tuple[int, int] | None
    objects: list[dict]


def read_list(path: str, backend_args: dict | None = None, tell: Tell | None = None) -> list[str]:
    """Image names from a file with one a line.

    Args:
        path: Text as :func:`~.reading.decode` takes it. Blanks around a name and empty lines do not count; names are paths
            without extension, ``./`` and the like taken out.
        backend_args: As in MMDetection's datasets.
        tell: Where mistakes are told; without it the first one is raised.

    Returns:
        The names in their order, each once.

    Raises:
        InputError: the file is missing, no text, empty, VOC's list of a single class, or has a name twice.
    """
    tell = tell or StopAtFirst()
    try:
        text = decode(read_bytes(str(path), backend_args, f'no file {path}: check data_root and ann_file; it lists the images '
                                 'of the split, one name a line'), str(path))
        lines = text_lines(text)
        if is_list_of_class(lines) and any(line.endswith('-1') for line in lines):  # else a name may end in a number
            raise InputError(f'{path} is a list of a single class, each name with -1, 0 or 1 behind it ({lines[0]!r}): give '
                             'the list that has names only, such as train.txt')
    except InputError as error:
        tell.error('list that cannot be read', error)
        return []
    names = Counter()
    for line in lines:
        if has_control(line):
            tell.error('list that cannot be read', f'{path} lists {line!r}, which has a control character inside: take it out')
        else:
            names[plain_path(line)] += 1
    if not lines:
        tell.error('no image listed', f'{path} lists no image: an empty file, or not the one you meant as ann_file')
    for name, count in names.items():
        if count > 1:
            tell.error('image listed more than once', f'{path} lists {name!r} {count} times: list each image once (repeat a '
                       'whole set with RepeatDataset)')
    return list(names)


def is_list_of_class(lines: list[str]) -> bool:
    """Whether lines may be those of VOC's lists of single classes, ``aeroplane_train.txt``: each a name and -1, 0 or 1."""
    return bool(lines) and all(map(_OF_A_CLASS.fullmatch, lines))


def read_annotation(path: str, backend_args: dict | None = None, listed: str = '', tell: Tell | None = None) -> VocAnnotation:
    """Size and objects from an XML file.

    Numbers are cut to integers and 1 is taken off every coordinate, as MMDetection's ``XMLDataset`` does. ``difficult`` is
    0 or 1, by default 0.

    Args:
        path: The file. It is read in the encoding that its byte order mark or its XML declaration names, else as UTF-8.
        backend_args: As in MMDetection's datasets.
        listed: The list that names its image, for messages.
        tell: Where mistakes are told; without it the first one is raised. An object with a mistake is left out.

    Raises:
        InputError: the file is missing, no VOC annotation, or has a value that no rule reads.
    """
    tell = tell or StopAtFirst()
    try:
        root = _root(str(path), backend_args, listed)
    except InputError as error:
        tell.error('annotation that cannot be read', error)
        return VocAnnotation(None, [])
    size = None
    try:
        size = _size(root, f'{path}, <size>')
    except InputError as error:
        tell.error('annotation that cannot be read', error)
    objects = []
    for obj in root.iterfind('object'):
        try:
            objects.append(_object(obj, str(path), tell))
        except InputError as error:
            tell.error('object that cannot be read', error)
    return VocAnnotation(size, objects)


def _root(path: str, backend_args: dict | None, listed: str) -> ET.Element:
    out = f'correct the file, or take its image out of {listed}' if listed else 'correct the file'
    text = _text(read_bytes(path, backend_args, f'no annotation {path}, though {listed or "a list"} names its image: add the '
                            'file, or take the line out'), path)
    if '<!ENTITY' in text:
        raise InputError(f'{path} declares entities (<!ENTITY ...>), which are not read: write out what they stand for')
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, UnicodeError) as error:
        raise InputError(f'{path} is not valid XML: {error}; {out}') from None
    proper = root.findall('object')
    # An object that findall overlooks would be lost without a word.
    for element in root.iter():
        tag = element.tag.rpartition('}')[2] if isinstance(element.tag, str) else ''
        if tag.lower() == 'object' and not any(element is one for one in proper):
            raise InputError(f'{path}: <{element.tag}> is not <object> directly below the root: write objects as VOC does, '
                             'without a namespace, not nested and in small letters')
    if root.tag != 'annotation' and not proper:
        raise InputError(f'{path} is no VOC annotation: its root is <{root.tag}> without an <object>, not <annotation>; {out}')
    return root


def _text(data: bytes, path: str) -> str:
    """XML as text; Python knows encodings of several bytes a character, the parser does not."""
    encoding = json.detect_encoding(data)
    declared = _DECLARED.match(data) if encoding == 'utf-8' else None
    if declared is None:
        remedy = 'save it as UTF-8, or declare its encoding: <?xml version="1.0" encoding="..."?>'
        return decode_as(data, encoding, path, remedy)
    name = declared[1].decode('ascii', 'replace')
    remedy = f'its XML declaration names {name!r}; name the encoding that it is in, or save it as UTF-8 and say so there'
    try:
        text = decode_as(data, name, path, remedy)
    except LookupError:  # unknown, or a codec that gives no text
        raise InputError(f'{path} declares the encoding {name!r}, which Python does not know: {remedy}') from None
    if not text.lstrip().startswith('<?xml'):
        raise InputError(f'{path} is not a text file in {name.upper()}: {remedy}')
    return text


def _size(root: ET.Element, where: str) -> tuple[int, int] | None:
    size = _child(root, 'size', where)
    if size is None:
        return None
    width, height = (int(_number(size, tag, where)) for tag in ('width', 'height'))
    if min(width, height) < 0:
        raise InputError(f'{where}: {width}x{height} is negative; correct it, or leave <size> out and the image tells it')
    return (width, height) if width and height else None


def _object(obj: ET.Element, path: str, tell: Tell) -> dict:
    text = _text_of(obj, 'name', path)
    if text is None or not text.strip():
        raise InputError(f'{path}: an <object> has no <name>; give its class')
    try:
        name = class_name(text)
    except InputError as error:
        raise InputError(f'{path}: {error}') from None
    if name != text:
        tell.note(NAME_AS_READ, f'{path}: {text!r} is read as {name!r}')
    where = f'{path}, object {name!r}'
    difficult = _text_of(obj, 'difficult', where)
    ignored = 0 if difficult is None else flag(difficult, f'{where}: <difficult>')
    bndbox = _child(obj, 'bndbox', where)
    if bndbox is None:
        raise InputError(f'{where}: no <bndbox>; give its xmin, ymin, xmax, ymax')
    # Cut to an integer and minus one, as XMLDataset does: otherwise AP would differ from stock MMDetection's.
    corners = [_number(bndbox, tag, f'{where}, <bndbox>') for tag in ('xmin', 'ymin', 'xmax', 'ymax')]
    if is_share(corners):
        tell.note(LIKE_SHARES, f'{where}: {corners}')
    return {'name': name, 'bbox': [int(corner) - 1 for corner in corners], 'ignore_flag': ignored}


def _child(parent: ET.Element, tag: str, where: str) -> ET.Element | None:
    found = parent.findall(tag)
    if len(found) > 1:
        raise InputError(f'{where}: {len(found)} times <{tag}>; leave one')
    return found[0] if found else None


def _text_of(parent: ET.Element, tag: str, where: str) -> str | None:
    child = _child(parent, tag, where)
    return None if child is None else child.text or ''


def _number(parent: ET.Element, tag: str, where: str) -> int | float:
    text = _text_of(parent, tag, where)
    if text is None:
        raise InputError(f'{where}: no <{tag}>; add it')
    value = number(text)
    if value is None:
        raise InputError(f'{where}: <{tag}> is {text!r}, not a number; correct it')
    return value
