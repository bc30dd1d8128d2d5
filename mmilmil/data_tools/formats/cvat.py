"""CVAT's own XML, "CVAT for images 1.1": one file with all images, as CVAT and FiftyOne write it."""

import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from globox import BoundingBox

from ...datasets.reading import class_name, number, read_bytes
from ...errors import InputError
from ..convert import Labelled, Table, converted
from ..image_search import ImagesBelow
from ..layouts import SPLIT_OF, CocoFiles, Given

NAME = 'CVAT for images (annotations.xml)'
_FILES = ('annotations.xml', 'labels.xml')
_ROOT = re.compile(rb'<annotations[\s>]')


def fits(path: Path) -> bool:
    """Whether it is such a file, or a folder with one."""
    if path.is_dir():
        return any(fits(path / name) for name in _FILES if (path / name).is_file())
    if path.suffix.lower() != '.xml':
        return False
    with path.open('rb') as file:
        return bool(_ROOT.search(file.read(2000)))


def found(path: Path, given: Given) -> CocoFiles:
    """Convert the file.

    Its images lie anywhere below its folder or below the one that ``--images`` names. The splits are those that the images say
    (``subset``); without any, all images are one split.

    Raises:
        InputError: the file or a value cannot be read, or an image is not there.
    """
    file = path if path.is_file() else next(path / name for name in _FILES if (path / name).is_file())
    return converted(read(file, Path(given.images) if given.images else file.parent), given)


def read(file: Path, images: Path) -> Table:
    """What the file holds; see :func:`found`."""
    root = _root(file)
    search = ImagesBelow(images)
    shapes = _Shapes(file)
    splits: dict[str | None, list[Labelled]] = {}
    lost = []
    for node in root.iter('image'):
        name = node.get('name')
        where = f'{file}, image {name!r}'
        if not name:
            raise InputError(f'{file}: an <image> has no name; give it the path of the image')
        subset = node.get('subset') or ''
        path = search.find(f'{subset}/{name}' if subset else name, file)
        size = tuple(shapes.value(node, side, where) for side in ('width', 'height'))
        if min(size) <= 0 or any(side != int(side) for side in size):
            raise InputError(f'{where}: {size[0]}x{size[1]} is no size in pixels; correct width and height')
        if path is None:
            lost.append(name)
            continue
        labelled = Labelled(images / path, tuple(map(int, size)))
        for shape in node:
            shapes.add(shape, where, labelled)
        splits.setdefault(SPLIT_OF.get(subset.lower()), []).append(labelled)
    if lost:
        raise InputError(f'{images} lacks {len(lost)} of the images that {file} names, the first is {lost[0]!r}: export it '
                         'with its images, or name their folder by --images')
    if not splits:
        raise InputError(f'{file} has no <image>: give a file of the format "CVAT for images 1.1"')
    whole = None in splits or 'train' not in splits
    if whole:
        splits = {'train': [image for part in splits.values() for image in part]}
    return Table(file, file.parent, _names(root, splits, file), splits, shapes.told(), whole=file.stem if whole else None)


def _root(file: Path) -> ET.Element:
    data = read_bytes(str(file), None, f'no file {file}')
    if b'<!ENTITY' in data:
        raise InputError(f'{file} declares entities (<!ENTITY ...>), which are not read: write out what they stand for')
    try:
        root = ET.fromstring(data)
    except ET.ParseError as error:
        raise InputError(f'{file} is not valid XML: {error}; export it again') from None
    if root.tag != 'annotations':
        raise InputError(f'{file} is no file of CVAT: its root is <{root.tag}>, not <annotations>')
    if root.find('track') is not None:
        raise InputError(f'{file} is of the format "CVAT for video" (<track>): export "CVAT for images 1.1"')
    return root


def _names(root: ET.Element, splits: dict[str, list[Labelled]], file: Path) -> list[str]:
    """The labels that the file declares, in their order, and those that only boxes have."""
    meta = root.find('meta')
    told = [label.findtext('name') or '' for label in (meta.iter('label') if meta is not None else ())]
    try:
        declared = [class_name(name) for name in told]
    except InputError as error:
        raise InputError(f'{file}, <label>: {error}') from None
    used = {box.label for images in splits.values() for image in images for box in image.boxes}
    return list(dict.fromkeys((*declared, *sorted(used))))


class _Shapes:
    """Reads what is drawn on an image, and counts what is no box."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._others: Counter[str] = Counter()
        self._around: Counter[str] = Counter()

    def told(self) -> list[str]:
        """Lines to tell."""
        lines = [f'{self.file}: the box around is taken of {count} <{kind}>' for kind, count in self._around.items()]
        return [*lines, *(f'{self.file}: left out, as it is no object with a box: {count} <{kind}>'
                          for kind, count in self._others.items())]

    def add(self, shape: ET.Element, where: str, image: Labelled) -> None:
        """Add a shape to its image."""
        where = f'{where}, <{shape.tag}>'
        if shape.tag == 'box':
            corners, more = self._box(shape, where), {}
        elif shape.tag == 'polygon':
            points = self._points(shape, where)
            corners, more = _around(points), dict(segmentation=[[value for point in points for value in point]])
        elif shape.tag == 'mask':
            left, top, width, height = (self.value(shape, key, where) for key in ('left', 'top', 'width', 'height'))
            corners, more = (left, top, left + width, top + height), {}
        elif shape.tag == 'ellipse':
            x, y, rx, ry = (self.value(shape, key, where) for key in ('cx', 'cy', 'rx', 'ry'))
            corners, more = (x - rx, y - ry, x + rx, y + ry), {}
        else:
            self._others[shape.tag] += 1
            return
        if shape.tag != 'box':
            self._around[shape.tag] += 1
        try:
            label = class_name(shape.get('label'))
        except InputError as error:
            raise InputError(f'{where}: {error}') from None
        if corners[2] < corners[0] or corners[3] < corners[1]:
            raise InputError(f'{where}: {corners} has its corners swapped; correct it')
        image.add(BoundingBox(label=label, xmin=corners[0], ymin=corners[1], xmax=corners[2], ymax=corners[3]), **more)

    def value(self, node: ET.Element, key: str, where: str) -> float:
        """A number from an attribute."""
        text = node.get(key)
        value = number(text)
        if value is None:
            raise InputError(f'{where}: {key} is {text!r}, not a number; correct it')
        return value

    def _box(self, shape: ET.Element, where: str) -> tuple[float, ...]:
        corners = tuple(self.value(shape, key, where) for key in ('xtl', 'ytl', 'xbr', 'ybr'))
        turn = math.radians(self.value(shape, 'rotation', where)) if shape.get('rotation') else 0.
        if not turn:
            return corners
        self._around['box rotation="..."'] += 1
        x, y = (corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2
        width, height = (corners[2] - corners[0]) / 2, (corners[3] - corners[1]) / 2
        across = abs(width * math.cos(turn)) + abs(height * math.sin(turn))
        down = abs(width * math.sin(turn)) + abs(height * math.cos(turn))
        return x - across, y - down, x + across, y + down

    def _points(self, shape: ET.Element, where: str) -> list[tuple[float, float]]:
        text = shape.get('points') or ''
        points = [tuple(map(number, point.split(','))) for point in text.split(';')]
        if len(points) < 3 or any(len(point) != 2 or None in point for point in points):
            raise InputError(f'{where}: points are {text[:60]!r}, not three or more "x,y" with ; between; correct them')
        return points


def _around(points: list[tuple[float, float]]) -> tuple[float, ...]:
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs), max(ys)
