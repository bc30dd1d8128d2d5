from .comparison import draw_comparison
from .curves import draw_interpolation

__all__ = ['draw_comparison', 'draw_interpolation']
