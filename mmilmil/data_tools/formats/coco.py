"""COCO files: which of a folder is for which split, and where their images lie."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ...datasets.coco_reader import PARTS, CocoFile
from ...datasets.reading import decode
from ...datasets.stage_filter import ImageFolder
from ...errors import InputError
from ..convert import part_of, write
from ..image_search import ImagesBelow
from ..layouts import WORDS, CocoFiles, Given, shown

NAME = 'COCO (annotations/instances_train*.json) or Roboflow (train/_annotations.coco.json)'
NAME_WHOLE = 'one COCO file of everything'
_OF_A_FOLDER = ('_annotations.coco.json', 'labels.json')  # Roboflow's, FiftyOne's
_OTHERS = ('captions_', 'image_info_', 'person_keypoints_')


def fits_splits(path: Path) -> bool:
    """Whether it is a folder with COCO files that are called as splits."""
    return path.is_dir() and bool(_json_files(path))


def fits_whole(path: Path) -> bool:
    """Whether it is a folder with other COCO files."""
    return path.is_dir() and bool(_wholes(path))


def found(path: Path, given: Given) -> CocoFiles:
    """The COCO files of a folder, or the one file.

    Raises:
        InputError: a split has several.
    """
    if path.is_file():
        return CocoFiles({'train': path}, whole=True)
    if files := coco_files(path):
        return CocoFiles(files)
    wholes = _wholes(path)
    if len(wholes) > 1:
        raise InputError(f'{path} has {len(wholes)} COCO files, none of which is called as a split '
                         f'({", ".join(map(str, wholes))}): name the ones to use by --ann, --val-ann and --test-ann')
    return CocoFiles({'train': wholes[0]}, told=(f'one file for everything: {wholes[0]}', ), whole=True)


def _wholes(root: Path) -> list[Path]:
    """COCO files that are not called as a split, as CVAT's ``instances_default.json`` or Label Studio's ``result.json``."""
    return [path for folder in (root, root / 'annotations') for path in sorted(folder.glob('*.json'))
            if not path.name.startswith(_OTHERS) and _is_coco(path)]


def _is_coco(path: Path) -> bool:
    try:
        content = json.loads(decode(path.read_bytes(), str(path)))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(part), list) for part in PARTS)


def elsewhere(content: CocoFile, path: Path, given: Given) -> tuple[Path, Path, list[str]] | None:
    """A COCO file whose images lie anywhere below its folder, written anew with the paths where they lie.

    Args:
        content: What the file holds.
        path: The file.
        given: What the user says; ``images`` is the folder below which they lie, by default the file's own, or the one above
            where that is called ``annotations``.

    Returns:
        The new file, the folder that its names are relative to, and lines to tell; None where an image is not to be found.

    Raises:
        InputError: several images may be meant, one image has two names, or the file cannot be written.
    """
    root = Path(given.images) if given.images else path.parent.parent if path.parent.name == 'annotations' else path.parent
    search = ImagesBelow(root)
    names = [image['file_name'] for image in content.images]
    places = {}
    for name in names:
        place = search.find(name, path)
        if place is None:
            return None
        if place in places:
            raise InputError(f'{path} lists {places[place]!r} and {name!r}, which are both found as {root / place} only: '
                             'correct the file names')
        places[place] = name
    images = [dict(image, file_name=place) for image, place in zip(content.images, places)]
    folder = Path(given.converted) if given.converted else root / 'coco'
    file = folder / path.name
    told = write({file: dict(content.content, images=images)}, path, folder, parts=False)
    return file, root, [f'{path}: {len(names)} images found by their file names below {root}', *told]


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
    form = re.compile(rf'(.*[_.-])?({"|".join(words)})\d*\.json', re.IGNORECASE)
    files = [path for folder in (root, root / 'annotations') for path in sorted(folder.glob('*.json'))]
    # COCO's own folder has other kinds of annotations as well, some of them without boxes.
    own = [path for path in files if form.fullmatch(path.name) and not path.name.startswith(_OTHERS[:2])]
    own = [path for path in own if path.name.startswith('instances_')] or own
    return own + [root / word / name for word in words for name in _OF_A_FOLDER if (root / word / name).is_file()]


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
            others = folders_holding(ann_file, names) if len(absent) == len(names) else []
            remedy = f'they are in {others[0]}: give {option} {others[0]}' if others else _remedy(folder, absent, option)
            raise InputError(f'{_lacks(folder, absent, names, ann_file)}: {remedy}')
        return folder
    holding = folders_holding(ann_file, names)
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


def folders_holding(ann_file: Path, names: Sequence[str]) -> list[Path]:
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
