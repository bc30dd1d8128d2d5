"""YOLO's text files with a plain file of class names: Darknet's and CVAT's ``obj.names``, labelImg's ``classes.txt``."""

from collections.abc import Sequence
from pathlib import Path

from ...datasets.reading import decode, read_bytes, read_names, text_lines
from ...errors import InputError
from ..convert import Table, converted
from ..layouts import SPLIT_OF, SPLITS, WORDS, CocoFiles, Given
from .yolo import images_in, listed_images
from .yolo_labels import Labels, label_files

NAME = 'YOLO text files with obj.names or classes.txt'
_NAMES = ('obj.names', 'classes.txt', 'labels/classes.txt', 'images/classes.txt', 'train/_darknet.labels')


def fits(path: Path) -> bool:
    """Whether it is ``obj.data``, or a folder with a file of class names and label files."""
    if path.is_file():
        return path.suffix == '.data'
    if (path / 'obj.data').is_file():
        return True
    return names_file(path) is not None and any(file.is_file() for image in images_in(path) for file in label_files(image))


def found(path: Path, given: Given) -> CocoFiles:
    """Convert the label files of a folder.

    The splits are those of ``obj.data``, or of lists such as ``train.txt`` in the folder, or of folders such as ``train`` and
    ``valid``; without any, all images are one split.

    Raises:
        InputError: a file, an image or a label cannot be used as it is.
    """
    root = path if path.is_dir() else path.parent
    data = _data(root / 'obj.data' if path.is_dir() else path)
    file = _below(root, data['names']) if 'names' in data else names_file(root)
    if file is None or not file.is_file():
        raise InputError(f'{path} names no file of class names that is there ({data.get("names", "names = obj.names")}): give '
                         'one with a name a line')
    words = [(split, word) for split, words in WORDS.items() for word in words]
    lists = {split: _below(root, data[word]) for split, word in words if word in data}
    lists = lists or {split: root / f'{word}.txt' for split, word in words if (root / f'{word}.txt').is_file()}
    if lists:
        splits = {split: listed_images(listed, [listed.parent, root]) for split, listed in lists.items()}
        splits = {split: images for split, images in splits.items() if images}
    else:
        splits = _by_folder(images_in(Path(given.images) if given.images else root), root)
    names = read_names(str(file))
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f'{file} has {twice[0]!r} twice: give each class its own name')
    labels = Labels(names, file)
    table = {split: labels.read(splits[split], split) for split in SPLITS if split in splits}
    whole = None if lists or len(table) > 1 else 'all'
    return converted(Table(file, root, names, table, labels.told(), whole=whole), given)


def names_file(root: Path) -> Path | None:
    """The file of class names of a folder."""
    return next((root / name for name in _NAMES if (root / name).is_file()), None)


def _data(file: Path) -> dict[str, str]:
    """Settings of ``obj.data``, one ``key = value`` a line."""
    if not file.is_file():
        return {}
    lines = text_lines(decode(read_bytes(str(file), None, f'no file {file}'), str(file)))
    return {key.strip(): value.strip() for key, equal, value in (line.partition('=') for line in lines) if equal}


def _below(root: Path, name: str) -> Path:
    """A file that ``obj.data`` names, whose ``data/`` in front is the folder itself."""
    file = root / name
    return file if file.is_file() else root / name.removeprefix('data/')


def _by_folder(images: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Images by split where each lies in a folder called as one; else all as ``train``."""
    splits: dict[str | None, list[Path]] = {}
    for image in images:
        word = next((part for part in image.relative_to(root).parts[:-1] if part != 'images'), '') \
            if image.is_relative_to(root) else ''
        splits.setdefault(SPLIT_OF.get(word), []).append(image)
    return splits if 'train' in splits and None not in splits else {'train': list(images)}
