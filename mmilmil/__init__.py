"""Class-incremental object detection on stock MMDetection 3: ILMIL and its MFRRK distillation."""

from importlib.util import find_spec

# A device that runs exported models (mmilmil.runtime) has nothing of the stack that could be mended or registered with.
if find_spec('mmengine') is not None:
    from . import compat  # noqa: F401  isort: skip  (must run before anything imports mmrazor)
    from . import registry  # noqa: F401
from .errors import InputError
from .version import __version__

__all__ = ['InputError', '__version__']
