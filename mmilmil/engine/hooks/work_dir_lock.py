"""One training at a time in a work dir."""

import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...errors import InputError
from ...registry import HOOKS
from ..runner_state import is_training

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_FILE = '.training'


@HOOKS.register_module()
class WorkDirLockHook(Hook):
    """Keeps a second training out of a work dir, whose checkpoints it would write beside the first one's.

    The system's lock on a file there ends with the process that holds it, however that ends. Where the system or the file
    system has no such locks, nothing is kept out.

    Raises:
        InputError: another process trains there.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._descriptor = None

    def before_run(self, runner: Runner) -> None:
        """Take the lock."""
        if fcntl is None or not is_training(runner) or not is_main_process():
            return
        self._descriptor = os.open(Path(runner.work_dir) / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        try:
            # A process's lock, unlike `flock` and what is built on it: forked workers of data loaders do not keep it when they
            # outlive a killed training.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(f'the work dir {runner.work_dir} is in use by another training: wait for it to end, or give '
                             'another --work-dir') from None
        except OSError as error:
            runner.logger.warning(f'{runner.work_dir} cannot be locked ({error.strerror}): make sure that no other training '
                                  'uses it')

    def after_run(self, runner: Runner) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
