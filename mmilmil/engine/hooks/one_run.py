"""One run at a time in a work dir."""

import contextlib
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...errors import InputError
from ...registry import HOOKS
from ..runner_state import is_training

with contextlib.suppress(ImportError):  # not on Windows
    import fcntl

LOCK_FILE = '.training'


@HOOKS.register_module()
class OneRunHook(Hook):
    """Keeps a second training out of a work dir, whose checkpoints it would write beside the first one's.

    The system's lock on a file there ends with the process that holds it, however that ends. Where the system or the file
    system has no such locks, nothing is kept out.

    Raises:
        InputError: another process trains there.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._file = None

    def before_run(self, runner: Runner) -> None:
        """Take the lock."""
        if not is_training(runner) or not is_main_process() or 'fcntl' not in globals():
            return
        self._file = open(Path(runner.work_dir) / LOCK_FILE, 'w')  # noqa: SIM115, held to the end
        try:
            # A process's lock, unlike `flock`: workers of data loaders do not keep it when they outlive a killed training.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(f'another process trains in {runner.work_dir} right now: wait for it to end, or give another '
                             '--work-dir') from None
        except OSError as error:
            runner.logger.warning(f'{runner.work_dir} cannot be locked ({error.strerror}): see to it that one run trains there')

    def after_run(self, runner: Runner) -> None:
        """Give it back."""
        if self._file:
            self._file.close()
