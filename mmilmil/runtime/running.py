"""Detecting in everything that a source gives, with pictures and a JSON file of it."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..arguments import check_file, check_folder
from ..atomic_write import write_atomically
from ..errors import InputError
from .detections import Detections, document, plain
from .drawing import draw, save_picture
from .images import EXTENSIONS
from .sources import VIDEO_EXTENSIONS, Files, Frame, Stream, opencv


@dataclass
class Model:
    """What detects, whatever it is made of.

    Attributes:
        detect: From pixels (H, W, 3), uint8, in the order blue, green, red.
        name: What it is, for the JSON file.
        classes, split: Names in the order of the labels, and the number of classes of each group.
        score_thr: Detections of lower scores are left out.
    """

    detect: Callable[[np.ndarray], Detections]
    name: str
    classes: Sequence[str]
    split: Sequence[int]
    score_thr: float


@dataclass
class Totals:
    """What a run came to.

    Attributes:
        images: Number of images in which was detected.
        detections: Number of detections.
        seconds: Of everything: reading, detecting, drawing, writing.
        model_seconds: Of detecting alone, from pixels to boxes.
        failed: Names of the images of a folder that could not be used.
    """

    images: int = 0
    detections: int = 0
    seconds: float = 0.
    model_seconds: float = 0.
    failed: list[str] = field(default_factory=list)

    def line(self, what: str = 'images') -> str:
        """The same in a sentence.

        Args:
            what: What the images are called.
        """
        if not self.images:
            return f'no {what}'
        return (f'{self.images} {what}, {self.detections} detections, {self.images / self.seconds:.1f} {what} a second '
                f'({self.images / self.model_seconds:.1f} by the model alone)')


class Drawings:
    """Where pictures of the detections go.

    Args:
        out: A folder; of a single image also a file, of a video or a camera also a video file.
        source: What is detected in.
        option: What names it, for messages.

    Raises:
        InputError: it cannot be written, does not fit the source, or would replace the images that are read.
    """

    def __init__(self, out: str | Path, source: Files | Stream, option: str = '--draw') -> None:
        self.option = option
        self.out, self.source = Path(out), source
        suffix = self.out.suffix.lower()
        self._video = None
        self.is_video = suffix in VIDEO_EXTENSIONS and not self.out.is_dir()
        self.is_file = suffix in EXTENSIONS and not self.out.is_dir()
        files = isinstance(source, Files)
        if self.is_video and files:
            raise InputError(f'{option} {out} is the name of a video, and images are drawn one by one: name a folder')
        if self.is_file and (not files or source.is_folder):
            raise InputError(f'{option} {out} is the name of one picture, and there may be many: name a folder')
        if self.is_video or self.is_file:
            check_file(self.out, option)
        else:
            check_folder(self.out, option)
        read = _files_of(source)
        if any(os.path.realpath(path) in read for path in self._targets()):
            raise InputError(f'{option} {out} would replace what is read: name another place')

    def _targets(self) -> Iterable[Path]:
        if isinstance(self.source, Files):
            return map(self._target, self.source)
        return [self.out]

    def _target(self, frame: Frame) -> Path:
        if self.is_file or self.is_video:
            return self.out
        return self.out / (frame.name if frame.number is None else f'{frame.name}.jpg')

    def add(self, frame: Frame, pixels: np.ndarray, detections: Detections, split: Sequence[int]) -> None:
        """Draw one image's, in the colours of groups of so many classes."""
        image = draw(pixels, detections, split)
        target = self._target(frame)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not self.is_video:
            save_picture(image, target)
            return
        if self._video is None:
            cv2 = opencv()
            self._part = self.out.with_name(f'{self.out.stem}.part{self.out.suffix}')
            code = cv2.VideoWriter_fourcc(*('MJPG' if self.out.suffix.lower() == '.avi' else 'mp4v'))
            rate = self.source.frames_per_second or 25.
            self._video = cv2.VideoWriter(str(self._part), code, rate, image.size)
            if not self._video.isOpened():
                raise InputError(f'{self.option} {self.out}: this OpenCV writes no such video; name an .mp4, an .avi or a '
                                 'folder')
        self._video.write(np.asarray(image)[:, :, ::-1])

    def close(self, whole: bool) -> None:
        """End a video; one that is not whole is removed."""
        if self._video is not None:
            self._video.release()
            if whole:
                os.replace(self._part, self.out)
            else:
                self._part.unlink(missing_ok=True)


def _files_of(source: Files | Stream) -> set[str]:
    """Real paths of what is read."""
    return set(map(os.path.realpath, source.paths if isinstance(source, Files) else [source.name]))


def check_outputs(source: Files | Stream, json_file: str | None, pictures: str | None,
                  option: str = '--draw') -> Drawings | None:
    """Tell what cannot be written, before anything is detected.

    Raises:
        InputError: names it.
    """
    if json_file:
        check_file(json_file, '--json')
        if os.path.realpath(json_file) in _files_of(source):
            raise InputError(f'--json {json_file} would replace what is read: name another file')
    return Drawings(pictures, source, option) if pictures else None


def run(source: Files | Stream, model: Model, drawings: Drawings | None = None, json_file: str | None = None,
        tell: Callable[[str], None] = print, each: Callable[[Frame, Detections], None] = lambda frame, found: None,
        shown: Callable[[Iterable[Frame]], Iterable[Frame]] = iter) -> Totals:
    """Detect in all images of a source.

    An image of a folder that cannot be used is told, and the others follow; it has an ``error`` in the JSON file. A camera
    ends by Ctrl-C, after which the files are written as at any end.

    Args:
        source: Where the images come from.
        model: What detects.
        drawings: Where pictures go.
        json_file: File for the detections, see :func:`~mmilmil.runtime.detections.document`.
        tell: Takes what a user should know of an image.
        each: Called with each image's detections.
        shown: Goes round the images, as a progress bar does.

    Raises:
        InputError: an image cannot be used that is the only one asked for, or a file cannot be written.
    """
    totals, images, whole = Totals(), [], False
    started = time.perf_counter()
    try:
        for frame in shown(source):
            entry = dict(file=frame.name) if frame.number is None else dict(frame=frame.number)
            try:
                pixels, notes = frame.load()
                before = time.perf_counter()
                found = _detect(model, frame, pixels)
                totals.model_seconds += time.perf_counter() - before
            except InputError as error:
                if not (isinstance(source, Files) and source.is_folder):
                    raise
                tell(f'left out: {error}')
                totals.failed.append(frame.name)
                images.append(dict(entry, error=str(error)))
                continue
            for note in notes:
                tell(note)
            totals.images += 1
            totals.detections += len(found)
            if json_file:
                height, width = pixels.shape[:2]
                images.append(dict(entry, width=width, height=height, detections=plain(found)))
            if drawings:
                drawings.add(frame, pixels, found, model.split)
            each(frame, found)
        whole = True
    except KeyboardInterrupt:
        if not (isinstance(source, Stream) and source.is_camera):
            raise
        whole = True
    finally:
        if drawings:
            drawings.close(whole)
    if json_file:
        content = document(model.name, model.classes, model.split, model.score_thr, images)
        Path(json_file).parent.mkdir(parents=True, exist_ok=True)
        write_atomically((json.dumps(content, indent=1) + '\n').encode(), Path(json_file))
    totals.seconds = time.perf_counter() - started
    return totals


def _detect(model: Model, frame: Frame, pixels: np.ndarray) -> Detections:
    try:
        return model.detect(pixels)
    except InputError as error:
        raise InputError(f'{frame.name}: {error}') from error


def check_complete(totals: Totals) -> None:
    """Nothing of a folder was left out.

    Raises:
        InputError: names what was.
    """
    if totals.failed:
        shown = ', '.join(totals.failed[:5]) + (', ...' if len(totals.failed) > 5 else '')
        raise InputError(f'{len(totals.failed)} of {len(totals.failed) + totals.images} images are left out ({shown}), for the '
                         'reasons above: replace them, or take them out of the folder')


def counted(detections: Detections) -> str:
    """``3 detections (car 2, bus 1)``."""
    counts = ', '.join(f'{name} {count}' for name, count in Counter(detections.names).most_common())
    return f'{len(detections)} detection{"s" * (len(detections) != 1)}' + (f' ({counts})' if counts else '')
