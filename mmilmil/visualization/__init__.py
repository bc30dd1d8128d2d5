from .comparison import draw_comparison
from .curves import draw_interpolation
from .marked_images import Legend, Mark, MarkedImage, marked_page
from .method_points import MethodPoints, draw_methods

__all__ = [
    'Legend', 'Mark', 'MarkedImage', 'MethodPoints', 'draw_comparison', 'draw_interpolation', 'draw_methods', 'marked_page'
]
