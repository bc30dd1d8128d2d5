"""Images that nobody has annotated, for a training in which a teacher tells what is on them."""

import os.path as osp
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import transforms as mmdet

from ..errors import InputError
from .image_files import IMAGE_EXTENSIONS, files_below
from .image_loading import image_size
from .reading import StopAtFirst

_MIXING = (mmdet.CachedMixUp, mmdet.CopyPaste, mmdet.MixUp, mmdet.Mosaic)


def folders_of(setting: Any) -> tuple[str, ...]:
    """The folders that a dataset's setting ``unlabelled`` names; none of ``None``.

    Raises:
        InputError: it names none, or what is no text.
    """
    if setting is None:
        return ()
    folders = (setting, ) if isinstance(setting, str) else setting
    if not isinstance(folders, list | tuple) or not folders or not all(isinstance(one, str) and one for one in folders):
        raise InputError(f'dataset unlabelled = {setting!r}: give the path of a folder of images, a list of them, or '
                         'leave it out')
    return tuple(folders)


def paths_in(folders: Iterable[str]) -> list[str]:
    """All images in the folders and below, sorted within each.

    Raises:
        InputError: a folder is missing, is none, or has no image.
    """
    paths = []
    for folder in folders:
        if not osp.isdir(folder):
            what = 'is a file' if osp.isfile(folder) else 'does not exist'
            raise InputError(f'the folder of unlabelled images {folder} {what}: give the path of a folder')
        found = sorted(name for name in files_below(Path(folder)) if osp.splitext(name)[1].lower() in IMAGE_EXTENSIONS)
        if not found:
            raise InputError(f'the folder of unlabelled images {folder} has no image in it or below '
                             f'({", ".join(IMAGE_EXTENSIONS)}): give another, or leave it out')
        paths += [osp.join(folder, name) for name in found]
    return paths


def images_in(folders: Iterable[str], known: Iterable[str], loader: LoadImageFromFile) -> tuple[list[dict], list[str]]:
    """The images of :func:`paths_in` as a dataset lists them, each once, without an object.

    Args:
        folders: The folders.
        known: Paths of images that are trained on with annotation; they are left out.
        loader: By which the images are loaded. JPEG files are only looked into for their size, others are decoded.

    Returns:
        By image ``img_id`` and ``img_path``, both the path, ``height`` and ``width`` in pixels, no ``instances``, and
        ``unlabelled``; and lines to tell.

    Raises:
        InputError: names the folder or the image that cannot be used, or all of the images are known.
    """
    told, images = StopAtFirst(), []
    seen = {osp.realpath(path) for path in known}
    paths = paths_in(folders)
    for path in paths:
        if osp.realpath(path) in seen:
            continue
        seen.add(osp.realpath(path))
        width, height = image_size(loader, path, told.note, whole=False)
        images.append(dict(img_id=path, img_path=path, seg_map_path=None, height=height, width=width, instances=[],
                           unlabelled=True))
    if not images:
        raise InputError(f'all {len(paths)} images below {", ".join(folders)} are annotated images of the training set: give '
                         'others as unlabelled, or leave it out')
    left_out = len(paths) - len(images)
    return images, [*told.lines(), *([f'unlabelled: {left_out} images left out that are annotated ones of the set, or twice '
                                      'there'] if left_out else [])]


def check_not_mixed(steps: Iterable) -> None:
    """No transform of a pipeline puts several images into one, of which some would be annotated and others not.

    Raises:
        InputError: names the transform.
    """
    for step in steps:
        if isinstance(step, _MIXING):
            raise InputError(f'the training pipeline has {type(step).__name__}, which puts several images into one: with '
                             'unlabelled images a part of that would not be annotated. Leave one of the two out')
