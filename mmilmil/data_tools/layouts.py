"""How the files of one's own data lie: which are annotations, which images, and which split each belongs to."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..datasets.stage_filter import IMAGE_EXTENSIONS, ImageFolder
from ..errors import InputError

SPLITS = ('train', 'val', 'test')
WORDS = {'train': ('train', ), 'val': ('val', 'valid', 'validation'), 'test': ('test', )}
"""What folders and files call a split."""
LISTS = Path('ImageSets/Main')
_ROBOFLOW = '_annotations.coco.json'
_SHOWN = 5


@dataclass(frozen=True)
class VocFolder:
    """A folder with one XML file an image.

    Attributes:
        root: The folder.
        images: Its folder of images.
        annotations: Its folder of XML files; ``.`` where they lie beside the images.
    """

    root: Path
    images: str
    annotations: str

    def list_path(self, name: str) -> Path:
        """The list of images of that name, such as ``train``; it need not exist."""
        return self.root / LISTS / f'{name}.txt'

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
        split_of = {word: split for split, words in WORDS.items() for word in words}
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(split_of.get(name.partition('/')[0]) if '/' in name else None, []).append(name)
        return found if 'train' in found and None not in found else {}


def shown(names: Sequence[str], count: int = _SHOWN) -> str:
    """The first few names."""
    return ', '.join(names[:count]) + (f' and {len(names) - count} more' if len(names) > count else '')


def folder_kind(root: Path) -> str:
    """``'voc'`` or ``'coco'``, by what lies in a folder.

    Raises:
        InputError: neither; names what is understood.
    """
    # By listing: where case does not count, VOC's Annotations would pass for COCO's annotations.
    entries = set(os.listdir(root))
    if entries & {'Annotations', 'JPEGImages', 'ImageSets'}:
        return 'voc'
    if _json_files(root):
        return 'coco'
    if _beside_images(root):
        return 'voc'
    raise InputError(f'{root} has no known layout: VOC (Annotations/*.xml, JPEGImages), XML files beside the images '
                     f'(in train, valid and test or in the folder itself), COCO (annotations/instances_train*.json) or '
                     f'Roboflow (train/{_ROBOFLOW}); name VOC-style folders by --images and --annotations, or give a COCO file '
                     'itself')


def voc_folder(root: Path, images: Optional[str] = None, annotations: Optional[str] = None,
               need_images: bool = True) -> VocFolder:
    """A folder with XML files.

    Args:
        root: The folder.
        images: Its folder of images; by default ``JPEGImages``, or the folder itself if its XML files lie beside the images.
        annotations: Its folder of XML files; by default ``Annotations``, or the folder itself.
        need_images: Whether the default folder of images has to be there.

    Raises:
        InputError: one of the two is missing.
    """
    beside = not (root / 'Annotations').is_dir() and _beside_images(root)
    annotations = annotations or ('.' if beside else 'Annotations')
    need_images = need_images or images is not None
    images = images or ('.' if beside and annotations == '.' and not (root / 'JPEGImages').is_dir() else 'JPEGImages')
    for folder in (images, annotations) if need_images else (annotations, ):
        if not (root / folder).is_dir():
            raise InputError(f'{root} has no folder {folder}: name the folders of images and XML files below it by --images '
                             'and --annotations')
    return VocFolder(root, os.path.normpath(images), os.path.normpath(annotations))


def _beside_images(root: Path) -> bool:
    folders = [root, *(root / word for words in WORDS.values() for word in words)]
    return any(next(folder.glob('*.xml'), None) for folder in folders)


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


def files_below(root: Path) -> Iterator[str]:
    """Paths, relative to ``root`` and with ``/``, of the files in it and below; hidden ones, which no dataset sees, left out.

    Links to folders are followed, each folder once.
    """
    visited = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        for name in files:
            if not name.startswith('.'):
                yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, '/')


def coco_files(root: Path) -> dict[str, Path]:
    """The COCO files of a folder by split; see ``docs/own_data.md`` for the layouts.

    A part that ``split_dataset.py`` has drawn from a file, ``<name>_train.json`` beside ``<name>.json``, stands in its place.

    Raises:
        InputError: a split has several.
    """
    found = _json_files(root)
    several = {split: paths for split, paths in found.items() if len(paths) > 1}
    for split, paths in several.items():
        raise InputError(f'{root} has {len(paths)} files for {split} ({", ".join(map(str, paths))}): name the ones to use by '
                         '--ann, --val-ann and --test-ann')
    return {split: paths[0] for split, paths in found.items()}


def _json_files(root: Path) -> dict[str, list[Path]]:
    candidates = {split: _named_by(root, words) for split, words in WORDS.items()}
    for path in [path for paths in candidates.values() for path in paths]:
        for split, paths in candidates.items():
            part = part_of(path, split)
            if part.is_file() and part not in paths:
                paths.append(part)
    # A file that has been parted is replaced by its parts.
    found = {split: [path for path in paths if part_of(path, split) not in paths] for split, paths in candidates.items()}
    return {split: paths for split, paths in found.items() if paths}


def _named_by(root: Path, words: Sequence[str]) -> list[Path]:
    """The JSON files that are named by one of the words, or lie in a folder that is."""
    form = re.compile(rf'(.*[_.-])?({"|".join(words)})\d*\.json')
    files = [path for folder in (root, root / 'annotations') for path in sorted(folder.glob('*.json'))]
    # COCO's own folder has other kinds of annotations as well, some of them without boxes.
    own = [path for path in files if form.fullmatch(path.name) and not path.name.startswith(('captions_', 'image_info_'))]
    own = [path for path in own if path.name.startswith('instances_')] or own
    return own + [root / word / _ROBOFLOW for word in words if (root / word / _ROBOFLOW).is_file()]


def part_of(path: Path, split: str) -> Path:
    """The file of a split that is drawn from a COCO file, beside it."""
    return path.with_name(f'{path.stem}_{split}.json')


def image_folder(ann_file: Path, names: Sequence[str], given: Optional[str] = None, option: str = '--images') -> Path:
    """The folder that holds the images which a COCO file lists.

    Args:
        ann_file: The file.
        names: ``file_name`` of its images.
        given: The folder, where the user names one.
        option: The option that names it.

    Returns:
        The given folder, or the only one that holds all images: that of the file, the one above it (or those in the two, or in
        a folder ``images`` of the two). Of several it is the file's own folder, or the one that the file is named by.

    Raises:
        InputError: an image is missing, or several folders hold them all.
    """
    if given is not None:
        folder = Path(given)
        if not folder.is_dir():
            raise InputError(f'{given} ({option}) is no folder: give the folder of the images that {ann_file} lists')
        if absent := absent_images(folder, names):
            others = _holding(ann_file, names) if len(absent) == len(names) else []
            remedy = f'they are in {others[0]}: give {option} {others[0]}' if others else _remedy(folder, absent, option)
            raise InputError(f'{_lacks(folder, absent, names, ann_file)}: {remedy}')
        return folder
    holding = _holding(ann_file, names)
    if len(holding) > 1:
        preferred = [folder for folder in holding if folder == ann_file.parent] or \
            [folder for folder in holding if folder.name in re.split(r'[_.-]', ann_file.stem)]
        if len(preferred) != 1:
            raise InputError(f'several folders hold the images that {ann_file} lists ({", ".join(map(str, holding))}): name '
                             f'the right one by {option}')
        holding = preferred
    if holding:
        return holding[0]
    lacking = {folder: absent_images(folder, names) for folder in _near(ann_file)}
    folder, absent = min(lacking.items(), key=lambda item: len(item[1]))
    if len(absent) == len(names):
        raise InputError(f'no image that {ann_file} lists ({len(names)}, the first is {names[0]!r}) lies in {ann_file.parent}, '
                         f'in the folder above or in a folder of the two: name the folder by {option}')
    raise InputError(f'{_lacks(folder, absent, names, ann_file)}: {_remedy(folder, absent, option)}')


def absent_images(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the names (with extension, relative to the folder) that are no files there, as the datasets see it."""
    files = ImageFolder(str(folder))
    return [name for name in names if '://' in name or not files.has(name)]


def _lacks(folder: Path, absent: Sequence[str], names: Sequence[str], ann_file: Path) -> str:
    return f'{folder} has {len(names) - len(absent)} of the {len(names)} images that {ann_file} lists; missing: {shown(absent)}'


def _remedy(folder: Path, absent: Sequence[str], option: str) -> str:
    hint = ImageFolder(str(folder)).name_remedy(absent[0])
    if hint:
        return f'of {absent[0]!r}, {hint}'
    return f'add the images, take them out of the file, or name another folder by {option}'


def _holding(ann_file: Path, names: Sequence[str]) -> list[Path]:
    """Folders near the file in which all images lie."""
    return [folder for folder in _near(ann_file)
            if names and (folder / names[0]).is_file() and not absent_images(folder, names)]


def _near(ann_file: Path) -> list[Path]:
    """Folders in which the images of a COCO file may be, each once."""
    found: dict[str, Path] = {}
    own = ann_file.parent
    above = own.parent if own.name not in ('', '..') else own / '..'
    for home in (own, above):
        for folder in (home, *_subfolders(home), *_subfolders(home / 'images')):
            found.setdefault(os.path.realpath(folder), folder)
    return list(found.values())


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith('.'))
    except OSError:  # none there, or not to be read
        return []
