"""The built-in drawn sets: shapes on cluttered backgrounds, written as a VOC-style folder and as COCO files with masks.

The class shows in the outline alone: colour, angle, place and, unless a scenario makes some classes small, size are drawn at
random, whatever the class.
"""

import json
import os
import os.path as osp
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple, Optional

import cv2
import numpy as np

from ..errors import InputError
from .mask_outline import mask_outline
from .shape_scenarios import DEFAULT, SCENARIOS, SPLITS, Planned, Scenario

RECORD = 'shapes.json'
"""File in the folder that tells that it was made here, and with which settings."""
COCO_FOLDER = 'coco'
"""Folder in the folder that holds train.json, val.json and test.json; their images are those of the VOC layout."""
_VERSION = 2  # raise it when the same settings give other files
_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates


@dataclass(frozen=True)
class ShapesSettings:
    """What decides the content of the set.

    Args:
        train: Images of the training split; the first ones are the same for any number.
        val: Images of the validation split.
        test: Images of the test split.
        size: Width and height of an image in pixels.
        seed: Seed of everything drawn.
        scenario: Which classes there are and which of them share an image, a name of :data:`SCENARIOS`.

    Raises:
        InputError: a value out of range, or no such scenario.
    """

    train: int = 400
    val: int = 100
    test: int = 100
    size: int = 160
    seed: int = 0
    scenario: str = DEFAULT

    def __post_init__(self) -> None:
        if self.scenario not in SCENARIOS:
            raise InputError(f'shapes set: scenario = {self.scenario!r}, use one of {", ".join(SCENARIOS)}')
        lowest = {'train': 1, 'val': 1, 'test': 1, 'size': 64, 'seed': 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise InputError(f'shapes set: {name} = {getattr(self, name)}, use at least {low}')

    @classmethod
    def of_scenario(cls, scenario: str, **given: Optional[int]) -> 'ShapesSettings':
        """The settings of a scenario: its own number of images but for what is given and not ``None``."""
        if scenario not in SCENARIOS:
            return cls(scenario=scenario)  # which says what is wrong
        own = dict(zip(SPLITS, SCENARIOS[scenario].images, strict=True))
        return cls(**own | {name: value for name, value in given.items() if value is not None}, scenario=scenario)


class DrawnObject(NamedTuple):
    """An object of a drawn image; box and outline are of the whole of it, also where a later one lies on it.

    Attributes:
        name: Its class.
        box: ``[xmin, ymin, xmax, ymax]`` as VOC has it: first and last pixel, counted from 1.
        outline: The polygon around its pixels, as COCO has it (:func:`mask_outline`).
        area: Number of its pixels.
    """

    name: str
    box: list[int]
    outline: list[int]
    area: int


def write_shapes(out: str, settings: ShapesSettings, force: bool = False,
                 progress: Callable[[int, int], None] = lambda done, total: None) -> bool:
    """Write the set to ``out``, whole or not at all.

    It is drawn into a folder beside ``out`` that takes its name at the end. A folder made here before is replaced, one
    that has the same settings is left as it is.

    Args:
        out: Folder to make.
        settings: What to draw.
        force: Draw again, and replace ``out`` even if it holds something else.
        progress: Called with the images done and their total.

    Returns:
        Whether anything was written.

    Raises:
        InputError: ``out`` is a file, or holds something not made here.
    """
    out = osp.realpath(out)
    if osp.lexists(out) and not osp.isdir(out):
        raise InputError(f'{out} is a file: name another folder for the shapes set')
    record = {'made_by': 'mmilmil', 'version': _VERSION, **asdict(settings)}
    if osp.isdir(out) and os.listdir(out) and not force:
        found = _read_record(osp.join(out, RECORD))
        if found == record:
            return False
        if found.get('made_by') != record['made_by']:
            raise InputError(f'{out} is not empty and was not made by make_shapes_dataset.py: name another folder, or '
                             'give --force to replace all it holds')
    parent = osp.dirname(out)
    os.makedirs(parent, exist_ok=True)
    # Inside `parent`, as a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(prefix=f'.{osp.basename(out)}-', dir=parent) as work:
        drawn = osp.join(work, 'new')
        _write_folder(drawn, settings, progress)
        with open(osp.join(drawn, RECORD), 'w', encoding='utf-8') as file:
            json.dump(record, file, indent=2)
        if not osp.isdir(out):
            os.rename(drawn, out)
            return True
        replaced = osp.join(work, 'replaced')
        os.rename(out, replaced)
        try:
            os.rename(drawn, out)
        except OSError:
            os.rename(replaced, out)  # or it would go with `work`
            raise
    return True


def draw_image(size: int, rng: np.random.Generator, scenario: Scenario,
               index: int) -> tuple[np.ndarray, list[DrawnObject]]:
    """Draw one image.

    Args:
        size: Width and height in pixels.
        rng: The only source of chance.
        scenario: What the image may hold.
        index: Number of the image within its split, by which the scenario chooses the class of the first object.

    Returns:
        The image as ``(size, size, 3)`` uint8, and its objects.
    """
    canvas = _background(size, rng).clip(0, 255).astype(np.uint8)  # OpenCV writes text on uint8 only
    _clutter(canvas, rng)
    image = canvas.astype(np.float64)
    objects, taken = [], np.zeros((size, size), bool)
    for planned in scenario.plan(scenario, index, rng):
        for _ in range(100):
            mask = _shape_mask(planned, size, rng)
            covered = mask > 127  # by half or more
            ys, xs = np.nonzero(covered)
            box = [int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())]
            area = taken[box[1]:box[3] + 1, box[0]:box[2] + 1]
            inside = min(box) >= 1 and max(box) <= size - 2
            if inside and area.mean() <= scenario.overlap:
                break
        else:
            continue  # no room left; the first object always finds some
        taken[box[1]:box[3] + 1, box[0]:box[2] + 1] = True
        _paint(image, mask, rng)
        objects.append(DrawnObject(planned.name, [value + 1 for value in box], mask_outline(covered), int(covered.sum())))
    image += rng.normal(0, rng.uniform(2, 8), image.shape)
    return image.clip(0, 255).astype(np.uint8), objects


def _outline(name: str) -> list[np.ndarray]:
    """Contours of a class, each ``(N, 2)``, within ``[-1, 1]``; a second contour is a hole."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    disc = np.stack([np.sin(turn), -np.cos(turn)], axis=1)
    if name == 'circle':
        return [disc]
    if name == 'ring':
        return [disc, 0.55 * disc]
    if name == 'washer':  # between circle and ring
        return [disc, 0.28 * disc]
    if name == 'squircle':  # between circle and square
        return [0.9 * np.sign(disc) * np.abs(disc)**0.5]
    if name == 'square':
        return [0.85 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])]
    if name == 'triangle':
        return [np.array([[0, -1], [0.95, 0.75], [-0.95, 0.75]])]
    if name == 'cross':
        a = 0.32
        return [np.array([[-a, -1], [a, -1], [a, -a], [1, -a], [1, a], [a, a],
                          [a, 1], [-a, 1], [-a, a], [-1, a], [-1, -a], [-a, -a]])]
    if name == 'star':
        radius = np.where(np.arange(10) % 2, 0.42, 1.0)
        turn = np.arange(10) * np.pi / 5
        return [np.stack([radius * np.sin(turn), -radius * np.cos(turn)], axis=1)]
    raise ValueError(name)


def _shape_mask(planned: Planned, size: int, rng: np.random.Generator) -> np.ndarray:
    """Coverage ``(size, size)`` uint8 of a shape of random size, angle and place; it may stick out of the image."""
    radius = size * rng.uniform(*planned.radii)
    scale = radius * rng.uniform(0.88, 1.12, size=2)
    angle = np.deg2rad(rng.uniform(-18, 18))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = rng.uniform(radius, size - radius, size=2)
    contours = [((points * scale) @ turn + centre) * 2**_FRACTION_BITS for points in _outline(planned.name)]
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [points.round().astype(np.int32) for points in contours], 255, cv2.LINE_AA, _FRACTION_BITS)
    return mask


def _paint(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Lay a shaded colour that stands out from what is under ``mask`` on the image, in place."""
    under = image[mask > 127].mean(axis=0)
    colour = rng.uniform(0, 255, 3)
    while np.abs(colour - under).max() < 70:
        colour = rng.uniform(0, 255, 3)
    weight = mask[..., None] / 255 * rng.uniform(0.85, 1)
    image += weight * (colour + _smooth_noise(mask.shape[0], 3, 18, rng) - image)


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Clouds of colour, half the time with stripes, as ``(size, size, 3)`` float64."""
    image = rng.uniform(40, 215, 3) + _smooth_noise(size, int(rng.integers(3, 9)), 30, rng)
    image += _smooth_noise(size, size // 4, 10, rng)
    if rng.random() < 0.5:
        y, x = np.mgrid[:size, :size] / size
        angle, waves = rng.uniform(0, np.pi), rng.uniform(4, 20)
        stripes = np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)))
        image += stripes[..., None] * rng.uniform(3, 14)
    return image


def _smooth_noise(size: int, cells: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Colour noise ``(size, size, 3)`` that varies over ``cells`` patches a side."""
    return cv2.resize(rng.normal(0, strength, (cells, cells, 3)), (size, size), interpolation=cv2.INTER_CUBIC)


def _clutter(image: np.ndarray, rng: np.random.Generator) -> None:
    """Lines, slim blobs and letters, none of a class, on ``(size, size, 3)`` uint8, in place."""
    size = image.shape[0]
    for _ in range(rng.integers(2, 6)):
        start, end = rng.integers(0, size, (2, 2)).tolist()
        cv2.line(image, start, end, rng.uniform(0, 255, 3).tolist(), int(rng.integers(1, 4)), cv2.LINE_AA)
    for _ in range(rng.integers(1, 5)):
        length = size * rng.uniform(0.06, 0.15)
        axes = [int(length), max(2, int(length * rng.uniform(0.2, 0.4)))]
        cv2.ellipse(image, rng.integers(0, size, 2).tolist(), axes, rng.uniform(0, 180), 0, 360,
                    rng.uniform(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 4)):
        word = ''.join(rng.choice(list('AEFHKLMNRSWZ2457'), size=rng.integers(2, 5)))
        cv2.putText(image, word, rng.integers(0, size, 2).tolist(), cv2.FONT_HERSHEY_SIMPLEX,
                    size * rng.uniform(0.002, 0.004), rng.uniform(0, 255, 3).tolist(), 1, cv2.LINE_AA)


def _write_folder(folder: str, settings: ShapesSettings, progress: Callable[[int, int], None]) -> None:
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main', COCO_FOLDER):
        os.makedirs(osp.join(folder, name))
    counts = {split: getattr(settings, split) for split in SPLITS}
    total, done = sum(counts.values()), 0
    scenario = SCENARIOS[settings.scenario]
    names = {split: [f'{split}_{index:06d}' for index in range(count)] for split, count in counts.items()}
    for number, split in enumerate(SPLITS):
        drawn = {}
        for index, name in enumerate(names[split]):
            # A stream of its own for each image: it does not change with the number of images before it.
            rng = np.random.default_rng([settings.seed, number, index])
            image, objects = draw_image(settings.size, rng, scenario, index)
            file_name = f'{name}.jpg'
            encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            encoded.tofile(osp.join(folder, 'JPEGImages', file_name))
            _write_xml(osp.join(folder, 'Annotations', f'{name}.xml'), file_name, settings.size, objects)
            drawn[file_name] = objects
            done += 1
            progress(done, total)
        with open(osp.join(folder, COCO_FOLDER, f'{split}.json'), 'w', encoding='utf-8') as file:
            json.dump(_coco_content(settings.size, scenario.classes, drawn), file)
    names['trainval'] = names['train'] + names['val']
    for split, members in names.items():
        _write_lines(osp.join(folder, 'ImageSets', 'Main', f'{split}.txt'), members)
    _write_lines(osp.join(folder, 'classes.txt'), scenario.classes)


def _coco_content(size: int, classes: tuple[str, ...], drawn: dict[str, list[DrawnObject]]) -> dict:
    """What a split's COCO file says of its images, by file name."""
    category_of = {name: number for number, name in enumerate(classes, start=1)}
    categories = [dict(id=number, name=name) for name, number in category_of.items()]
    content = {'images': [], 'annotations': [], 'categories': categories}
    for image_id, (file_name, objects) in enumerate(drawn.items(), start=1):
        content['images'].append(dict(id=image_id, file_name=file_name, width=size, height=size))
        for one in objects:
            x1, y1, x2, y2 = one.box
            content['annotations'].append(dict(
                id=len(content['annotations']) + 1, image_id=image_id, category_id=category_of[one.name], iscrowd=0,
                bbox=[x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1], area=one.area, segmentation=[one.outline]))
    return content


def _write_xml(path: str, file_name: str, size: int, objects: list[DrawnObject]) -> None:
    root = ET.Element('annotation')
    ET.SubElement(root, 'filename').text = file_name
    size_node = ET.SubElement(root, 'size')
    for tag, value in (('width', size), ('height', size), ('depth', 3)):
        ET.SubElement(size_node, tag).text = str(value)
    for one in objects:
        node = ET.SubElement(root, 'object')
        ET.SubElement(node, 'name').text = one.name
        ET.SubElement(node, 'difficult').text = '0'
        bndbox = ET.SubElement(node, 'bndbox')
        for tag, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), one.box, strict=True):
            ET.SubElement(bndbox, tag).text = str(value)
    ET.indent(root)
    ET.ElementTree(root).write(path, encoding='utf-8')


def _write_lines(path: str, lines: tuple[str, ...] | list[str]) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        file.writelines(f'{line}\n' for line in lines)


def _read_record(path: str) -> dict:
    try:
        with open(path, encoding='utf-8') as file:
            record = json.load(file)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
