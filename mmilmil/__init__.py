"""Class-incremental object detection on stock MMDetection 3: ILMIL and its MFRRK distillation."""

from .errors import InputError
from .stack_import import with_the_stack
from .version import __version__

__all__ = ['InputError', '__version__']


def _join() -> None:
    """Mend what the stack's versions lack, then register everything: what ``import mmilmil`` is for beside MMDetection.

    Nothing of it is needed, or imported, by :mod:`mmilmil.runtime`.
    """
    from . import compat  # noqa: F401  isort: skip  (must run before anything imports mmrazor)
    from . import registry  # noqa: F401


with_the_stack(_join)
