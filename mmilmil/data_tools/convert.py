"""Writing annotations of another format as COCO files, once, which the datasets then read."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from globox import Annotation, AnnotationSet, BoundingBox

from ..datasets.image_loading import image_loader, image_size
from ..errors import InputError
from ..text_files import write_all
from .layouts import SPLITS, CocoFiles, Given, shown


@dataclass
class Labelled:
    """An image and its objects.

    Attributes:
        path: The image.
        size: Its width and height in pixels, as training loads it.
        boxes: Boxes in pixels, each with its class name as label.
        more: For each box what stands beside it in COCO's annotation, such as ``segmentation``.
    """

    path: Path
    size: tuple[int, int]
    boxes: list[BoundingBox] = field(default_factory=list)
    more: list[dict] = field(default_factory=list)

    def add(self, box: BoundingBox, **more) -> None:
        """Add an object."""
        self.boxes.append(box)
        self.more.append(more)


@dataclass
class Table:
    """What annotations of another format hold.

    Attributes:
        source: The file or folder that was read.
        root: The folder beside which the converted files go.
        names: Class names, in the order of their ids.
        splits: The images of each split; where there are no splits, all as ``train``.
        told: Lines to tell.
        absent: Why a split lacks that is named somewhere.
        whole: What the converted file is called where there are no splits.
    """

    source: Path
    root: Path
    names: Sequence[str]
    splits: dict[str, list[Labelled]]
    told: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    whole: Optional[str] = None


class Sizes:
    """Asks images for their sizes, as training loads them.

    Attributes:
        notes: What a user should know, by kind.
    """

    def __init__(self) -> None:
        self.notes: Counter[str] = Counter()
        self._loader = image_loader()

    def of(self, path: Path) -> tuple[int, int]:
        """Width and height in pixels, after the turn that the image's EXIF asks for.

        Raises:
            InputError: the image cannot be loaded.
        """
        return image_size(self._loader, str(path), lambda kind, _: self.notes.update([kind]), whole=False)

    def lines(self) -> list[str]:
        """The notes to tell."""
        return [f'{kind} ({count})' for kind, count in self.notes.items()]


def part_of(path: Path, split: str) -> Path:
    """The file of a split that is drawn from a COCO file, beside it."""
    return path.with_name(f'{path.stem}_{split}.json')


def with_parts(files: Mapping[str, Path]) -> dict[str, Path]:
    """The files by split, those of which parts have been drawn replaced by these."""
    found = dict(files)
    for path in files.values():
        parts = {split: part for split in SPLITS if (part := part_of(path, split)).is_file()}
        found.update(parts)
    return found


def converted(table: Table, given: Given) -> CocoFiles:
    """Write a table as COCO files, where they are not there as they should be, and name them.

    Parts that were drawn from a file keep their images and get its annotations.

    Raises:
        InputError: an image is twice in a split, the files cannot be written, or others are in their place.
    """
    folder = Path(given.converted) if given.converted else table.root / 'coco'
    base = _common_folder([image.path for images in table.splits.values() for image in images])
    files = {split: folder / f'{table.whole or split}.json' for split in table.splits}
    contents = {files[split]: _coco(images, table.names, base, table.source) for split, images in table.splits.items()}
    told = [*table.told, *write(contents, table.source, folder)]
    found = with_parts(files)
    return CocoFiles(found, dict.fromkeys(found, str(base)), tuple(told), table.absent,
                     whole=bool(table.whole) and found == files)


def write(contents: Mapping[Path, dict], source: Path, folder: Path, parts: bool = True) -> list[str]:
    """Write converted files where they do not say so already.

    Args:
        contents: What each file is to hold.
        source: What it was converted from.
        folder: Where they go.
        parts: Whether parts that were drawn from them get their annotations.

    Returns:
        Lines to tell.

    Raises:
        InputError: they cannot be written, or others are in their place.
    """
    mark = f'Converted from {os.path.relpath(source, folder)} by mmilmil: changes in this file will be lost'
    texts, told = {}, []
    for path, content in contents.items():
        content = {'info': dict(description=mark), **content}
        texts[path] = json.dumps(content)
        for name in SPLITS if parts else ():
            if (part := part_of(path, name)).is_file():
                of_part, lost = _part(content, part)
                texts[part] = json.dumps(of_part)
                told += [f'{part}: {len(lost)} of its images are gone from {source}: {shown(lost)}'] if lost else []
    changed = {path: text for path, text in texts.items() if _text(path) != text}
    for path in changed:
        if path.exists() and json.dumps(mark) not in _text(path)[:1000]:
            raise InputError(f'{path} is there and was not converted from {source}: give --converted FOLDER, another one '
                             'for the COCO files to be written')
    above = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if changed and not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise InputError(f'{source} is converted to COCO files in {folder}, which cannot be written: give --converted '
                         'FOLDER, another one')
    write_all(changed)
    told += [f'converted to COCO from {source}: {path}' for path in changed]
    return told + [f'as it was converted from {source} before: {path}' for path in texts if path not in changed]


def _text(path: Path) -> str | None:
    return path.read_text(encoding='utf-8', errors='replace') if path.is_file() else None


def _common_folder(paths: Iterable[Path]) -> Path:
    folders = {str(path.parent) for path in paths}
    if any(map(os.path.isabs, folders)):
        folders = set(map(os.path.abspath, folders))
    return Path(os.path.commonpath(folders)) if folders else Path()


def _coco(images: Sequence[Labelled], names: Sequence[str], base: Path, source: Path) -> dict:
    """The content of a COCO file; images and categories are numbered as they stand."""
    whole = any(image.path.is_absolute() for image in images)
    files = [os.path.relpath(os.path.abspath(image.path) if whole else image.path, base).replace(os.sep, '/')
             for image in images]
    if twice := [name for name, count in Counter(files).items() if count > 1]:
        raise InputError(f'{source} lists the image {twice[0]} more than once in one split ({len(twice)} such): list each once')
    table = AnnotationSet(Annotation(name, image.size, image.boxes) for name, image in zip(files, images))
    content = table.to_coco(label_to_id={name: label for label, name in enumerate(names)},
                            imageid_to_id={name: number for number, name in enumerate(files)})
    for entry, more in zip(content['annotations'], (more for image in images for more in image.more)):
        entry.update(more)
    return content


def _part(content: Mapping, part: Path) -> tuple[dict, list[str]]:
    """The images of a part with the annotations of the whole, and the names of those that the whole has no longer."""
    listed = [image['file_name'] for image in json.loads(_text(part))['images']]
    images = [image for image in content['images'] if image['file_name'] in set(listed)]
    if not images:
        raise InputError(f'{part} has no image of the file that it was drawn from: remove it and the other parts, and draw '
                         'again')
    ids = {image['id'] for image in images}
    annotations = [one for one in content['annotations'] if one['image_id'] in ids]
    there = {image['file_name'] for image in images}
    return dict(content, images=images, annotations=annotations), [name for name in listed if name not in there]
