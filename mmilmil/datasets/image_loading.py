"""Images as a run loads them: by the first step of its own pipeline, whatever another reader would make of the file."""

import os
import warnings
from collections.abc import Callable, Iterable

import mmdet.datasets  # noqa: F401  (registers its transforms)
import numpy as np
from mmcv.transforms import LoadImageFromFile
from PIL import ExifTags, Image

from ..errors import InputError
from ..registry import TRANSFORMS


def is_loader(step: object) -> bool:
    """Whether a pipeline's step, built or as a config describes it, loads an image from its file."""
    if isinstance(step, dict):
        step = TRANSFORMS.get(step['type']) if isinstance(step.get('type'), str) else step.get('type')
        return isinstance(step, type) and issubclass(step, LoadImageFromFile)
    return isinstance(step, LoadImageFromFile)


def image_loader(steps: Iterable = (), backend_args: dict | None = None) -> LoadImageFromFile:
    """The loading step of a built pipeline; MMDetection's default where it has none."""
    return next(filter(is_loader, steps), None) or LoadImageFromFile(backend_args=backend_args)


def load_image(loader: LoadImageFromFile, path: str) -> np.ndarray:
    """An image's pixels, (H, W) or (H, W, channels), turned and converted as the loader's settings say.

    Raises:
        InputError: the loader cannot load it.
    """
    try:
        results = loader({'img_path': path})
        if results is None:
            raise ValueError('the pipeline passes over it (ignore_empty)')
        return results['img']
    except Exception as error:  # a broken file can break a decoder in any way
        reason = 'the file is empty' if os.path.isfile(path) and not os.path.getsize(path) else ' '.join(str(error).split())
        raise InputError(f'{path} cannot be decoded as training does it ({loader.imdecode_backend}, {loader.color_type}): '
                         f'{reason}; replace the image, or take it out of the set') from None


def image_size(loader: LoadImageFromFile, path: str, note: Callable[[str, str], None], whole: bool = True,
               channels: int | None = None) -> tuple[int, int]:
    """Width and height of an image as the loader loads it.

    Args:
        loader: The loader.
        path: The image.
        note: Takes kind and text of what a user should know.
        whole: Decode the image. Otherwise the header is read of JPEG files without EXIF, whose size all readers tell alike;
            all other files are decoded all the same.
        channels: Those that the image needs, or None for any.

    Raises:
        InputError: the loader cannot load it, or with another number of channels.
    """
    size, turn = _header(path)
    in_color = loader.color_type in ('color', 'color_ignore_orientation')
    if not whole and size and not turn and in_color and not any(name.startswith('CV_IO_MAX_IMAGE') for name in os.environ):
        return size
    image = load_image(loader, path)
    found = image.shape[2] if image.ndim == 3 else 1
    if channels and found != channels:
        raise InputError(f'{path} has {found} channels as the pipeline loads it, and data_preprocessor.mean {channels}: set '
                         "color_type='color' in LoadImageFromFile, or convert the image")
    if image.dtype != np.uint8 and not loader.to_float32:
        note('image whose pixels are not of 8 bits as it is loaded', f'{path}: {image.dtype}')
    if turn > 1 and loader.color_type in ('color', 'grayscale'):
        note('image turned or mirrored by its EXIF orientation when it is loaded', f'{path}: {turn}')
    return image.shape[1], image.shape[0]


def _header(path: str) -> tuple[tuple[int, int] | None, int]:
    """Size of a JPEG file whose header suffices, and the orientation of any file: 0 where it has no EXIF."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')  # as of an image too large, or of broken EXIF
            with Image.open(path) as image:
                turn = image.getexif().get(ExifTags.Base.Orientation, 1) if image.getexif() or 'exif' in image.info else 0
                return image.size if image.format == 'JPEG' else None, turn
    except Exception:  # the loader is asked, not this
        return None, 0
