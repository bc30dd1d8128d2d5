"""The layouts in which one's own data may lie, a module each; this is the table that everything goes through.

What is read as it lies is a :class:`VocFolder` or COCO files; everything else is converted to COCO files once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import InputError
from ..layouts import CocoFiles, Given
from . import coco, cvat, darknet, image_list, voc, yolo
from .voc import VocFolder

UNDERSTOOD = 'a folder in a layout of VOC, COCO, YOLO or CVAT, a COCO file, data.yaml, annotations.xml or list of images'
"""What a path may lead to, for messages."""


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: What it is called.
        fits: Whether a folder or a file is of this format.
        found: What it holds; takes the path and what the user says beside it.
    """

    name: str
    fits: Callable[[Path], bool]
    found: Callable[[Path, Given], VocFolder | CocoFiles]


FORMATS = (
    Format(voc.NAME, voc.fits, voc.found),
    Format(yolo.NAME, yolo.fits, yolo.found),
    Format(cvat.NAME, cvat.fits, cvat.found),
    Format(coco.NAME, coco.fits_splits, coco.found),
    Format(voc.NAME_BESIDE, voc.fits_beside, voc.found),
    Format(coco.NAME_WHOLE, coco.fits_whole, coco.found),
    Format(darknet.NAME, darknet.fits, darknet.found),
    Format(image_list.NAME, image_list.fits, image_list.found),
    Format('COCO file', Path.is_file, coco.found),  # whose reader tells what is wrong with any other file
)
"""In the order in which they are tried; the first that fits is taken."""


def found(path: Path, given: Given, option: str) -> VocFolder | CocoFiles:
    """What lies in a folder, or what a file holds.

    Args:
        path: The folder or file.
        given: What the user says beside it.
        option: What names the path, for messages.

    Raises:
        InputError: there is no such path, no known layout, or see the formats.
    """
    if not path.exists():
        raise InputError(f'{option} {path} does not exist: give {UNDERSTOOD}'.lstrip())
    if given.annotations and not path.is_dir() and not image_list.fits(path):
        raise InputError(f'--annotations is for a folder with XML files: leave it out for the COCO file {path}')
    if given.annotations and path.is_dir():
        return voc.found(path, given)
    for one in FORMATS:
        if one.fits(path):
            held = one.found(path, given)
            return replace(held, told=(f'{path}: read as {one.name}', *held.told)) if path.is_dir() else held
    raise InputError(f'{path} has no known layout: {"; ".join(one.name for one in FORMATS[:-2])}; name VOC-style folders by '
                     '--images and --annotations, or give a COCO file itself')
