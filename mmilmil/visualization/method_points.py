"""One picture of what methods keep and learn: a panel a split, a row a method."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_DPI = 100  # only a unit: everything below is in pixels
_WIDTH = 1200
_ROW = 30
_HEAD = 44  # of a panel: its title
_FOOT = 58  # of a panel: its scale
_LEGEND = 44
_SIZE = 14  # of letters
# Okabe and Ito's, told apart by colour-blind readers too; the shapes tell it without any colour.
_KINDS = (('old', 's', '#0072b2', 8.), ('new', '^', '#d55e00', 9.), ('all', 'o', '#000000', 7.))
_DASHES = dict(linestyle=(0, (4, 3)), linewidth=1.2)


@dataclass
class MethodPoints:
    """A method on one split.

    Attributes:
        method: Its name.
        points: By ``old``, ``new`` and ``all`` mean and spread as fractions; what is ``None`` is not drawn.
        is_joint: Whether it is joint training, whose ``all`` is drawn through all rows.
    """

    method: str
    points: Mapping[str, tuple[float | None, float | None]]
    is_joint: bool = False


def draw_methods(panels: Mapping[str, Sequence[MethodPoints]], scale: str, out_file: str) -> None:
    """Draw a panel for each split: old, new and all of each method, with bars for the spread, ``all`` also as a number.

    Args:
        panels: By split the methods from top to bottom.
        scale: What the figures are, such as ``AP50 (%) on test``.
        out_file: File to write, 1200 pixels wide; its ending is the format (png, pdf, ...).

    Raises:
        ValueError: no panel, or one without a method.
    """
    if not panels or not all(panels.values()):
        raise ValueError('nothing to draw: give at least one split, each with a method')
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    heights = [_HEAD + _FOOT + _ROW * max(len(one) for one in list(panels.values())[row * columns:(row + 1) * columns])
               for row in range(rows)]
    height = _LEGEND + sum(heights)
    figure = Figure((_WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor='white')
    renderer = FigureCanvasAgg(figure).get_renderer()
    names = 24 + max(_measure(figure, renderer, one.method) for methods in panels.values() for one in methods)
    numbers = 24 + max(_measure(figure, renderer, _number(one)) for methods in panels.values() for one in methods)
    cell = _WIDTH / columns
    for index, (split, methods) in enumerate(panels.items()):
        row, column = divmod(index, columns)
        top = _LEGEND + sum(heights[:row]) + _HEAD
        tall = _ROW * len(methods)
        axes = figure.add_axes((
            (cell * column + names) / _WIDTH, 1 - (top + tall) / height, (cell - names - numbers) / _WIDTH, tall / height))
        _draw(axes, split, methods, scale)
    handles = [Line2D([], [], marker=marker, color=color, markersize=size, linestyle='none', label=f'{name} classes')
               for name, marker, color, size in _KINDS]
    if any(one.is_joint for methods in panels.values() for one in methods):
        handles.append(Line2D([], [], color='#000000', label='all classes, joint training', **_DASHES))
    figure.legend(handles=handles, loc='upper center', ncols=len(handles), frameon=False, fontsize=_points(_SIZE),
                  bbox_to_anchor=(0.5, 1 - 6 / height), borderaxespad=0)
    figure.savefig(out_file, dpi=_DPI)


def _draw(axes: Axes, split: str, methods: Sequence[MethodPoints], scale: str) -> None:
    axes.set_title(split, fontsize=_points(_SIZE + 2), fontweight='bold', loc='left', parse_math=False)
    for place, one in enumerate(methods):
        if place % 2 == 0:
            axes.axhspan(place - .5, place + .5, color='#f2f2f2', linewidth=0, zorder=0)
        seen = [100 * one.points[name][0] for name in ('old', 'new') if one.points[name][0] is not None]
        if len(seen) == 2:
            axes.plot(seen, [place] * 2, color='#999999', linewidth=1.5, zorder=2)
        for name, marker, color, size in _KINDS:
            mean, spread = one.points[name]
            if mean is None:
                continue
            axes.errorbar(100 * mean, place, xerr=100 * spread if spread else None, marker=marker, markersize=size, color=color,
                          markeredgecolor='white', markeredgewidth=.8, elinewidth=2, capsize=5, capthick=2, linestyle='none',
                          clip_on=False, zorder=3)
        if one.is_joint and one.points['all'][0] is not None:
            axes.axvline(100 * one.points['all'][0], color='#000000', zorder=1, **_DASHES)
        _beside(axes, _number(one), place, va='center')
    _beside(axes, 'all', -.5, va='bottom', fontweight='bold')
    axes.set_xlim(-2, 100)  # a point at 0 is beside its name
    axes.set_ylim(len(methods) - .5, -.5)
    axes.set_yticks(range(len(methods)), [one.method for one in methods], fontsize=_points(_SIZE), parse_math=False)
    axes.tick_params(axis='y', length=0)
    axes.tick_params(axis='x', labelsize=_points(_SIZE - 1))
    axes.set_xticks(range(0, 101, 10))
    axes.grid(axis='x', color='#cccccc', linewidth=.6, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel(scale, fontsize=_points(_SIZE), parse_math=False)
    for side in ('top', 'right', 'left'):
        axes.spines[side].set_visible(False)


def _beside(axes: Axes, text: str, place: float, **kwargs) -> None:
    """Write a text to the right of a row."""
    axes.annotate(text, (1, place), xycoords=axes.get_yaxis_transform(), xytext=(_points(10), 0), textcoords='offset points',
                  fontsize=_points(_SIZE), parse_math=False, annotation_clip=False, **kwargs)


def _number(one: MethodPoints) -> str:
    mean, spread = one.points['all']
    if mean is None:
        return '-'
    return f'{100 * mean:.1f}' + ('' if spread is None else f' ±{100 * spread:.1f}')


def _measure(figure: Figure, renderer, text: str) -> float:
    """The width in pixels that a text will take."""
    probe = figure.text(0, 0, text, fontsize=_points(_SIZE), parse_math=False)
    width = probe.get_window_extent(renderer).width
    probe.remove()
    return width


def _points(pixels: float) -> float:
    return pixels * 72 / _DPI
