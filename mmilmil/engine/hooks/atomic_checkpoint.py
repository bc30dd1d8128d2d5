"""Checkpoints that are written atomically, so that a run may be killed while it saves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ...atomic_write import disk_errors, write_atomically
from ...errors import InputError
from ...registry import HOOKS
from ..cli import check_folder


@register_backend('atomic_file')
class AtomicFileBackend(LocalBackend):
    """The local disk, on which a file is either complete or as it was before."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write ``obj`` to ``filepath``; see :func:`write_atomically`."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(obj, path)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's hook, except that a checkpoint is written atomically and that an old one goes only when the new one is there.

    A run that is killed while it saves, or whose disk is full, has lost nothing that was saved before.

    ``save_best`` names figures of the validation, such as ``all``, ``new`` or ``AP50_all``; ``auto`` is the headline ``all`` of
    our metrics. That they will be reported is checked before the run by :meth:`check_figures`. Where a validation leaves one
    out, as no box of its classes is there, a line says so and the best checkpoint stays.

    Args:
        *args: MMEngine's.
        **kwargs: MMEngine's; ``backend_args`` that name another place than the local disk are followed as they are.

    Raises:
        InputError: a setting is of no use.
    """

    def __init__(self, *args, **kwargs) -> None:
        if not kwargs.get('backend_args') and not kwargs.get('file_client_args'):
            kwargs['backend_args'] = dict(backend='atomic_file')
        self._guessed: list[str] = []
        try:
            super().__init__(*args, **kwargs)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(f'default_hooks.checkpoint: {" ".join(map(str, error.args))}') from error

    def _init_rule(self, rules: list, key_indicators: list[str]) -> None:
        """MMEngine's; where it knows no rule for a name, the greater value is the better one, as every AP's."""
        rules = rules * len(key_indicators) if len(rules) == 1 else rules
        known = []
        for rule, figure in zip(rules, key_indicators):
            try:
                super()._init_rule([rule], [figure])
            except ValueError:
                rule = 'greater'
                self._guessed.append(figure)
            known.append(rule)
        super()._init_rule(known, key_indicators)

    def before_run(self, runner: Runner) -> None:
        """Look at the folder of the checkpoints, where it is another than the work dir."""
        if self.out_dir and '://' not in str(self.out_dir):
            check_folder(self.out_dir, 'default_hooks.checkpoint.out_dir')

    def check_figures(self, figures: Mapping[str, Optional[str]], validates: bool) -> None:
        """Whether ``save_best`` names what the validation will report; ``auto`` becomes the figure that it means.

        Args:
            figures: See :func:`mmilmil.engine.dry_run.dry_run`.
            validates: Whether there is a validation.

        Raises:
            InputError: names the figures that there are.
        """
        if not self.save_best:
            return
        if not validates:
            raise InputError(f'default_hooks.checkpoint.save_best = {self.save_best}, but this run has no validation: set '
                             'val_dataloader, val_evaluator and val_cfg, and train_cfg.val_begin to an epoch of it, or leave '
                             'save_best out')
        if self.save_best == ['auto']:
            best = next((headline for headline in figures.values() if headline), next(iter(figures), None))
            if best is None:
                raise InputError("default_hooks.checkpoint.save_best = 'auto', but val_evaluator reports nothing: leave it out")
            self._init_rule(self.rules, [best])
        if unknown := [figure for figure in self.key_indicators if figure not in figures]:
            raise InputError(f'default_hooks.checkpoint.save_best = {", ".join(map(repr, unknown))}: val_evaluator reports no '
                             f'such metric. It reports: {", ".join(figures)}')
        if vague := [figure for figure in self.key_indicators if figure in self._guessed and figures[figure] is None]:
            raise InputError(f'default_hooks.checkpoint.save_best = {vague[0]!r}: whether greater or less is better is not '
                             "known. Add rule='greater' or rule='less'")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best checkpoint."""
        absent = [figure for figure in self.key_indicators if figure not in metrics] if self.save_best else []
        if absent:
            runner.logger.warning(f'save_best: this validation has no {", ".join(absent)}, so it saves no best checkpoint')
        super().after_val_epoch(runner, {**metrics, **dict.fromkeys(absent)})

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
