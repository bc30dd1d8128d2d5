"""What a config's test pipeline and data preprocessor make of an image, in the words of a model file's metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from ..loaders import innermost_dataset, test_loader
from ..runtime.metadata import Padding, Resizing

_BACKENDS = (None, 'cv2', 'pillow', 'turbojpeg')
_LOADING = dict(color_type=('color', ), imdecode_backend=_BACKENDS)
_RESIZING = dict(scale_factor=(None, ), interpolation=('bilinear', ), backend=('cv2', ))
_KNOWN = 'LoadImageFromFile, Resize to one scale, Pad to one size, LoadAnnotations and PackDetInputs'


@dataclass(frozen=True)
class Preparation:
    """From an image file to a model's input; the attributes are those of :class:`mmilmil.runtime.metadata.Metadata`."""

    resize: Resizing
    pad: Padding
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    channels: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a fixed input: what the pipeline makes, padded; with ``keep_ratio`` of an image that lies and
        fills its scale."""
        width, height = self.resize.scale
        if self.resize.keep_ratio:
            width, height = max(width, height), min(width, height)
        if self.pad.size:
            height, width = self.pad.size
        return tuple(-(-side // self.divisor) * self.divisor for side in (height, width))

    @property
    def divisor(self) -> int:
        """What the sides of an input are multiples of."""
        return self.pad.divisor or 1


def preparation_of(cfg: Config) -> Preparation:
    """Read it from a config.

    Raises:
        InputError: a step or a setting of the pipeline or the data preprocessor is none that the runtime knows.
    """
    name = cfg.filename or 'the config'
    steps = [(_kind(step), step) for step in innermost_dataset(test_loader(cfg)).pipeline]
    where = f'the test pipeline of {name}'
    for kind, step in steps:
        if kind not in ('LoadImageFromFile', 'Resize', 'Pad', 'LoadAnnotations', 'PackDetInputs'):
            raise InputError(f'{where} has a {kind}, which the runtime of an exported model does not know: it knows {_KNOWN}')
        _check_settings(step, dict(LoadImageFromFile=_LOADING, Resize=_RESIZING).get(kind, {}), f'{where}: {kind}')
    resize = _only([step for kind, step in steps if kind == 'Resize'], f'{where} has', 'Resize')
    pads = [step for kind, step in steps if kind == 'Pad']
    pad = _only(pads, f'{where} has', 'Pad') if pads else None
    kinds = [kind for kind, _ in steps]
    if pad is not None and kinds.index('Pad') < kinds.index('Resize'):
        raise InputError(f'{where} has Pad before Resize, and the runtime of an exported model pads what is resized: put Pad '
                         'behind Resize')
    scale = resize.get('scale')
    if not _is_pair(scale):
        raise InputError(f'{where}: Resize.scale = {scale!r}: an exported model needs one width and height, such as '
                         '(1000, 600)')
    data = cfg.model.get('data_preprocessor') or {}
    if _kind(data) != 'DetDataPreprocessor':
        raise InputError(f'model.data_preprocessor of {name} is a {_kind(data)}: an exported model needs a DetDataPreprocessor')
    mean, std = (data.get(key) and tuple(map(float, data[key])) for key in ('mean', 'std'))
    return Preparation(
        resize=Resizing(tuple(scale), bool(resize.get('keep_ratio', False))),
        pad=_padding(pad, data, mean, std, where),
        mean=mean,
        std=std,
        channels='rgb' if data.get('bgr_to_rgb') or data.get('rgb_to_bgr') else 'bgr')


def _padding(pad: Mapping | None, data: Mapping, mean: Any, std: Any, where: str) -> Padding:
    divisor, value = data.get('pad_size_divisor', 1), float(data.get('pad_value', 0))
    divisor = divisor if divisor > 1 else None
    if pad is None:
        return Padding(divisor, None, (value, ) * 3)
    size = pad.get('size')
    _check_settings(pad, dict(size_divisor=(None, ), pad_to_square=(False, ), padding_mode=('constant', )), f'{where}: Pad')
    if not _is_pair(size):
        raise InputError(f'{where}: Pad.size = {size!r}: an exported model needs one width and height, such as (640, 640)')
    if any(side % (divisor or 1) for side in size):
        raise InputError(f'{where}: Pad.size = {size} is no multiple of model.data_preprocessor.pad_size_divisor = {divisor}: '
                         'an exported model pads once')
    given = pad.get('pad_val', 0)
    given = given.get('img', 0) if isinstance(given, Mapping) else given
    given = [float(one) for one in (given if isinstance(given, Sequence) else [given] * 3)]
    # The pipeline pads in the file's order, blue first, and before normalisation.
    given = given[::-1] if data.get('bgr_to_rgb') or data.get('rgb_to_bgr') else given
    if mean:
        given = [(one - middle) / spread for one, middle, spread in zip(given, mean, std)]
    return Padding(divisor, (size[1], size[0]), tuple(given))


def _kind(step: Mapping) -> str:
    kind = step.get('type', '')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', repr(kind))


def _check_settings(step: Mapping, allowed: Mapping[str, Sequence], where: str) -> None:
    for name, values in allowed.items():
        if name in step and step[name] not in values:
            raise InputError(f'{where}.{name} = {step[name]!r}, which the runtime of an exported model does not know: it knows '
                             f'{" and ".join(repr(value) for value in values if value is not None) or "none"}')


def _only(steps: Sequence[Mapping], where: str, kind: str) -> Mapping:
    if len(steps) != 1:
        raise InputError(f'{where} {len(steps) or "no"} {kind}, and an exported model needs one: it knows {_KNOWN}')
    return steps[0]


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(side, int) and side > 0 for side in value)
