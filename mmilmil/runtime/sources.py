"""Where images come from: a file, a folder, a video, a camera."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from ..errors import InputError
from .images import EXTENSIONS, read_image

VIDEO_EXTENSIONS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv')

_LARGEST_CAMERA = 2**31 - 1  # OpenCV's int

Reader = Callable[[Path], tuple[np.ndarray, list[str]]]
"""Pixels of a file, (H, W, 3), uint8, in the order blue, green, red, and what a user should know of it."""


@dataclass
class Frame:
    """One image.

    Attributes:
        name: Path below the folder, name of the file, or a frame's number with leading zeros.
        load: Gives pixels and lines to be told, or raises an InputError.
        number: Of a video's or a camera's frame, from 0; None of a file.
    """

    name: str
    load: Callable[[], tuple[np.ndarray, list[str]]]
    number: int | None = None


@dataclass
class Files:
    """Image files.

    Attributes:
        paths: The files.
        folder: What their names are told below.
        is_folder: Whether a folder was asked for.
    """

    paths: list[Path]
    folder: Path
    is_folder: bool
    read: Reader = read_image

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        for path in self.paths:
            yield Frame(path.relative_to(self.folder).as_posix(), lambda path=path: self.read(path))


@dataclass
class Stream:
    """A video, a camera or the URL of one, read by OpenCV.

    Attributes:
        name: As the user called it.
        frames_per_second: What it says of itself; 0 where it says nothing.
    """

    name: str
    limit: int | None = None
    is_camera: bool = False
    frames_per_second: float = field(init=False)

    def __post_init__(self) -> None:
        self._cv2 = opencv()
        source = int(self.name) if self.name.isdecimal() else self.name
        if isinstance(source, int) and source > _LARGEST_CAMERA:
            raise InputError(f'{self.name} does not exist, and no camera has such a number: correct the path, or give the '
                             'number of a camera such as 0')
        self._capture = self._cv2.VideoCapture(source)
        if not self._capture.isOpened():
            raise InputError(f'the camera {self.name} is not there, or another program uses it: give the number of another, or '
                             'its URL' if self.is_camera else
                             f'the video {self.name} cannot be opened by OpenCV {self._cv2.__version__}: is it complete, and '
                             'of a format that plays here?')
        self.frames_per_second = float(self._capture.get(self._cv2.CAP_PROP_FPS) or 0)
        total = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        self._total = None if self.is_camera or total <= 0 else total

    def __len__(self) -> int:
        """The number of frames by the video's own word; 0 where it is not known."""
        return min(filter(None, (self._total, self.limit)), default=0)

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        try:
            while self.limit is None or number < self.limit:
                there, pixels = self._capture.read()
                if not there:
                    break
                yield Frame(f'{number:06d}', lambda pixels=pixels: (pixels, []), number)
                number += 1
        finally:
            self._capture.release()
        if not number:
            raise InputError(f'{self.name} gives no frame: it was opened, but nothing can be read from it')


def opencv():
    """The module ``cv2``, quiet.

    Raises:
        InputError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError('videos and cameras need OpenCV, which is not installed: pip install '
                         'opencv-python-headless') from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what cannot be opened is told by us
    return cv2


def _unreadable(error: OSError) -> NoReturn:
    """What ``os.walk`` would pass over in silence."""
    raise InputError(f'the folder {error.filename} cannot be read ({error.strerror}): correct its permissions, or take it out '
                     'of the folder above') from error


def open_source(text: str, limit: int | None = None, read: Reader = read_image) -> Files | Stream:
    """What a user calls an image, a folder, a video or a camera.

    Args:
        text: A path; digits (``0``), ``/dev/video0`` or a URL are a camera.
        limit: Number of frames to stop after, of videos and cameras.
        read: Reads an image file.

    Raises:
        InputError: it is not there, holds no image, or a folder in it cannot be read.
    """
    path = Path(text)
    if not path.exists() or path.is_char_device():
        if text.isdecimal() or text.startswith('/dev/') or re.match(r'\w+://', text):
            return Stream(text, limit, is_camera=True)
        raise InputError(f'{text} does not exist: give an image, a folder, a video, or the number of a camera such as 0')
    if path.is_dir():
        found = sorted(Path(folder, name) for folder, _, names in os.walk(path, onerror=_unreadable) for name in names
                       if name.lower().endswith(EXTENSIONS) and not name.startswith('.'))
        if not found:
            raise InputError(f'the folder {text} holds no image, nor does one below it ({", ".join(EXTENSIONS)}): give another')
        return Files(found, path, True, read)
    if path.suffix.lower() in VIDEO_EXTENSIONS:
        return Stream(text, limit)
    return Files([path], path.parent, False, read)
