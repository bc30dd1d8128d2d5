"""A checkpoint is resumed by the run that wrote it, or not at all."""

from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint

from ...errors import InputError
from ...models.detectors import IncrementalDetector
from ...registry import HOOKS
from ..resume_check import FREE_IN_RESUMING, differences, saved_settings, told
from ..runner_state import bare_model, is_training
from ..student_settings import completed


@HOOKS.register_module()
class ResumeCheckHook(Hook):
    """Notes in every checkpoint what the run's config does not tell, and compares both when it is resumed.

    A student's config is made to tell all of teacher, distiller and merging, be it the library's default, in checkpoints and in
    the config in the work dir.

    MMEngine takes learning rates and schedules from the checkpoint and everything else from the config, so that a changed
    config would make a mixture of two runs, silently.

    Raises:
        InputError: settings, class list, number of processes, the teacher's weights or the feature memory are others.
    """

    # Before the weights are compared with the model's (StageCheckHook): the settings tell the reason.
    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Write into the config, and so into every checkpoint, what a student's leaves to the library's defaults."""
        if is_training(runner) and isinstance(bare_model(runner), IncrementalDetector) and runner.cfg.get('model'):
            runner.cfg.model = ConfigDict(completed(runner.cfg.model.to_dict()))
            runner.message_hub.update_info('cfg', runner.cfg.pretty_text)
            runner.dump_config()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add ``meta['world_size']`` and, of a student, ``meta['teacher']``."""
        checkpoint['meta'].update(run_record(runner))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare a checkpoint that is resumed."""
        if not (is_training(runner) and runner._resume):
            return
        meta = checkpoint.get('meta') or {}
        source = runner._load_from or find_latest_checkpoint(runner.work_dir)
        now = run_record(runner)
        try:
            found = differences(saved_settings(meta), runner.cfg.to_dict(), free=FREE_IN_RESUMING)
        except ValueError as error:
            runner.logger.warning(f'The config in {source} cannot be compared with that of this run: {error}')
            found = []
        classes, known = (dict(about or {}).get('classes')
                          for about in (meta.get('dataset_meta'), runner.train_dataloader.dataset.metainfo))
        if not found and classes is not None and list(classes) != list(known):
            found.append(told('classes', list(classes), list(known)))
        if meta.get('world_size', now['world_size']) != now['world_size']:
            found.append(told('number of processes', meta['world_size'], now['world_size']))
        if found:
            raise InputError(f'the checkpoint {source} was trained with other settings, so it cannot be resumed: '
                             f'{"; ".join(found)}. Resume it with the settings that it was trained with, or start a new '
                             'training in another --work-dir')
        if meta.get('teacher', now.get('teacher')) != now.get('teacher'):
            raise InputError(f"the teacher {bare_model(runner).teacher_cfg['checkpoint']} has other weights than the one with "
                             f'which {source} was trained, so it cannot be resumed: give that one by --teacher PATH, or start '
                             'a new training in another --work-dir')
        if meta.get('memory', now.get('memory')) != now.get('memory'):
            before, after = ('no feature memory' if one == 'none' else f'the feature memory {one[:12]}'
                             for one in (meta['memory'], now['memory']))
            raise InputError(f'{source} was trained with {before}, and this run has {after}, so it cannot be resumed: put the '
                             f"memory of then beside the teacher {bare_model(runner).teacher_cfg['checkpoint']} "
                             '(model.memory.file), or start a new training in another --work-dir')


def run_record(runner: Runner) -> dict:
    """What a checkpoint's meta information tells of its run beside the config.

    Returns:
        ``world_size``, the number of processes, and of a student ``teacher``, the hash of the teacher's weights, and
        ``memory``, that of the feature memory that it replays, or 'none'.
    """
    record = dict(world_size=runner.world_size)
    model = bare_model(runner)
    if isinstance(model, IncrementalDetector):
        record['teacher'] = model.teacher.fingerprint
        record['memory'] = model.memory.fingerprint if model.memory is not None else 'none'
    return record
