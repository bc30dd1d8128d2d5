"""What a model file says of itself, beside its graph: all that is needed to run it on an image and to name what it finds.

It stands in the ONNX file's ``metadata_props``, a JSON text by key.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import InputError
from ..version import __version__

FORMAT = 1
"""The form that this version writes and reads."""

PREFIX = 'mmilmil.'
"""What every key begins with."""


@dataclass(frozen=True)
class Resizing:
    """MMDetection's ``Resize``.

    Attributes:
        scale: Width and height in pixels, as the config has them; with ``keep_ratio`` the limits of the sides, the larger one
            for an image's longer side.
        keep_ratio: Whether width and height keep their ratio.
    """

    scale: tuple[int, int]
    keep_ratio: bool


@dataclass(frozen=True)
class Padding:
    """What is added to the right and below the resized image.

    Attributes:
        divisor: Sides become multiples of it (the data preprocessor's); None: they stay.
        size: Height and width of the pipeline's ``Pad``, which comes first and counts as a part of the image, as in
            MMDetection; None: there is none.
        value: Of the added pixels as the model reads them: **after** normalisation, in the order of :attr:`Metadata.channels`.
            So that is the data preprocessor's ``pad_value`` as it stands, but ``(pad_val - mean) / std`` of a ``Pad``.
    """

    divisor: int | None
    size: tuple[int, int] | None
    value: tuple[float, float, float]


@dataclass(frozen=True)
class Metadata:
    """What a model file says of itself.

    Attributes:
        detector: Type of the detector, such as ``FasterRCNN``.
        classes: Names, in the order of the labels.
        split: Number of classes of each group, the new ones last; one number of a first stage.
        checkpoint_sha256: Hash of the checkpoint that was exported.
        config: Name of its config file.
        resize: How an image is resized.
        pad: How it is padded.
        mean, std: Taken off the pixels (0 to 255), and what they are divided by then, in the order of ``channels``; None where
            they are left as they are.
        channels: What the model reads, ``bgr`` or ``rgb``.
        input_size: Height and width of a model of fixed input size; None: any.
        score_thr: Detections of lower scores are not in the model's outputs.
        max_per_img: At most so many detections are.
        version: Version of mmilmil that wrote the file.

    Raises:
        InputError: a value is of another type or contradicts another one; it names both.
    """

    detector: str
    classes: tuple[str, ...]
    split: tuple[int, ...]
    checkpoint_sha256: str
    config: str
    resize: Resizing
    pad: Padding
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    channels: str
    input_size: tuple[int, int] | None
    score_thr: float
    max_per_img: int
    version: str = __version__

    def __post_init__(self) -> None:
        for name, (what, fits) in _RULES.items():
            value = getattr(self, name)
            if not fits(value):
                raise InputError(f'{name} = {_shown(value)}: it must be {what}')
        if sum(self.split) != len(self.classes):
            raise InputError(f'split = {list(self.split)} and {len(self.classes)} classes: a class belongs to one group')
        if (self.mean is None) != (self.std is None):
            raise InputError(f'mean = {_shown(self.mean)} and std = {_shown(self.std)}: both are given, or none')

    def to_props(self) -> dict[str, str]:
        """The ``metadata_props`` of an ONNX file."""
        values = dict(format=FORMAT, **asdict(self))
        return {f'{PREFIX}{name}': json.dumps(value, allow_nan=False) for name, value in values.items()}

    @classmethod
    def from_props(cls, props: Mapping[str, str], source: str = 'the model file') -> 'Metadata':
        """The inverse of :meth:`to_props`; keys of others are passed over.

        Args:
            props: The ``metadata_props`` of an ONNX file.
            source: The file, for messages.

        Raises:
            InputError: the file is none of mmilmil's, is of another format, or has a value that cannot be used.
        """
        found = {}
        for name in ('format', *(field.name for field in fields(cls))):
            text = props.get(f'{PREFIX}{name}')
            if text is None and name == 'format':
                raise InputError(f'{source} is no model of tools/export_onnx.py (its metadata has no {PREFIX}format): export a '
                                 'checkpoint by that tool, and name the folder that it wrote')
            if text is None:
                raise InputError(f'{source} lacks {PREFIX}{name} in its metadata: {_EXPORT_AGAIN}')
            try:
                found[name] = json.loads(text)
            except ValueError as error:
                raise InputError(f'{source}: {PREFIX}{name} = {text!r} is no JSON: {_EXPORT_AGAIN}') from error
            if name == 'format' and (type(found[name]) is not int or found[name] != FORMAT):
                writer = props.get(f'{PREFIX}version', 'of an unknown version').strip('"')
                raise InputError(f'{source} is of format {found[name]}, written by mmilmil {writer}, and mmilmil {__version__} '
                                 f'reads format {FORMAT}: export the checkpoint by this version, or install that one')
        del found['format']
        try:
            resize, pad = (_part(kind, name, found.pop(name)) for kind, name in ((Resizing, 'resize'), (Padding, 'pad')))
            return cls(resize=resize, pad=pad, **{name: _tuple(value) for name, value in found.items()})
        except InputError as error:
            raise InputError(f'{source}: {PREFIX}{error}; {_EXPORT_AGAIN}') from error


_EXPORT_AGAIN = 'it was changed since it was written, so export the checkpoint again'


def _part(kind: type, name: str, value: Any) -> Any:
    names = [field.name for field in fields(kind)]
    if not isinstance(value, dict) or sorted(value) != sorted(names):
        raise InputError(f'{name} = {_shown(value)}: it must have {", ".join(names)}')
    return kind(**{key: _tuple(item) for key, item in value.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return type(value) is int and value > 0


def _some(fits: Callable[[Any], bool], count: int | None = None) -> Callable[[Any], bool]:
    """A sequence of at least one that fits, or of so many."""
    return lambda value: (isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
                          and count in (None, len(value)) and all(map(fits, value)))


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ''


_TEXT = ('a text', _is_text)
_SIZE = ('height and width in pixels, or null', _or_none(_some(_is_whole, 2)))
_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    'detector': _TEXT,
    'classes': ('a list of different names', lambda value: _some(_is_text)(value) and len(set(value)) == len(value)),
    'split': ('a list of numbers of classes', _some(_is_whole)),
    'checkpoint_sha256': _TEXT,
    'config': _TEXT,
    'resize': ('a scale of width and height in pixels, and keep_ratio true or false',
               lambda value: _some(_is_whole, 2)(value.scale) and isinstance(value.keep_ratio, bool)),
    'pad': ('a divisor or null, a size of height and width or null, and a value of three numbers',
            lambda value: _or_none(_is_whole)(value.divisor) and _SIZE[1](value.size) and _some(_is_number, 3)(value.value)),
    'mean': ('three numbers, or null', _or_none(_some(_is_number, 3))),
    'std': ('three numbers above 0, or null', _or_none(_some(lambda value: _is_number(value) and value > 0, 3))),
    'channels': ('bgr or rgb', lambda value: value in ('bgr', 'rgb')),
    'input_size': _SIZE,
    'score_thr': ('a number', _is_number),
    'max_per_img': ('a whole number above 0', _is_whole),
    'version': _TEXT,
}
