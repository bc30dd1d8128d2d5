from .comparison import draw_comparison
from .method_points import MethodPoints, draw_methods

__all__ = ['MethodPoints', 'draw_comparison', 'draw_methods']
