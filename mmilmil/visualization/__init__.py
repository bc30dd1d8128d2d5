from .comparison import draw_comparison
from .curves import draw_interpolation
from .method_points import MethodPoints, draw_methods

__all__ = ['MethodPoints', 'draw_comparison', 'draw_interpolation', 'draw_methods']
