"""An exported detector, run without torch."""

from pathlib import Path

import numpy as np

from ..checksums import check_unchanged
from ..errors import InputError
from .backends import BACKENDS
from .detections import Detections
from .images import read_image
from .metadata import Metadata
from .preprocessing import preprocess

MODEL_FILE = 'model.onnx'
INT8_FILE = 'model.int8.onnx'
_INPUTS = ('image', 'image_shape')
_OUTPUTS = ('boxes', 'scores', 'labels')


class Detector:
    """An exported detector: ``Detector('DIR')('street.jpg')`` is what it finds.

    Args:
        folder: What ``tools/export_onnx.py`` wrote; a model file in it will do.
        int8: Run the quantised model.
        score_thr: Detections of lower scores are left out; those below the metadata's are not in the model's outputs anyway.
        threads: Number of threads; 0: as many as ONNX Runtime takes.
        providers: ONNX Runtime's execution providers, in the order of preference; none: the CPU's.
        backend: What computes: ``onnxruntime`` or ``openvino``.

    Attributes:
        metadata: What the model says of itself.
        path: The model's file.

    Raises:
        InputError: the backend is not there, nor an execution provider; the model is missing, changed since it was exported,
            damaged, not mmilmil's or of another format.
    """

    def __init__(self, folder: str | Path, int8: bool = False, score_thr: float = 0., threads: int = 0,
                 providers: tuple[str, ...] = (), backend: str = 'onnxruntime') -> None:
        if backend not in BACKENDS:
            raise InputError(f'backend = {backend!r}: it must be one of {", ".join(BACKENDS)}')
        self.path = model_file(Path(folder), int8)
        self.score_thr = score_thr
        check_unchanged(self.path)
        self._backend = BACKENDS[backend](self.path, threads, providers)
        self.metadata = Metadata.from_props(self._backend.props, str(self.path))
        has = (self._backend.inputs, self._backend.outputs)
        # An input that nothing in the graph reads may have been taken out of it.
        if not set(has[0]) <= set(_INPUTS) or 'image' not in has[0] or not set(_OUTPUTS) <= set(has[1]):
            raise InputError(f'{self.path} reads {", ".join(has[0])} and gives {", ".join(has[1])}, not {", ".join(_INPUTS)} '
                             f'and {", ".join(_OUTPUTS)}: export the checkpoint again')
        self._inputs = has[0]

    def __call__(self, image: str | Path | np.ndarray) -> Detections:
        """Detect.

        Args:
            image: File, or pixels (H, W, 3), uint8, in the order blue, green, red, as OpenCV gives them.

        Raises:
            InputError: the file cannot be read, see :func:`~mmilmil.runtime.images.read_image`, the pixels are of another
                form, or see :func:`~mmilmil.runtime.preprocessing.preprocess`.
        """
        pixels = image if isinstance(image, np.ndarray) else read_image(image)[0]
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise InputError(f'pixels are (H, W, 3) of uint8, blue, green and red, and these are {pixels.shape} of '
                             f'{pixels.dtype}')
        try:
            given = preprocess(pixels, self.metadata)
        except InputError as error:
            raise error if image is pixels else InputError(f'{image}: {error}') from error
        boxes, scores, labels = self.run(given.image, given.image_shape)
        # Multiplied by the inverse, as MMDetection does, for the same last digits.
        inverse = np.float32([1 / factor for factor in given.scale_factor] * 2)
        return Detections.of(boxes * inverse, scores, labels, self.metadata.classes, self.metadata.split, self.score_thr)

    def run(self, image: np.ndarray, image_shape: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N, 4) in pixels of the resized image, scores (N,) and labels (N,), best first, of a prepared image.

        Args:
            image: (1, 3, H, W) float32, of the model's size.
            image_shape: (2,) int64, height and width without the padding.
        """
        feed = dict(image=image, image_shape=image_shape)
        return self._backend.run(_OUTPUTS, {name: feed[name] for name in self._inputs})


def model_file(folder: Path, int8: bool = False) -> Path:
    """The model's file in a folder of the exporter.

    Raises:
        InputError: it is not there.
    """
    name = INT8_FILE if int8 else MODEL_FILE
    path = folder / name if folder.is_dir() else folder
    if path.is_file():
        return path
    if not folder.exists():
        raise InputError(f'{folder} does not exist: give the folder that tools/export_onnx.py wrote')
    hint = 'export the checkpoint with --int8 IMAGES' if int8 else 'give the folder that tools/export_onnx.py wrote'
    raise InputError(f'{folder} has no {name}: {hint}')
