"""OpenCV's bilinear resizing, to the last bit, and the sizes that MMDetection asks it for."""

import numpy as np

_ONE = 2048  # weights are fixed-point numbers of 11 bits
_ROWS = 32  # resized at a time, which is faster than all at once and takes little memory


def rescaled_size(width: int, height: int, scale: tuple[int, int], keep_ratio: bool) -> tuple[int, int]:
    """The size that MMDetection's ``Resize`` makes of an image's.

    Args:
        width, height: The image's, in pixels.
        scale: See :class:`~mmilmil.runtime.metadata.Resizing`.
        keep_ratio: Likewise.

    Returns:
        Width and height in pixels; 0 of a side that vanishes.
    """
    if not keep_ratio:
        return scale
    factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    return int(width * factor + 0.5), int(height * factor + 0.5)


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize as ``cv2.resize`` does with ``INTER_LINEAR``: centres of pixels on centres, no smoothing.

    Args:
        image: (H, W, C), uint8.
        width, height: The new size in pixels.

    Returns:
        (height, width, C), uint8.
    """
    rows, columns, channels = image.shape
    if (rows, columns) == (height, width):
        return image
    left, right = _places(columns, width)
    beyond = (left < 0) | (left >= columns - 1)  # there OpenCV takes the outermost column alone; rows it weighs twice
    right = np.where(beyond, 0, right)
    left = left.clip(0, columns - 1)
    across = _weights(right)
    across = [np.repeat(weights, channels) for weights in across]
    places = [(start[:, None] * channels + np.arange(channels)).ravel() for start in (left, np.minimum(left + 1, columns - 1))]
    top, lower = _places(rows, height)
    down = [weights[:, None] for weights in _weights(lower)]
    above, below = top.clip(0, rows - 1), (top + 1).clip(0, rows - 1)
    flat = image.reshape(rows, columns * channels)
    resized = np.empty((height, width * channels), np.uint8)
    for start in range(0, height, _ROWS):
        part = slice(start, start + _ROWS)
        needed, where = np.unique(np.stack([above[part], below[part]]), return_inverse=True)
        where = where.reshape(2, -1)
        source = flat[needed].astype(np.int32)
        lines = _sum([np.take(source, place, axis=1) * weights for place, weights in zip(places, across)]) >> 4
        resized[part] = (_sum([(lines[row] * weights[part]) >> 16 for row, weights in zip(where, down)]) + 2) >> 2
    return resized.reshape(height, width, channels)


def _sum(terms: list[np.ndarray]) -> np.ndarray:
    return terms[0] + terms[1]


def _places(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new pixel the old one to its left (or above), and the share of the one behind that."""
    scale = 1 / (after / before)  # rounded as OpenCV does
    place = ((np.arange(after) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(place)
    return first.astype(np.int64), place - first


def _weights(second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fixed-point weights of both, from the share of the second."""
    second = second.astype(np.float32)
    return tuple(np.rint(share * np.float32(_ONE)).astype(np.int32) for share in (np.float32(1) - second, second))
