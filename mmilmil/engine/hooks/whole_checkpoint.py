"""Checkpoints that a run can be killed over."""

from pathlib import Path
from typing import Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ...registry import HOOKS
from ..whole_file import disk_errors, write_whole


@register_backend('whole_file')
class WholeFileBackend(LocalBackend):
    """The local disk, on which a file is either complete or as it was before."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write ``obj`` to ``filepath``; see :func:`write_whole`."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(obj, path)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's hook, except that a checkpoint is written whole and that an old one goes only when the new one is there.

    A run that is killed while it saves, or whose disk is full, has lost nothing that was saved before.

    Args:
        *args: MMEngine's.
        **kwargs: MMEngine's; ``backend_args`` that name another place than the local disk are followed as they are.
    """

    def __init__(self, *args, **kwargs) -> None:
        if not kwargs.get('backend_args') and not kwargs.get('file_client_args'):
            kwargs['backend_args'] = dict(backend='whole_file')
        super().__init__(*args, **kwargs)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        oldest = None
        ids = self.keep_ckpt_ids if self.max_keep_ckpts > 0 else ()
        if ids and len(ids) == self.max_keep_ckpts and ids[-1] != step:
            oldest = ids.popleft()  # MMEngine then finds room for one more, and removes nothing yet
        # It writes `last_checkpoint` on its own.
        with disk_errors(Path(runner.work_dir) / 'last_checkpoint'):
            super()._save_checkpoint_with_step(runner, step, meta)
        if oldest is not None and is_main_process():
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(oldest))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
