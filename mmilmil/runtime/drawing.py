"""Detections drawn into their image: a family of colours for the old classes, another for the new ones."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ..atomic_write import write_atomically
from ..class_colors import class_colors
from ..errors import InputError
from .detections import Detections


def draw(pixels: np.ndarray, detections: Detections, split: tuple[int, ...]) -> Image.Image:
    """The image with a box of each detection in its class's colour, its name and score above it.

    Args:
        pixels: (H, W, 3), values from 0 to 255, in the order blue, green, red.
        detections: What to draw; the surest are drawn last, over all others.
        split: Number of classes of each group.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1].astype(np.uint8)))
    canvas = ImageDraw.Draw(image)
    colors = class_colors(split)
    line = max(1, round(min(image.size) / 300))
    font = ImageFont.load_default(max(10, round(min(image.size) / 40)))
    for index in reversed(range(len(detections))):
        color = colors[detections.labels[index]]
        x1, y1, x2, y2 = detections.boxes[index].tolist()
        canvas.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=line)
        text = f'{detections.names[index]} {detections.scores[index]:.2f}'
        left, top, right, bottom = canvas.textbbox((0, 0), text, font)
        width, height = right - left + 4, bottom - top + 4
        x = max(0, min(x1, image.width - width))
        y = y1 - height if y1 >= height else y1
        canvas.rectangle((x, y, x + width, y + height), fill=color)
        canvas.text((x + 2 - left, y + 2 - top), text, fill=_ink(color), font=font)
    return image


def _ink(color: str) -> str:
    red, green, blue = ImageColor.getrgb(color)
    return 'black' if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else 'white'


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all, in the format that the file's name ends in.

    Raises:
        InputError: Pillow writes no such format, or the file cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise InputError(f'{path}: Pillow writes no {path.suffix or "files without an ending"}: name a .jpg or a .png')
    with io.BytesIO() as buffer:
        image.save(buffer, kind, **(dict(quality=95) if kind in ('JPEG', 'WEBP') else {}))
        write_atomically(buffer.getvalue(), path)
