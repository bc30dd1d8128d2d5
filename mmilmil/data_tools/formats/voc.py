"""Folders with one XML file an image: PASCAL VOC's layout, and XML files beside the images or in a folder of another name."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from globox import BoundingBox

from ...datasets.image_files import IMAGE_EXTENSIONS, files_below
from ...datasets.reading import StopAtFirst, Tell
from ...datasets.stage_filter import ImageFolder
from ...datasets.voc_reader import read_annotation, read_list
from ...errors import InputError
from ..convert import Labelled, Sizes, Table, converted
from ..image_search import ImagesBelow
from ..layouts import LISTS, SPLIT_OF, SPLITS, WORDS, CocoFiles, Given, shown
from . import cvat

NAME = 'VOC (Annotations/*.xml, JPEGImages)'
NAME_BESIDE = 'XML files beside the images (in train, valid and test or in the folder itself)'


@dataclass(frozen=True)
class VocFolder:
    """A folder with one XML file an image.

    Attributes:
        root: The folder.
        images: Its folder of images.
        annotations: Its folder of XML files; ``.`` where they lie beside the images.
        told: Lines to tell.
    """

    root: Path
    images: str
    annotations: str
    told: tuple[str, ...] = ()

    def list_path(self, name: str) -> Path:
        """The list of images of that name, such as ``train``; it need not exist.

        One that is called so in other letters or words, such as ``Validation.txt``, counts where there is no other.
        """
        path = self.root / LISTS / f'{name}.txt'
        if not path.is_file() and path.parent.is_dir():
            words = WORDS.get(name, (name, ))
            return next((file for file in sorted(path.parent.glob('*.txt')) if file.stem.lower() in words), path)
        return path

    @property
    def lists(self) -> dict[str, Path]:
        """The lists that are there, of ``train``, ``val``, ``test`` and ``trainval``."""
        return {name: self.list_path(name) for name in (*SPLITS, 'trainval') if self.list_path(name).is_file()}

    @property
    def options(self) -> list[str]:
        """The arguments by which ``new_split.py``, ``split_dataset.py`` and ``check_dataset.py`` find the two folders."""
        usual = (('--images', self.images, 'JPEGImages'), ('--annotations', self.annotations, 'Annotations'))
        return [word for option, folder, default in usual if folder != default for word in (option, folder)]


@dataclass(frozen=True)
class Pairs:
    """What lies in a :class:`VocFolder`; all are paths below the folder of images or of annotations, without extension.

    Attributes:
        names: Images with an XML file, in alphabetical order.
        lone_images: Images without one.
        lone_xml: XML files without an image.
        misnamed: Files, with extension, whose ending is one in other letters, such as ``.XML``, and is not read.
    """

    names: list[str]
    lone_images: list[str]
    lone_xml: list[str]
    misnamed: list[str]

    def left_out(self) -> list[str]:
        """Lines that tell what is not in ``names``."""
        kinds = ((self.lone_images, 'image without an XML file', 'images without an XML file'),
                 (self.lone_xml, 'XML file without an image', 'XML files without an image'),
                 (self.misnamed, 'file whose ending is not in small letters, so not read',
                  'files whose ending is not in small letters, so not read'))
        return [f'left out: {len(names)} {one if len(names) == 1 else many}: {shown(names)}'
                for names, one, many in kinds if names]

    def parts(self) -> dict[str, list[str]]:
        """The names by split where they lie in folders such as ``train``, ``valid`` and ``test``; else nothing."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(SPLIT_OF.get(name.partition('/')[0]) if '/' in name else None, []).append(name)
        return found if 'train' in found and None not in found else {}


def voc_folder(root: Path, images: Optional[str] = None, annotations: Optional[str] = None,
               need_images: bool = True) -> VocFolder:
    """A folder with XML files.

    Args:
        root: The folder.
        images: Its folder of images; by default ``JPEGImages``, or the folder itself if its XML files lie beside the images, or
            ``images`` or ``data``.
        annotations: Its folder of XML files; by default ``Annotations``, or the folder itself, or ``labels``.
        need_images: Whether the default folder of images has to be there.

    Raises:
        InputError: one of the two is missing.
    """
    beside = not (root / 'Annotations').is_dir() and fits_beside(root)
    labels = not (root / 'Annotations').is_dir() and _has_xml(root / 'labels')
    annotations = annotations or ('.' if beside else 'labels' if labels else 'Annotations')
    need_images = need_images or images is not None
    usual = ('JPEGImages', '.') if beside and annotations == '.' else ('JPEGImages', 'images', 'data')
    images = images or next((folder for folder in usual if (root / folder).is_dir()), 'JPEGImages')
    for folder in (images, annotations) if need_images else (annotations, ):
        if not (root / folder).is_dir():
            raise InputError(f'{root} has no folder {folder}: name the folders of images and XML files below it by --images '
                             'and --annotations')
    return VocFolder(root, os.path.normpath(images), os.path.normpath(annotations))


def _has_xml(folder: Path) -> bool:
    """Whether there are XML files of single images."""
    return any(not cvat.fits(file) for file in folder.glob('*.xml'))


def fits(path: Path) -> bool:
    """Whether it is a folder with VOC's own folders, or with those of FiftyOne's export, ``labels/*.xml``."""
    # By listing: where case does not count, VOC's Annotations would pass for COCO's annotations.
    own = {'Annotations', 'JPEGImages', 'ImageSets'}
    return path.is_dir() and (bool(own & set(os.listdir(path))) or _has_xml(path / 'labels'))


def fits_beside(path: Path) -> bool:
    """Whether it is a folder with XML files in itself or in folders called as splits."""
    return path.is_dir() and any(map(_has_xml, (path, *(path / word for words in WORDS.values() for word in words))))


def found(path: Path, given: Given) -> VocFolder | CocoFiles:
    """The folders of images and XML files.

    Where these lie in other subfolders, so that no name is the same, they are matched by the file's name alone, and converted.

    Raises:
        InputError: a folder is missing, or several images may be meant.
    """
    folder = voc_folder(path, given.images, given.annotations, given.need_images)
    pairs = paired(folder)
    if pairs.names or not pairs.lone_images or not pairs.lone_xml:
        return folder
    table = _scattered(folder, pairs)
    return converted(table, given) if table else folder


def labelled(image: Path, file: Path, reader: Tell, sizes: Sizes) -> Labelled:
    """An image and the objects of its XML file.

    Raises:
        InputError: the file cannot be read.
    """
    annotation = read_annotation(str(file), tell=reader)
    found = Labelled(image, annotation.size or sizes.of(image))
    for one in annotation.objects:
        x1, y1, x2, y2 = one['bbox']
        # Without an area, as it is with swapped corners: left out and counted by whoever reads the converted file.
        box = BoundingBox(label=one['name'], xmin=x1, ymin=y1, xmax=max(x1, x2), ymax=max(y1, y2))
        found.add(box, ignore=one['ignore_flag'])
    return found


def _scattered(folder: VocFolder, pairs: Pairs) -> Table | None:
    """XML files with the images of the same file name, wherever these lie; None where there are none."""
    root, source = folder.root / folder.images, folder.root / folder.annotations
    search, sizes, reader = ImagesBelow(root), Sizes(), StopAtFirst()
    images, lone = {}, []
    for name in pairs.lone_xml:
        path = search.with_stem(name, source / f'{name}.xml')
        if path is None:
            lone.append(f'{name}.xml')
            continue
        images[name] = labelled(root / path, source / f'{name}.xml', reader, sizes)
    if not images:
        return None
    told = [f'images found by their file names alone, in other folders than their XML files: {len(images)}', *reader.lines(),
            *sizes.lines()] + ([f'left out: {len(lone)} XML files without an image: {shown(lone)}'] if lone else [])
    names = sorted({box.label for image in images.values() for box in image.boxes})
    splits = {split: [images[name] for name in read_list(str(file)) if name in images]
              for split, file in folder.lists.items() if split in SPLITS}
    return Table(source, folder.root, names, splits or {'train': list(images.values())}, told, whole=None if splits else 'all')


def paired(folder: VocFolder) -> Pairs:
    """The images and XML files of a folder and of all folders below; without its folder of images, all XML files have one."""
    xml, misnamed = set(), []
    for name in files_below(folder.root / folder.annotations):
        if name.endswith('.xml'):
            xml.add(name[:-4])
        elif name.lower().endswith('.xml'):
            misnamed.append(name)
    if not (folder.root / folder.images).is_dir():
        return Pairs(sorted(xml), [], [], sorted(misnamed))
    images, finder = set(), ImageFolder(str(folder.root / folder.images))
    for name in files_below(folder.root / folder.images):
        stem, extension = os.path.splitext(name)
        if extension.lower() in IMAGE_EXTENSIONS:
            if finder.find(stem):
                images.add(stem)
            else:
                misnamed.append(name)
    return Pairs(sorted(xml & images), sorted(images - xml), sorted(xml - images), sorted(misnamed))
