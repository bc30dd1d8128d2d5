"""From an image to what a model reads: MMDetection's test pipeline and data preprocessor, in NumPy."""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .metadata import Metadata
from .resizing import rescaled_size, resize


@dataclass(frozen=True)
class ModelInput:
    """What a model reads of an image.

    Attributes:
        image: (1, 3, H, W), float32: resized, padded, normalised.
        image_shape: (2,), int64: height and width of what boxes are clipped to, in pixels of ``image``.
        scale_factor: What width and height of the image were multiplied by.
    """

    image: np.ndarray
    image_shape: np.ndarray
    scale_factor: tuple[float, float]


def preprocess(pixels: np.ndarray, metadata: Metadata) -> ModelInput:
    """Resize, pad and normalise an image as the model's metadata says.

    Args:
        pixels: (H, W, 3), uint8, in the order blue, green, red.
        metadata: The model's.

    Raises:
        InputError: the image does not fit into a model of fixed input size, or is so narrow that a side vanishes.
    """
    height, width = pixels.shape[:2]
    new_width, new_height = rescaled_size(width, height, metadata.resize.scale, metadata.resize.keep_ratio)
    if not new_width or not new_height:
        raise InputError(f'the image has {width}x{height} pixels (width x height), of which the model would see '
                         f'{new_width}x{new_height}: cut it into pieces')
    resized = resize(pixels, new_width, new_height)
    values = resized.astype(np.float32)[:, :, ::-1 if metadata.channels == 'rgb' else 1]
    if metadata.mean is not None:
        values = (values - np.float32(metadata.mean)) / np.float32(metadata.std)
    shape, frame = (new_height, new_width), metadata.pad.size
    if frame is not None:  # the pipeline's Pad leaves as it is what is larger
        shape = tuple(np.maximum(shape, frame).tolist())
    padded = [-(-side // (metadata.pad.divisor or 1)) * (metadata.pad.divisor or 1) for side in shape]
    if metadata.input_size is not None:
        if padded[0] > metadata.input_size[0] or padded[1] > metadata.input_size[1]:
            raise InputError(f'the image has {width}x{height} pixels (width x height) and is resized and padded to '
                             f'{padded[1]}x{padded[0]}, but the model reads {metadata.input_size[1]}x{metadata.input_size[0]}: '
                             'turn it, or export the model with --dynamic, or with a --size that takes it')
        padded = metadata.input_size
    image = np.empty((1, 3, *padded), np.float32)
    image[0] = np.float32(metadata.pad.value)[:, None, None]
    image[0, :, :new_height, :new_width] = values.transpose(2, 0, 1)
    return ModelInput(image, np.array(shape, np.int64), (new_width / width, new_height / height))
