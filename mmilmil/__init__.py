"""Class-incremental object detection on stock MMDetection 3: ILMIL and its MFRRK distillation."""

from importlib.util import find_spec

# A device that runs exported models (mmilmil.runtime) may have nothing of the stack that could be mended or registered with, or
# only a part. The rooms that need all of it import compat themselves, which tells what is missing.
if all(find_spec(name) for name in ('torch', 'mmengine', 'mmcv', 'mmdet')):
    from . import compat  # noqa: F401  isort: skip  (must run before anything imports mmrazor)
    from . import registry  # noqa: F401
from .errors import InputError
from .version import __version__

__all__ = ['InputError', '__version__']
