"""What is to be done as soon as MMEngine is there, without importing it where nobody asks for it, as on a device."""

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Each of them imports MMEngine, before or after it is complete itself.
_STACK = ('mmengine', 'mmcv', 'mmdet', 'mmrazor')


def with_the_stack(join: Callable[[], None]) -> None:
    """Call ``join`` when a package of OpenMMLab's is imported: at once where one is already.

    It is called when the first of them is complete with all that it imports: MMDetection cannot be imported while MMCV is
    half there.

    Args:
        join: What it raises is raised by the import.
    """
    if any(name in sys.modules for name in _STACK):
        join()
    else:
        sys.meta_path.insert(0, _FirstOfTheStack(join))


class _FirstOfTheStack(MetaPathFinder):

    def __init__(self, join: Callable[[], None]) -> None:
        self.join = join
        self.looking = False

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname not in _STACK or self.looking:
            return None
        self.looking = True  # what follows asks all finders, this one too
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.looking = False
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_join(module: ModuleType) -> None:
            del spec.loader.exec_module  # the class's own again
            sys.meta_path.remove(self)  # what this package imports of the others is not the first
            try:
                run(module)
                self.join()
            except BaseException:
                sys.meta_path.insert(0, self)
                raise

        spec.loader.exec_module = run_and_join
        return spec
