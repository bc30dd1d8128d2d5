"""YOLO's text files in Ultralytics' layout, which a ``data.yaml`` describes."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml

from ...datasets.image_files import IMAGE_EXTENSIONS, files_below
from ...datasets.reading import class_name, decode, read_bytes, text_lines
from ...errors import InputError
from ..convert import Table, converted
from ..layouts import SPLITS, WORDS, CocoFiles, Given
from .yolo_labels import Labels

NAME = "YOLO in Ultralytics' layout (data.yaml)"
_SUFFIXES = ('.yaml', '.yml')


def fits(path: Path) -> bool:
    """Whether it is such a file, or a folder with one."""
    return bool(_in_folder(path)) if path.is_dir() else path.suffix.lower() in _SUFFIXES


def found(path: Path, given: Given) -> CocoFiles:
    """Convert what a ``data.yaml`` describes.

    Raises:
        InputError: the file, an image or a label cannot be used as it is.
    """
    if path.is_dir():
        several = _in_folder(path)
        if len(several) > 1:
            raise InputError(f'{path} has {len(several)} files that describe a YOLO data set '
                             f'({", ".join(file.name for file in several)}): give one of them itself')
        path = several[0]
    if given.images:
        raise InputError(f'--images {given.images}: {path} says itself where its images lie, so leave the option out, or '
                         'correct path, train, val and test there')
    return converted(read(path), given)


def _in_folder(folder: Path) -> list[Path]:
    """Files that describe a data set; of several the one that is called so."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES and file.is_file()]
    files = [file for file in files if _describes(file)]
    return [file for file in files if file.stem in ('data', 'dataset')][:1] or files


def _describes(file: Path) -> bool:
    try:
        content = _content(file)
    except InputError:
        return file.stem in ('data', 'dataset')
    return 'names' in content and any(word in content for words in WORDS.values() for word in words)


def _content(file: Path) -> dict:
    try:
        content = yaml.safe_load(decode(read_bytes(str(file), None, f'no file {file}'), str(file)))
    except yaml.YAMLError as error:
        raise InputError(f'{file} is not valid YAML: {" ".join(str(error).split())}; correct it') from None
    if isinstance(content, dict):  # CVAT writes Train where a subset is called so
        content = {key.lower() if isinstance(key, str) else key: value for key, value in content.items()}
    else:
        raise InputError(f"{file} has no settings such as names and train: give a data.yaml in Ultralytics' layout")
    return content


def read(file: Path) -> Table:
    """What a ``data.yaml`` describes.

    Raises:
        InputError: the file, an image or a label cannot be used as it is.
    """
    content = _content(file)
    names = _names(content, file)
    root, told = _root(content, file)
    labels = Labels(names, file, keypoints=_keypoints(content, file))
    splits, absent = {}, {}
    for split in SPLITS:
        word = next((word for word in WORDS[split] if content.get(word)), None)
        if word is None:
            continue
        entries = content[word] if isinstance(content[word], list) else [content[word]]
        images, lacking = [], []
        for entry in entries:
            place = _place(entry, word, root, file)
            if place is None:
                lacking.append(f'{file} names {word}: {entry}, which is not in {root}')
            else:
                images += _images(place, root)
        if lacking and (split == 'train' or images):
            raise InputError(f'{lacking[0]}: correct it, or path')
        if lacking:  # as exports name a test set that they do not have
            absent[split] = lacking[0]
        elif images:
            splits[split] = labels.read(images, split)
        else:
            raise InputError(f'{file} names {word}: {content[word]}, where no image lies ({", ".join(IMAGE_EXTENSIONS)}): '
                             'correct it')
    if not splits:
        raise InputError(f'{file} names no images: give train, and val and test if there are such, each a folder of images, a '
                         f'list of folders or a .txt with image paths{"".join(f"; {why}" for why in absent.values())}')
    return Table(file, root, names, splits, [*told, *labels.told()], absent)


def _names(content: dict, file: Path) -> list[str]:
    """Class names by id."""
    given = content.get('names')
    if isinstance(given, dict):
        ids = sorted(given, key=str) if any(type(key) is not int for key in given) else sorted(given)
        if ids != list(range(len(ids))):
            raise InputError(f'{file}: the ids in names are {", ".join(map(repr, ids[:10]))}; number the classes from 0 '
                             'without a gap')
        given = [given[key] for key in ids]
    if not isinstance(given, list) or not given:
        raise InputError(f'{file}: names is {given!r}; give the class names, as names: [bolt, nut] or one a line with its id')
    try:
        names = list(map(class_name, given))
    except InputError as error:
        raise InputError(f'{file}: names: {error}') from None
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f'{file}: names has {twice[0]!r} twice: give each class its own name')
    if content.get('nc') not in (None, len(names)):
        raise InputError(f'{file}: nc is {content["nc"]!r}, but names has {len(names)} ({", ".join(names[:10])}): correct one '
                         'of the two')
    return names


def _keypoints(content: dict, file: Path) -> int:
    """The numbers of key points behind each box."""
    shape = content.get('kpt_shape')
    if shape is None:
        return 0
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(number) is int and number > 0 for number in shape)):
        raise InputError(f'{file}: kpt_shape is {shape!r}; give two numbers, or leave it out')
    return shape[0] * shape[1]


def _root(content: dict, file: Path) -> tuple[Path, list[str]]:
    """The folder that ``path`` names: seen from the file, from the working directory, or from Ultralytics' ``datasets_dir``."""
    given = content.get('path')
    if given in (None, ''):
        return file.parent, []
    if not isinstance(given, str):
        raise InputError(f'{file}: path is {given!r}; give a folder, or leave it out where the images lie beside this file')
    given = os.path.expanduser(given)
    places = [file.parent / given, Path(given)]
    if datasets := _datasets_dir():
        places.append(datasets / given)
    places = list(dict.fromkeys(Path(os.path.normpath(place)) for place in places))
    for place in places:
        if place.is_dir():
            return place, [] if place == places[0] else [f'path of {file}: found as {place}']
    raise InputError(f'{file}: path: {content["path"]} is no folder (looked for {", ".join(map(str, places))}): correct it, or '
                     'take it out where train, val and test are relative to this file')


def _datasets_dir() -> Path | None:
    """Where Ultralytics looks for data sets, if it is installed and was called once."""
    home = Path(os.environ.get('YOLO_CONFIG_DIR') or Path.home() / '.config') / 'Ultralytics'
    try:
        return Path(json.loads((home / 'settings.json').read_text(encoding='utf-8'))['datasets_dir'])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _place(entry: object, word: str, root: Path, file: Path) -> Path | None:
    """The folder or list that an entry of a split names; ``../`` in front counts for nothing where it leads nowhere."""
    if not isinstance(entry, str):
        raise InputError(f'{file}: {word} is {entry!r}; give a folder of images, a list of folders or a .txt with image paths')
    for name in (entry, entry.removeprefix('../')):
        place = Path(os.path.normpath(root / os.path.expanduser(name)))
        if place.exists():
            return place
    return None


def _images(place: Path, root: Path) -> list[Path]:
    """The images of a folder and of all below it, or those that a text file lists."""
    if place.is_dir():
        return images_in(place)
    return listed_images(place, [place.parent, root])


def images_in(folder: Path) -> list[Path]:
    """The images of a folder and of all below it, in alphabetical order."""
    return sorted(folder / name for name in files_below(folder) if os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS)


def listed_images(file: Path, roots: Iterable[Path],
                  image_of: Callable[[Path], Path | None] = lambda place: place if place.is_file() else None) -> list[Path]:
    """The images whose paths a text file lists, one a line.

    Args:
        file: The list.
        roots: Folders that the paths may be relative to, beside the working directory.
        image_of: Gives the image that a path leads to, or None.

    Raises:
        InputError: the file cannot be read, or an image is nowhere.
    """
    lines = text_lines(decode(read_bytes(str(file), None, f'no file {file}'), str(file)))
    roots = list(dict.fromkeys((*roots, Path())))
    return [_listed(line, number, file, roots, image_of) for number, line in enumerate(lines, start=1)]


def _listed(line: str, number: int, file: Path, roots: Sequence[Path], image_of: Callable[[Path], Path | None]) -> Path:
    for name in (line, line.removeprefix('data/')):  # CVAT and Darknet put it in front
        for root in roots:
            if image := image_of(Path(os.path.normpath(root / name))):
                return image
    raise InputError(f'{file}, line {number}: no image {line} (looked for in {", ".join(map(str, roots))}): correct the line, '
                     'or add the image')
