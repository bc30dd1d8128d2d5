"""A page of pictures with boxes and labels, measured in pixels."""

import contextlib
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle

from ..log_level import at_level

_DPI = 100  # only a unit: everything below is in pixels
_FONT = 'DejaVu Sans'  # matplotlib's own
# Dash and gap in pixels.
_DASHES = dict(solid=None, dashed=(8, 5), dotted=(2.5, 3.5))


def _quietly() -> contextlib.AbstractContextManager:
    """Without a line for each font of the system that has no bold letters."""
    return at_level(logging.getLogger('matplotlib.font_manager'), logging.ERROR)


class Sheet:
    """A white page whose coordinates are pixels from its top left corner.

    Args:
        width, height: In pixels.
        fonts: Families in which a letter is looked for, see :func:`fonts_for`.
    """

    def __init__(self, width: float, height: float, fonts: Sequence[str] = (_FONT, )) -> None:
        self.width, self.height, self.fonts = round(width), round(height), list(fonts)
        self.figure = Figure((self.width / _DPI, self.height / _DPI), dpi=_DPI, facecolor='white')
        self.renderer = FigureCanvasAgg(self.figure).get_renderer()
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0))
        self.axes.axis('off')
        self.axes.set_autoscale_on(False)

    def text(self, text: str, x: float, y: float, size: float, color: str = 'black', **kwargs):
        """Write ``text`` ``size`` pixels high; ``$`` is no formula."""
        return self.axes.text(x, y, text, fontsize=size * 72 / _DPI, color=color, parse_math=False,
                              **{'va': 'center_baseline', 'fontfamily': self.fonts, **kwargs})

    def measure(self, text: str, size: float, **kwargs) -> tuple[float, float]:
        """Width and height that ``text`` will take."""
        probe = self.text(text, 0, 0, size, **kwargs)
        with _quietly():
            extent = probe.get_window_extent(self.renderer)
        probe.remove()
        return extent.width, extent.height

    def fitted(self, text: str, width: float, size: float, **kwargs) -> str:
        """``text``, or as much of its beginning as fits into ``width``, with an ellipsis."""
        if self.measure(text, size, **kwargs)[0] <= width:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.measure(f'{text[:middle]}…', size, **kwargs)[0] <= width else (low, middle - 1)
        return f'{text[:low]}…'

    def box(self, x1: float, y1: float, x2: float, y2: float, color: str, dashed: bool = False, clip=None,
            dashes: str = 'solid', width: float = 2.4, fill: float = 0) -> None:
        """The outline of a box, with a white rim that parts it from any picture.

        Args:
            x1, y1, x2, y2: Its corners.
            color: Of the line.
            dashed: As ``dashes='dashed'``.
            clip: What it is cut off by.
            dashes: ``'solid'``, ``'dashed'`` or ``'dotted'``.
            width: Of the line.
            fill: How much of the colour lies over the picture in it, 0 to 1.
        """
        if fill:
            self._add(Rectangle((x1, y1), x2 - x1, y2 - y1, facecolor=color, edgecolor='none', alpha=fill), clip)
        pattern = _DASHES['dashed' if dashed else dashes]
        for edge, line in (('white', width + 1.8), (color, width)):
            # Dashes are counted in line widths: the same pixels for the rim as for the line.
            style = (0, tuple(part / line for part in pattern)) if pattern else '-'
            self._add(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=edge, linewidth=line * 72 / _DPI,
                                linestyle=style, joinstyle='miter', alpha=0.55 if edge == 'white' else None), clip)

    def line(self, x: Sequence[float], y: Sequence[float], color: str, width: float, clip=None) -> None:
        """A line with a white rim."""
        for edge, wide in (('white', width + 1.6), (color, width)):
            drawn, = self.axes.plot(x, y, color=edge, linewidth=wide * 72 / _DPI, alpha=0.55 if edge == 'white' else None)
            if clip is not None:
                drawn.set_clip_path(clip)

    def _add(self, patch: Rectangle, clip) -> None:
        self.axes.add_patch(patch)
        if clip is not None:
            patch.set_clip_path(clip)

    def save(self, out_file: str) -> None:
        """Write it to a file, whose ending is the format."""
        with _quietly():
            self.figure.savefig(out_file, dpi=_DPI)

    def content(self, kind: str) -> bytes:
        """What a file of it holds, in a format such as ``png`` or ``jpg``."""
        with io.BytesIO() as buffer, _quietly():
            self.figure.savefig(buffer, dpi=_DPI, format=kind, pil_kwargs=dict(quality=92) if kind == 'jpg' else {})
            return buffer.getvalue()

    def pixels(self) -> np.ndarray:
        """It as (height, width, 3), RGB, uint8."""
        with _quietly():
            self.figure.canvas.draw()
        return np.asarray(self.figure.canvas.buffer_rgba())[:, :, :3].copy()


@dataclass
class Cell:
    """One picture of the grid; takes boxes in pixels of the image."""

    sheet: Sheet
    left: float
    top: float
    width: float
    height: float
    scale: float
    labels: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frame = Rectangle(
            (self.left, self.top), self.width, self.height, fill=False, edgecolor='#bbbbbb', linewidth=1)
        self.sheet.axes.add_patch(self.frame)

    def picture(self, image: np.ndarray) -> None:
        """Draw an image, (H, W, 3), RGB, in the size of the cell."""
        method = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC
        shown = cv2.resize(image, (round(self.width), round(self.height)), interpolation=method)
        extent = (self.left, self.left + self.width, self.top + self.height, self.top)
        self.sheet.axes.imshow(shown, extent=extent, aspect='auto', interpolation='none')

    def box(self, box: np.ndarray, color: str, dashed: bool = False, **kwargs) -> None:
        """Draw a box; see :meth:`Sheet.box`."""
        self.sheet.box(*self._place(box), color, dashed=dashed, clip=self.frame, **kwargs)

    def cross(self, box: np.ndarray, color: str) -> None:
        """Cross a box out."""
        x1, y1, x2, y2 = self._place(box)
        self.sheet.line((x1, x2), (y1, y2), color, 1.0, self.frame)
        self.sheet.line((x1, x2), (y2, y1), color, 1.0, self.frame)

    def label(self, text: str, box: np.ndarray, boxes: np.ndarray, color: str, outlined: bool = False, size: float = 12,
              must: bool = True) -> bool:
        """Write ``text`` at ``box`` where it hides the least of other labels and boxes.

        Where no corner of the box is free of labels, it is written in the nearest place that is, with a line to the box.

        Args:
            text: What to write.
            box: (4,), in pixels of the image.
            boxes: (N, 4), those that are rather not hidden.
            color: Of its ground, or, outlined, of its letters.
            outlined: Whether it is written on white.
            size: Of the letters.
            must: Whether it is written even where it hides another label.

        Returns:
            Whether it was written.
        """
        text = self.sheet.fitted(text, self.width - 8, size)
        width, height = self.sheet.measure(text, size=size)
        width, height = width + 8, height + 5
        x1, y1, x2, y2 = self._place(box)
        corners = [(x1, y1 - height), (x2 - width, y1 - height), (x1, y2), (x2 - width, y2), (x2, y1), (x1 - width, y1),
                   (x1, y1), (x1, y2 - height)]
        right, bottom = self.left + self.width - width, self.top + self.height - height
        places = np.array([(min(max(x, self.left), right), min(max(y, self.top), bottom)) for x, y in corners])
        places = np.hstack([places, places + (width, height)])
        others = np.array([self._place(other) for other in boxes]).reshape(-1, 4)
        taken = np.array(self.labels).reshape(-1, 4)
        near = self._hidden(places, taken, others) + np.arange(len(places)) * 0.02
        place, apart = places[near.argmin()], False
        if shared(place[None], taken).any():
            found = self._free(width, height, (x1, y1, x2, y2), taken, others)
            if found is None and not must:
                return False
            place, apart = (place, False) if found is None else (found, True)
        if apart:
            self.sheet.line(*zip(_nearest((x1, y1, x2, y2), place), _nearest(place, (x1, y1, x2, y2))), color, 1.2, self.frame)
        self.labels.append(place)
        self.sheet.axes.add_patch(Rectangle(
            place[:2], width, height, facecolor='white' if outlined else color, edgecolor=color if outlined else 'white',
            linewidth=1.0 if outlined else 0.5, zorder=3))
        self.sheet.text(text, place[0] + 4, (place[1] + place[3]) / 2, size=size, zorder=3,
                        color=_darker(color) if outlined else ink(color))
        return True

    def _hidden(self, places: np.ndarray, taken: np.ndarray, others: np.ndarray) -> np.ndarray:
        """How much of labels, 100 times, and of boxes lies under a label, as shares of its area, (P,)."""
        area = np.prod(places[:, 2:] - places[:, :2], axis=1)
        return (100 * shared(places, taken).sum(axis=1) + shared(places, others).sum(axis=1)) / area

    def _free(self, width: float, height: float, box: Sequence[float], taken: np.ndarray, others: np.ndarray
              ) -> np.ndarray | None:
        """The place nearest to a box that is free of labels; None where none is."""
        x = np.arange(self.left, self.left + self.width - width + 1, 12)
        y = np.arange(self.top, self.top + self.height - height + 1, height / 2)
        places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        places = np.hstack([places, places + (width, height)])
        for other in taken:  # one by one, so that few places are left to look at
            places = places[~shared(places, other[None]).any(axis=1)]
        if not len(places):
            return None
        gap = np.maximum(np.maximum(box[:2] - places[:, 2:], places[:, :2] - np.asarray(box[2:])), 0)
        return places[(np.hypot(*gap.T) / height + self._hidden(places, taken, others)).argmin()]

    def _place(self, box: np.ndarray) -> np.ndarray:
        return np.asarray(box) * self.scale + (self.left, self.top, self.left, self.top)


def shared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Areas that boxes (N, 4) and (M, 4) share, (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=-1)


def ink(color: str) -> str:
    """Black or white, whichever is read better on a colour."""
    red, green, blue = to_rgb(color)
    return 'black' if 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 else 'white'


def _darker(color: str) -> tuple[float, ...]:
    """A colour that is read on white."""
    rgb = to_rgb(color)
    light = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]
    return tuple(part * min(1, 0.42 / max(light, 0.01)) for part in rgb)


def _nearest(box: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The point of a box that is nearest to another one's middle."""
    middle = ((other[0] + other[2]) / 2, (other[1] + other[3]) / 2)
    return tuple(min(max(value, low), high) for value, low, high in zip(middle, box[:2], box[2:]))


def fonts_for(texts: Iterable[str]) -> tuple[list[str], str]:
    """Families of fonts in which texts can be written: matplotlib's own, and such of the system as have what it lacks.

    Returns:
        The families, and the letters that none of them has, sorted.
    """
    families, lacking = [_FONT], {letter for text in texts for letter in text if letter.isprintable()} - _letters(
        font_manager.findfont(_FONT))
    for file in _system_fonts() if lacking else ():
        if has := lacking & _letters(file):
            font_manager.fontManager.addfont(file)  # its list may be older than the font
            families.append(FT2Font(file).family_name)
            lacking -= has
        if not lacking:
            break
    return families, ''.join(sorted(lacking))


def _system_fonts() -> list[str]:
    """Font files of the system, upright ones without serifs first."""
    def order(file: str) -> tuple:
        name = file.rpartition('/')[2].lower()
        return 'sans' not in name, any(word in name for word in ('serif', 'mono')), 'regular' not in name, name
    return sorted(font_manager.findSystemFonts(), key=order)


@lru_cache(maxsize=256)
def _letters(file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):  # gone since matplotlib listed it, or broken
        return frozenset()
