"""Stops a run whose parts contradict one another, before anything is trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint

from ...class_names import classes_in
from ...datasets.masks import check_masks_loaded, has_mask_head
from ...datasets.moves import check_moves
from ...datasets.several_sets import check_sets
from ...errors import InputError
from ...loaders import innermost_datasets, located_datasets
from ...models.detectors import IncrementalDetector
from ...models.fit import load_weights, told_otherwise
from ...models.heads import class_heads
from ...models.loading import detector_config
from ...models.supported import check_supported
from ...registry import HOOKS
from ...stage import Stage
from ...stock import full_model_cfg
from ..dry_run import check_category_order, dry_run
from ..picture_check import check_pictures
from ..runner_state import bare_model, is_built, is_training
from .atomic_checkpoint import AtomicCheckpointHook


@HOOKS.register_module()
class StageCheckHook(Hook):
    """Compares datasets, head and teacher before the run (protocol 4, 5, 7), and tries its evaluation on an image of each set.

    Raises:
        InputError: the detector is not supported (:mod:`mmilmil.models.supported`), ``num_classes`` is not the number of
            classes, datasets have different classes or groups, the teacher's classes are not the student's old classes in the
            same order, its numbers mean other things (:mod:`mmilmil.models.meaning`), its images have other values, cached
            teacher boxes are another teacher's, lack images or cannot follow the training pipeline; a mask head learns from
            data whose masks are not loaded; sets that are evaluated together do not fit
            (:mod:`mmilmil.datasets.several_sets`); the evaluator cannot evaluate the dataset, or does not report what
            ``save_best`` names; in testing and resuming also: the checkpoint is another model's; in testing: it names other
            classes.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Check what the run will use: after the datasets are built, before any weight is initialised."""
        model = bare_model(runner)
        detector = getattr(model, 'architecture', model)  # a pruning algorithm has its detector inside
        check_supported(detector, f'the model of {runner.cfg.filename or "the config"}')
        training = is_training(runner)
        evaluations = {name: loop for name, loop in (('val', runner._val_loop), ('test', runner._test_loop)) if is_built(loop)}
        for name, loop in evaluations.items():
            check_sets(loop.dataloader.dataset, f'{name}_dataloader')
        stages = dict(_stages(runner))
        check_classes(stages, {f'model.{name}': head.num_classes for name, head in class_heads(detector).items()})
        if training and has_mask_head(detector):
            check_masks_loaded(runner.train_dataloader.dataset)
        if training:
            check_unlabelled(runner.train_dataloader.dataset, model)
        if training and isinstance(model, IncrementalDetector):
            check_teacher(next(iter(stages.values())), model.teacher.classes, model.teacher_cfg['checkpoint'])
            check_pictures(detector_config(model.teacher_cfg['checkpoint'], model.teacher_cfg.get('config')), runner.cfg,
                           f"the teacher {model.teacher_cfg['checkpoint']}")
            if model.replay is not None:
                print_log(f'feature memory {model.memory.path}: {model.memory}' if model.memory is not None else
                          f"no feature memory beside the teacher {model.teacher_cfg['checkpoint']}: nothing is replayed",
                          'current')
                if model.memory is not None and model.replay.follow and not getattr(model.distiller, 'needs_rois', False):
                    print_log('model.memory.follow: the distiller compares no RoIs, by which the memory would follow the '
                              'student; it is replayed as the teacher has it', 'current')
            if model.teacher_boxes is not None and model.merging is not None:
                dataset = runner.train_dataloader.dataset
                check_moves(dataset, model.data_preprocessor, runner.hooks)
                model.cache.check_images(dataset.get_data_info(index)['img_id'] for index in range(len(dataset)))
        figures = {}
        for name, loop in evaluations.items():
            dataset = loop.dataloader.dataset
            check_category_order(loop.evaluator, dataset.metainfo['classes'], name)
            figures[name] = dry_run(loop.evaluator, dataset, name, has_mask_head(detector))
        if training:
            validates = 'val' in figures and _validates(runner.train_loop)
            for hook in runner.hooks:
                if isinstance(hook, AtomicCheckpointHook):
                    hook.check_figures(figures.get('val', {}), validates)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check that a checkpoint to be tested or resumed fits; MMEngine would leave out what does not, and run on with noise.

        Training that starts from a checkpoint (``load_from``) may take a part of it, as everywhere in MMDetection.
        """
        model, meta = bare_model(runner), checkpoint.get('meta') or {}
        source = runner._load_from or find_latest_checkpoint(runner.work_dir)
        resuming = is_training(runner) and runner._resume
        if resuming and not {'optimizer', 'message_hub'} <= checkpoint.keys():
            raise InputError(f'the checkpoint {source} holds weights without the state of the training, so it cannot '
                             f'be resumed: resume an epoch_*.pth of this run, start from these weights by load_from, or start '
                             f'a new training in another --work-dir, or in this one after deleting {Path(source).parent}')
        if resuming or not is_training(runner):
            wrong = load_weights(model, checkpoint.get('state_dict', checkpoint))
            if wrong:
                wrong = '; '.join([*told_otherwise(meta, full_model_cfg(runner.cfg.model)), *wrong])
                raise InputError(f'the checkpoint {source} does not fit the model of the config: {wrong}. Give the config that '
                                 'it was trained with')
        if not is_training(runner):
            check_names(classes_in(meta), next(_stages(runner))[1].classes, source)


def check_names(found: Optional[tuple[str, ...]], classes: tuple[str, ...], checkpoint: str) -> None:
    """A checkpoint was trained with the classes that it is tested with, in the same order.

    Args:
        found: The names in the checkpoint, if there are any.
        classes: The names in the config, which all its datasets have.
        checkpoint: The checkpoint's path, for the message.
    """
    if found and found != classes:
        raise InputError(f'the checkpoint {checkpoint} knows the classes {list(found)}, and metainfo.classes of the config are '
                         f'{list(classes)}: names and order must be equal. Correct the classes, or give the config that it was '
                         'trained with')


def check_classes(stages: dict[str, Stage], num_classes: dict[str, int]) -> None:
    """Every dataset has the same classes in the same groups, as many as each head has.

    Args:
        stages: The stage that each dataloader's metainfo describes, by the dataloader's name in the config.
        num_classes: By the head's name in the config, as ``model.roi_head.bbox_head``.
    """
    first_name, first = None, None
    for name, stage in stages.items():
        first_name, first = first_name or name, first or stage
        if stage.classes != first.classes:
            raise InputError(f'{first_name} and {name} have different classes: {list(first.classes)} and '
                             f'{list(stage.classes)}. Give both the same metainfo')
        if stage.split != first.split:
            raise InputError(f'{first_name} and {name} have different groups of classes: split = {first.split} and '
                             f'{stage.split}. Give both the same metainfo')
        for head, number in num_classes.items():
            if len(stage.classes) != number:
                raise InputError(f'num_classes = {number} in {head}, but metainfo.classes of {name} has {len(stage.classes)} '
                                 f'names: set num_classes to {len(stage.classes)} or correct the classes')


def check_teacher(stage: Stage, teacher_classes: tuple[str, ...], checkpoint: str) -> None:
    """The teacher's classes are the stage's old classes, in the same order.

    Args:
        stage: The student's stage.
        teacher_classes: Names in the teacher's checkpoint.
        checkpoint: That checkpoint's path, for the message.
    """
    if not stage.old:
        raise InputError(f'metainfo.split = {stage.split} has one group, so there is nothing that a teacher could know: '
                         'split the classes into old and new groups, or train the stock detector')
    if tuple(teacher_classes) != stage.old:
        raise InputError(f'the teacher {checkpoint} knows the classes {list(teacher_classes)}, but the old classes of this '
                         f'stage (metainfo.classes without its last group of {stage.split[-1]}) are {list(stage.old)}: names '
                         'and order must be equal. Choose the right teacher, or put the classes in its order')


def check_unlabelled(dataset, model) -> None:
    """Somebody tells what is on the images that nobody has annotated.

    Args:
        dataset: The training set, built, in whatever wrappers.
        model: The detector.

    Raises:
        InputError: the detector has no teacher, or a method that does not ask it.
    """
    folders = [folder for one in innermost_datasets(dataset) for folder in getattr(one, 'unlabelled', ())]
    if folders and not (isinstance(model, IncrementalDetector) and (model.distiller is not None or model.merging is not None)):
        raise InputError(f'the unlabelled images of {", ".join(folders)} teach nothing where no teacher is asked what is on '
                         "them: leave them out (train_dataloader.dataset.unlabelled = None), or train by a student's method "
                         'with model.distiller or model.merging')


def _validates(loop) -> bool:
    """Whether a training comes to a validation; its last epoch or iteration has one."""
    return getattr(loop, 'val_begin', 1) <= (loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters)


def _stages(runner: Runner) -> Iterator[tuple[str, Stage]]:
    """The stage of each dataset, the training's first, behind its place in the config."""
    for name, loop in (('train_dataloader', runner._train_loop), ('val_dataloader', runner._val_loop),
                       ('test_dataloader', runner._test_loop)):
        if loop is None:
            continue
        # One that is not built in this run, like the test set in training, must fit all the same by what its config says.
        built = is_built(loop)
        sets = list(located_datasets(loop.dataloader.dataset if built else runner.cfg[name].dataset, f'{name}.dataset'))
        for place, dataset in sets:
            metainfo = dataset.metainfo if built else dataset.get('metainfo')
            if metainfo is not None:
                yield name if len(sets) == 1 else place, Stage.from_metainfo(metainfo, f'{place}.metainfo')
