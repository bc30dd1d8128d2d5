"""Charts of a report as SVG text for a page: drawn by matplotlib, coloured by the page's own colours for light and dark."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Colours that stand for variables of the page's style sheet: none of them is ever seen.
_INKS = {'text': '#010a01', 'soft': '#010a02', 'line': '#010a03', 'old': '#010a04', 'new': '#010a05', 'all': '#010a06',
         'wrong': '#010a07', 'paper': '#010a08', **{f's{index}': f'#010b{index:02d}' for index in range(8)}}
SERIES = tuple(f's{index}' for index in range(8))
"""Names of colours that are told apart by colour-blind readers too."""
_DASHES = ('-', (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_PIXEL = 72 / 100  # in points, as a figure has 100 dots an inch
_WIDTH = 400
# Of cells whose colour must do on light and dark: right, wrong; opacity tells how much.
_RIGHT, _WRONG = (0.18, 0.50, 0.82), (0.85, 0.25, 0.42)


@contextmanager
def _figure(height: float, width: float = _WIDTH) -> Iterator[tuple[Figure, list[str]]]:
    """A figure of so many pixels; what it was drawn as is in the list when the block ends."""
    settings = {'svg.fonttype': 'none', 'svg.hashsalt': 'mmilmil', 'font.size': 11 * _PIXEL, 'axes.linewidth': 0.8,
                'axes.edgecolor': _INKS['line'], 'axes.labelcolor': _INKS['soft'], 'text.color': _INKS['text'],
                'xtick.color': _INKS['line'], 'ytick.color': _INKS['line'], 'xtick.labelcolor': _INKS['soft'],
                'ytick.labelcolor': _INKS['soft'], 'text.parse_math': False, 'axes.spines.top': False,
                'axes.spines.right': False, 'grid.color': _INKS['line'], 'grid.linewidth': 0.6, 'axes.axisbelow': True,
                'legend.frameon': False, 'lines.linewidth': 1.5, 'axes.titlesize': 11 * _PIXEL, 'axes.titlelocation': 'left',
                'axes.titlecolor': _INKS['text'], 'legend.fontsize': 10 * _PIXEL, 'legend.handlelength': 1.6}
    drawn: list[str] = []
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph .* missing from')  # the page has its own letters
        figure = Figure((width / 100, height / 100), dpi=100, layout='constrained')
        FigureCanvasSVG(figure)
        yield figure, drawn
        figure.patch.set_alpha(0)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        with io.StringIO() as buffer:
            figure.savefig(buffer, format='svg', metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type')))
            drawn.append(_themed(buffer.getvalue()))


def _themed(text: str) -> str:
    """An SVG file's text as an element of a page."""
    text = text[text.index('<svg'):]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>', r'<svg class="chart" viewBox="0 0 \1 \2" '
                  r'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg">', text, count=1,
                  flags=re.DOTALL)
    # Style sheets inside would be those of the whole page.
    text = re.sub(r'<defs>\s*<style type="text/css">.*?</style>\s*</defs>', '', text, flags=re.DOTALL)
    for name, ink in _INKS.items():
        text = text.replace(ink, f'var(--{name})')
    text = re.sub(r'(font: [^;"]*?[\d.]+px) [^;"]*', r'\1 var(--font)', text)
    # Lines, most of a chart's size, in hundredths of a point.
    return re.sub(r' d="[^"]*"', lambda found: re.sub(r'(?<=\d\.\d\d)\d+', '', found[0]), text)


def _unique(text: str, prefix: str) -> str:
    """Ids of a chart told apart from those of the page's other charts."""
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', text)
    return re.sub(r'(url\(#|href="#)', rf'\g<1>{prefix}', text)


def numbered(charts: Sequence[str]) -> list[str]:
    """Charts that stand in one page."""
    return [_unique(text, f'c{index}-') for index, text in enumerate(charts)]


def _percent(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else 100 * value for value in values], dtype=float)


def _legend(figure: Figure, axes: Axes, columns: int = 3) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, labels, loc='outside upper left', ncols=columns, columnspacing=1.2)


def class_bars(classes: Mapping[str, tuple[float | None, float | None]], num_old: int, before_name: str, title: str) -> str:
    """AP of each class before and after, a row a class.

    Args:
        classes: By class in label order its AP before and after, in [0, 1] or ``None``.
        num_old: How many of them, the first ones, have the colour of old ones; of a single group all.
        before_name: What stood before.
        title: What the scale is.
    """
    with _figure(70 + 19 * len(classes)) as (figure, drawn):
        axes = figure.subplots()
        before, after = (_percent(column) for column in zip(*classes.values()))
        rows = np.arange(len(classes))
        colors = [_INKS['old'] if row < num_old else _INKS['new'] for row in rows]
        axes.barh(rows, np.nan_to_num(after), height=0.62, color=colors, linewidth=0)
        seen = ~np.isnan(before)
        axes.scatter(before[seen], rows[seen], marker='|', s=75, linewidths=2.2, color=_INKS['text'], zorder=3,
                     label=f'{before_name} (before)')
        for row in np.flatnonzero(np.isnan(after)):
            axes.text(1, row, 'no AP: no object in the set', va='center', color=_INKS['soft'], fontsize=9 * _PIXEL)
        axes.set_yticks(rows, [_short(name) for name in classes])
        axes.tick_params(axis='y', length=0, labelcolor=_INKS['text'])
        axes.set(ylim=(len(classes) - 0.4, -0.6), xlim=(0, 101), xlabel=title)
        axes.spines['left'].set_visible(False)
        axes.grid(axis='x')
        handles = [matplotlib.patches.Patch(color=_INKS['old'], label='old'), matplotlib.patches.Patch(
            color=_INKS['new'], label='new')] if 0 < num_old < len(classes) else []
        handles += axes.get_legend_handles_labels()[0] if seen.any() else []
        if handles:
            figure.legend(handles=handles, loc='outside upper left', ncols=3, columnspacing=1.2)
    return drawn[0]


def group_heat(rows: Sequence[str], columns: Sequence[str], values: np.ndarray, label: str) -> str:
    """AP of each group (column) at each stage (row), as a heat map with numbers.

    Args:
        rows: Stages from top to bottom.
        columns: Groups.
        values: (rows, columns), fractions; NaN where a stage does not know a group.
        label: What the numbers are.
    """
    width = max(_WIDTH, 150 + 42 * len(columns))
    with _figure(70 + 30 * len(rows), width) as (figure, drawn):
        axes = figure.subplots()
        _cells(axes, np.nan_to_num(values) * 0.85, _RIGHT)
        for row, column in np.argwhere(~np.isnan(values)):
            axes.text(column, row, f'{100 * values[row, column]:.1f}', ha='center', va='center')
        axes.set_xticks(range(len(columns)), columns, rotation=0 if len(columns) < 6 else 90)
        axes.set_yticks(range(len(rows)), [_short(name, 24) for name in rows])
        axes.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False, labelcolor=_INKS['text'])
        axes.set_xlabel(label)
    return drawn[0]


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float | None]]], x_label: str, y_label: str, title: str = '',
           *, bounds: tuple[float, float] | None = None, marks: bool = False, ticks: Sequence[str] | None = None,
           inks: Sequence[str] = SERIES, height: float = 250, columns: int = 2) -> str:
    """Lines over a common axis.

    Args:
        series: By name places and values; a value that is ``None`` is a gap.
        x_label, y_label, title: Words around it.
        bounds: Of the values.
        marks: Whether each value has a dot.
        ticks: Names of the places 0, 1, ...
        inks: Names of the colours.
        height: In pixels, without the legend.
        columns: Of the legend.
    """
    rows = -(-len(series) // columns) if len(series) > 1 else 0
    with _figure(height + 17 * rows) as (figure, drawn):
        axes = figure.subplots()
        for (name, (places, values)), ink, dash in zip(series.items(), cycle(inks), _dashes(len(series), len(inks))):
            axes.plot(places, [np.nan if value is None else value for value in values], color=_INKS[ink], linestyle=dash,
                      marker='o' if marks else None, markersize=3.5, label=_short(name, 30))
        if ticks is not None:
            axes.set_xticks(range(len(ticks)), ticks)
            axes.set_xlim(-0.3, len(ticks) - 0.7)
        if bounds:
            low, high = bounds
            axes.set_ylim(low - 0.02 * (high - low), high + 0.03 * (high - low))
        axes.set(xlabel=x_label, ylabel=y_label, title=title)
        axes.grid(axis='y')
        _legend(figure, axes, columns)
    return drawn[0]


def small_curves(panels: Mapping[str, Sequence[float | None]], places: Sequence[float], x_label: str) -> str:
    """A small panel for each series of values over common places, each with a scale of its own; ``None`` is a gap."""
    rows = -(-len(panels) // 2)
    with _figure(40 + 92 * rows) as (figure, drawn):
        grid = figure.subplots(rows, 2, squeeze=False, sharex=True).flat
        for axes, (name, values) in zip(grid, panels.items()):
            known = [value for value in values if value is not None and np.isfinite(value)]
            axes.plot(places, [np.nan if value is None else value for value in values], color=_INKS['all'], linewidth=1.3)
            axes.set_title(_short(name, 26), fontsize=10 * _PIXEL)
            axes.tick_params(labelsize=9 * _PIXEL)
            axes.locator_params(axis='y', nbins=3)
            axes.set_ylim(bottom=min([0, *known]), top=(max(known, default=0) or 1) * 1.08)
            axes.grid(axis='y')
        for axes in list(figure.axes)[len(panels):]:
            axes.set_visible(False)
        figure.supxlabel(x_label, fontsize=10 * _PIXEL, color=_INKS['soft'])
    return drawn[0]


def precision_recall_curves(panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> str:
    """A panel for each class with recall and precision of each detector, (D,) each."""
    rows = -(-len(panels) // 2)
    with _figure(60 + 165 * rows) as (figure, drawn):
        grid = figure.subplots(rows, 2, squeeze=False, sharex=True, sharey=True).flat
        for axes, (name, found) in zip(grid, panels.items()):
            for (detector, (recall, precision)), ink, dash in zip(found.items(), ('text', 'old', 'new'), _DASHES):
                # Between detections precision only falls: the envelope is what the area under the curve counts.
                envelope = np.maximum.accumulate(precision[::-1])[::-1]
                # Of a class that is never detected there is no line, but its name in the legend.
                begin, end = ([0.], [0.]) if len(recall) else ([], [])
                axes.step([*begin, *recall, *recall[-1:]], [*envelope[:1], *envelope, *end], where='pre', color=_INKS[ink],
                          linestyle=dash if ink == 'text' else '-', linewidth=1.4, label=_short(detector, 30))
            axes.set_title(_short(name, 24), fontsize=10.5 * _PIXEL)
            axes.set(xlim=(0, 1.02), ylim=(0, 1.04))
            axes.grid()
        for axes in list(figure.axes)[len(panels):]:
            axes.set_visible(False)
        figure.supxlabel('recall', fontsize=10 * _PIXEL, color=_INKS['soft'])
        figure.supylabel('precision', fontsize=10 * _PIXEL, color=_INKS['soft'])
        _legend(figure, figure.axes[0], 2)
    return drawn[0]


def confusion_heat(matrix: np.ndarray, classes: Sequence[str], num_old: int) -> str:
    """A confusion matrix as shares of what is there.

    Args:
        matrix: (C + 1, C + 1), rows what is there, columns what it was taken for; background and missed come last.
        classes: C names.
        num_old: How many of them, the first ones, are old.
    """
    count = len(classes)
    # A chart with more classes than names can be read at its side shows the picture of it alone.
    named = count <= 40
    cell = 26 if count <= 12 else 17
    width = min(max(_WIDTH, 130 + cell * (count + 1)), 760)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right = np.eye(count + 1, dtype=bool)
    with _figure(width - 10, width) as (figure, drawn):
        axes = figure.subplots()
        colors = np.where(right[..., None], _RIGHT, _WRONG)
        # A root shows the few as well as the many.
        axes.imshow(np.dstack([colors, np.sqrt(shares) * 0.85]), interpolation='nearest')
        if count <= 24:
            size = 9.5 if count <= 12 else 7
            for row, column in np.argwhere(matrix):
                axes.text(column, row, str(matrix[row, column]), ha='center', va='center', fontsize=size * _PIXEL)
        for place in (num_old, count):
            if place:
                axes.axhline(place - 0.5, color=_INKS['soft'], linewidth=0.9)
                axes.axvline(place - 0.5, color=_INKS['soft'], linewidth=0.9)
        if named:
            size = (10 if count <= 24 else 7) * _PIXEL
            axes.set_xticks(range(count + 1), [*(_short(name) for name in classes), 'missed'], rotation=90, fontsize=size)
            axes.set_yticks(range(count + 1), [*(_short(name) for name in classes), 'background'], fontsize=size)
        else:
            places = [num_old / 2, (num_old + count) / 2, count] if num_old else [count / 2, count]
            names = ['old', 'new'] if num_old else ['classes']
            axes.set_xticks(places, [*names, 'missed'])
            axes.set_yticks(places, [*names, 'background'])
        axes.tick_params(length=0, labelcolor=_INKS['text'])
        axes.spines[:].set_visible(False)
        axes.set(xlabel='taken for', ylabel='what is there')
    return drawn[0]


def grouped_bars(rows: Sequence[str], groups: Mapping[str, Sequence[float]], label: str, inks: Sequence[str],
                 decimals: int = 0) -> str:
    """Horizontal bars, one of each group in every row, with their numbers.

    Args:
        rows: From top to bottom.
        groups: By name a value for each row.
        label: What the scale is.
        inks: A colour's name for each group.
        decimals: Of the numbers.
    """
    with _figure(58 + 17 * len(groups) * len(rows) + 8 * len(rows)) as (figure, drawn):
        axes = figure.subplots()
        tall = 0.8 / len(groups)
        top = max((max(values, default=0) for values in groups.values()), default=0) or 1
        for place, ((name, values), ink) in enumerate(zip(groups.items(), inks)):
            heights = np.arange(len(rows)) + (place - (len(groups) - 1) / 2) * tall
            axes.barh(heights, values, height=tall * 0.86, color=_INKS[ink], linewidth=0, label=name)
            for height, value in zip(heights, values):
                axes.text(max(value, 0) + 0.012 * top, height, f'{value:.{decimals}f}', va='center', fontsize=9.5 * _PIXEL)
        axes.set_yticks(range(len(rows)), rows)
        axes.set(ylim=(len(rows) - 0.45, -0.55), xlabel=label)
        axes.set_xlim(right=top * 1.13)
        axes.tick_params(axis='y', length=0, labelcolor=_INKS['text'])
        axes.spines['left'].set_visible(False)
        axes.grid(axis='x')
        _legend(figure, axes)
    return drawn[0]


def method_dots(rows: Mapping[str, Mapping[str, tuple[float | None, float | None]]], label: str) -> str:
    """Old, new and all of each method in a row.

    Args:
        rows: By method from top to bottom, by ``old``, ``new`` and ``all`` mean and spread as fractions or ``None``.
        label: What the scale is.
    """
    with _figure(72 + 26 * len(rows)) as (figure, drawn):
        axes = figure.subplots()
        for kind, marker, size in (('old', 's', 6), ('new', '^', 7), ('all', 'o', 6)):
            for place, points in enumerate(rows.values()):
                mean, spread = points[kind]
                if mean is not None:
                    axes.errorbar(100 * mean, place, xerr=100 * spread if spread else None, marker=marker, markersize=size,
                                  color=_INKS[kind], linestyle='none', elinewidth=1.6)
        for place, points in enumerate(rows.values()):
            ends = [100 * points[kind][0] for kind in ('old', 'new') if points[kind][0] is not None]
            if len(ends) == 2:
                axes.plot(ends, [place] * 2, color=_INKS['line'], linewidth=1.4, zorder=0)
        axes.set_yticks(range(len(rows)), [_short(name, 26) for name in rows])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(-2, 102), xlabel=label)
        axes.tick_params(axis='y', length=0, labelcolor=_INKS['text'])
        axes.spines['left'].set_visible(False)
        axes.grid(axis='x')
        handles = [matplotlib.lines.Line2D([], [], marker=marker, color=_INKS[kind], linestyle='none', markersize=6, label=kind)
                   for kind, marker in (('old', 's'), ('new', '^'), ('all', 'o'))]
        figure.legend(handles=handles, loc='outside upper left', ncols=3)
    return drawn[0]


def _cells(axes: Axes, opacity: np.ndarray, color: Sequence[float]) -> None:
    cells = np.dstack([np.broadcast_to(np.array(color), (*opacity.shape, 3)), opacity])
    axes.imshow(cells, aspect='auto', interpolation='nearest')
    axes.spines[:].set_visible(False)


def _dashes(lines: int, inks: int) -> Iterator:
    """A line style for each line: another one when the colours begin again."""
    return (_DASHES[index // inks % len(_DASHES)] for index in range(lines))


def _short(text: str, letters: int = 18) -> str:
    return text if len(text) <= letters else f'{text[:letters - 1]}…'
