"""The picture of figures over how far weights were moved from the teacher to the student."""

import math
from collections.abc import Mapping
from typing import Optional

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's, told apart by colour-blind readers too; by the marker without any colour.
_LINES = {'old': ('#0072b2', 'o'), 'new': ('#d55e00', '^'), 'all': ('#009e73', 's')}


def draw_interpolation(figures: Mapping[float, Mapping], out_file: str, title: str, measure: str = 'AP50',
                       marked: Optional[float] = None) -> None:
    """Draw the curves of ``old``, ``new`` and ``all`` over alpha.

    Args:
        figures: By alpha, ``old``, ``new`` and ``all`` in [0, 1] or ``None``, where a curve has a gap.
        out_file: File to write; its ending is the format (png, pdf, ...).
        title: What stands above.
        measure: What the figures are.
        marked: An alpha to mark as the best.
    """
    figure = Figure((7, 4.6), dpi=120, facecolor='white', layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    alphas = sorted(figures)
    if marked is not None:
        axes.axvline(marked, color='#555555', linestyle='--', linewidth=1, label=f'best all on val: alpha {marked:g}')
    for name, (color, marker) in _LINES.items():
        values = [figures[alpha][name] for alpha in alphas]
        axes.plot(alphas, [math.nan if value is None else 100 * value for value in values], color=color, marker=marker,
                  markersize=5, label=name)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(0, 103)
    axes.set_xlabel("alpha: 0 is the teacher with the student's new rows, 1 the student")
    axes.set_ylabel(f'{measure} (%)')
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.grid(color='#dddddd', linewidth=0.6)
    axes.legend(loc='best', frameon=True)
    figure.savefig(out_file)
