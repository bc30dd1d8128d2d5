"""Class-incremental object detection on stock MMDetection 3: ILMIL and its MFRRK distillation."""

from . import compat  # noqa: F401  isort: skip  (must run before anything imports mmrazor)
from . import registry  # noqa: F401
from .errors import InputError
from .version import __version__

__all__ = ['InputError', '__version__']
