"""Pages of images with boxes of several kinds, each kind told by its line and in a legend."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .sheet import Cell, Sheet, fonts_for

LATER_COLOR = '#6b6b6b'
"""Of classes that belong to no group of the stage."""
_ALERT = '#a01818'
_MARGIN, _GAP, _HEAD, _LINE = 22, 16, 24, 23
_SHOWN = 60  # classes of a group in a legend


@dataclass(frozen=True)
class Style:
    """How a kind of boxes is drawn.

    Attributes:
        dashes: ``'solid'``, ``'dashed'`` or ``'dotted'``.
        width: Of the line, in pixels.
        fill: How much of the colour lies over the picture in it.
        crossed: Whether the box is crossed out.
        outlined: Whether its label is written on white.
    """

    dashes: str = 'solid'
    width: float = 2.4
    fill: float = 0
    crossed: bool = False
    outlined: bool = False


STYLES = dict(
    kept=Style(width=2.8),
    context=Style(width=1.4),
    hidden=Style('dashed', outlined=True),
    faint=Style('dashed', width=1.2),
    ignored=Style('dotted', width=2.6, outlined=True),
    merged=Style(width=2.6, fill=0.28),
    refused=Style('dotted', width=1.6, crossed=True, outlined=True))
"""By kind. ``context`` and ``faint`` are ``kept`` and ``hidden`` beside what a picture is about."""


@dataclass(frozen=True)
class Mark:
    """A box.

    Attributes:
        box: ``(x1, y1, x2, y2)`` in pixels of the image.
        color: ``#rrggbb``.
        style: One of :data:`STYLES`.
        text: Its label; empty for none.
    """

    box: Sequence[float]
    color: str
    style: str
    text: str = ''


@dataclass(frozen=True)
class MarkedImage:
    """An image, beside itself as often as it has panels.

    Attributes:
        image: (H, W, 3), RGB, uint8.
        caption: What stands above it.
        panels: By title the marks of a panel.
        note: What stands in its place below the caption, in red; empty for nothing.
    """

    image: np.ndarray
    caption: str
    panels: Mapping[str, Sequence[Mark]]
    note: str = ''


@dataclass(frozen=True)
class Legend:
    """What stands below the pictures.

    Attributes:
        kinds: By style, what its boxes are; with the color in which it is shown.
        classes: By heading, the color of each class.
        lines: What else there is to say.
    """

    kinds: Sequence[tuple[str, str, str]] = ()
    classes: Mapping[str, Mapping[str, str]] | None = None
    lines: Sequence[str] = ()


def marked_page(pictures: Sequence[MarkedImage], title: str, legend: Legend, side: int = 360, columns: int = 1,
                must_label: bool = True) -> Sheet:
    """A page of images, small ones enlarged, and a legend.

    Args:
        pictures: At least one.
        title: What stands on top.
        legend: What the boxes are.
        side: The longer side of each panel, in pixels.
        columns: Images beside each other, each with its panels.
        must_label: Whether a label is written even where no place is free of others.

    Returns:
        The page, to be saved.

    Raises:
        ValueError: there is no picture, or one without a panel.
    """
    if not pictures or not all(one.panels for one in pictures):
        raise ValueError('nothing to draw: give at least one image, each with a panel')
    columns = min(columns, len(pictures))
    fonts, _ = fonts_for(_texts(pictures, title, legend))
    sizes = [_size(one.image, side) for one in pictures]
    rows = [range(start, min(start + columns, len(pictures))) for start in range(0, len(pictures), columns)]
    panels = max(len(one.panels) for one in pictures)
    wide = panels * max(width for width, _ in sizes) + (panels - 1) * _GAP // 2
    width = max(2 * _MARGIN + columns * wide + (columns - 1) * 2 * _GAP, 720)
    top = _MARGIN + 34
    heights = [max(sizes[index][1] + _head(pictures[index]) for index in row) + 1.5 * _GAP for row in rows]
    legend_top = top + sum(heights)
    entries = list(_entries(Sheet(width, 1, fonts), legend))
    page = Sheet(width, legend_top + _LINE * (entries[-1][2] + 1 if entries else 0) + _MARGIN, fonts)
    page.text(page.fitted(title, width - 2 * _MARGIN, 20, weight='bold'), _MARGIN, _MARGIN + 8, 20, weight='bold')
    for row, height in zip(rows, heights):
        for column, index in enumerate(row):
            _draw(page, pictures[index], sizes[index], _MARGIN + column * (wide + 2 * _GAP), top, wide, must_label)
        top += height
    for draw, left, line in entries:
        draw(page, left, legend_top + _LINE * (line + 0.5))
    return page


def _size(image: np.ndarray, side: int) -> tuple[int, int]:
    scale = side / max(image.shape[:2])
    return max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))


def _head(picture: MarkedImage) -> int:
    """The height of what stands above an image."""
    return _HEAD * (3 if picture.note else 2)


def _draw(page: Sheet, picture: MarkedImage, size: tuple[int, int], left: float, top: float, wide: float, must: bool) -> None:
    page.text(page.fitted(picture.caption, wide, 14, weight='bold'), left, top + _HEAD / 2, 14, weight='bold')
    if picture.note:
        page.text(page.fitted(picture.note, wide, 13), left, top + _HEAD * 1.5, 13, color=_ALERT)
    for index, (title, marks) in enumerate(picture.panels.items()):
        x = left + index * (size[0] + _GAP / 2)
        page.text(page.fitted(title, size[0], 12), x, top + _head(picture) - _HEAD / 2, 12, color='#444444')
        cell = Cell(page, x, top + _head(picture), *size, size[0] / picture.image.shape[1])
        cell.picture(picture.image)
        boxes = np.array([mark.box for mark in marks], dtype=float).reshape(-1, 4)
        for mark in marks:
            style = STYLES[mark.style]
            cell.box(mark.box, mark.color, dashes=style.dashes, width=style.width, fill=style.fill)
            if style.crossed:
                cell.cross(mark.box, mark.color)
        for mark in marks:  # over all boxes
            if mark.text:
                cell.label(mark.text, mark.box, boxes, mark.color, STYLES[mark.style].outlined, must=must)


def _texts(pictures: Sequence[MarkedImage], title: str, legend: Legend) -> Iterable[str]:
    yield from (title, *legend.lines, *(text for _, _, text in legend.kinds), *(legend.classes or ()))
    for names in (legend.classes or {}).values():
        yield from names
    for one in pictures:
        yield from (one.caption, one.note, *one.panels, *(mark.text for marks in one.panels.values() for mark in marks))


def _entries(sheet: Sheet, legend: Legend):
    """What draws each entry, its left edge and its line; measured on ``sheet``, which stays empty."""
    line, right = 0, sheet.width - _MARGIN
    left = _MARGIN
    for style, color, text in legend.kinds:
        width = 34 + sheet.measure(text, 13)[0] + 24
        if left + width > right and left > _MARGIN:
            left, line = _MARGIN, line + 1
        yield _sample(style, color, sheet.fitted(text, right - left - 34, 13)), left, line
        left += width
    line += bool(legend.kinds)
    for heading, colors in (legend.classes or {}).items():
        if not colors:
            continue
        yield _words(heading, weight='bold'), _MARGIN, line
        left = start = _MARGIN + sheet.measure(heading, 13, weight='bold')[0] + 16
        shown = dict(list(colors.items())[:_SHOWN])
        more = f'and {len(colors) - len(shown)} more' if len(colors) > len(shown) else ''
        for name, color in [*shown.items(), *([(more, None)] if more else [])]:
            text = sheet.fitted(name, right - start - 26, 13)
            width = 26 + sheet.measure(text, 13)[0] + 16
            if left + width > right and left > start:
                left, line = start, line + 1
            yield (_words(text) if color is None else _swatch(color, text)), left, line
            left += width
        line += 1
    for text in legend.lines:
        yield _words(sheet.fitted(text, right - _MARGIN, 13), color='#444444'), _MARGIN, line
        line += 1


def _words(text: str, **kwargs):
    return lambda page, left, y: page.text(text, left, y, 13, **kwargs)


def _swatch(color: str, text: str):
    def draw(page: Sheet, left: float, y: float) -> None:
        page.box(left, y - 6, left + 18, y + 6, color, width=2, fill=0.35)
        page.text(text, left + 25, y, 13)
    return draw


def _sample(style: str, color: str, text: str):
    def draw(page: Sheet, left: float, y: float) -> None:
        how = STYLES[style]
        page.box(left, y - 7, left + 26, y + 7, color, dashes=how.dashes, width=how.width, fill=how.fill)
        if how.crossed:
            page.line((left, left + 26), (y - 7, y + 7), color, 1)
            page.line((left, left + 26), (y + 7, y - 7), color, 1)
        page.text(text, left + 33, y, 13)
    return draw
