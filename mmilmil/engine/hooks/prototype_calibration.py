"""Putting a student's classifier right by prototypes of what the teacher's memory keeps, when training ends."""

import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Subset

from ...errors import InputError
from ...models.code_prototypes import calibrate, carried_over, prototypes
from ...models.detectors import IncrementalDetector
from ...models.head_codes import codes_of_memory, codes_of_stage
from ...models.settings import check_number
from ...models.views.base import box_heads
from ...registry import HOOKS
from ..runner_state import bare_model, is_training


@HOOKS.register_module()
class PrototypeCalibrationHook(Hook):
    """Trains the classifier of each box head on prototypes, after the last step, before the validation that ends the training.

    Prototypes of the old classes and of background come from the teacher's feature memory, through the teacher's head, and are
    carried over by how the codes of the stage's own RoIs have moved from teacher to student; those of the new classes come from
    the annotated boxes. Everything but the classifiers stays as it is.

    Source: prototype semantic drift compensation of FaCHD (2026). Background is not in the paper: without it nothing would hold
    the background's row, which every step would lower.

    Args:
        images: Images of the stage that are looked at, drawn by the run's seed.
        local: Local prototypes of a class, see :func:`mmilmil.models.code_prototypes.prototypes`.
        neighbours: Codes of a local prototype.
        new_weight: Weight of the new classes.
        steps, lr: Of Adam.
    """

    priority = 'LOW'  # before FinalModelHook

    def __init__(self, images: int = 200, local: int = 5, neighbours: int = 8, new_weight: float = 0.4, steps: int = 100,
                 lr: float = 1e-3) -> None:
        whole = dict(images=(images, 1), local=(local, 0), neighbours=(neighbours, 1), steps=(steps, 0))
        for name, (value, low) in whole.items():
            check_number(value, f'{name} of PrototypeCalibrationHook', low, whole=True)
        check_number(new_weight, 'new_weight of PrototypeCalibrationHook', 0)
        check_number(lr, 'lr of PrototypeCalibrationHook', 0)
        self.images = images
        self.local = local
        self.neighbours = neighbours
        self.new_weight = new_weight
        self.steps = steps
        self.lr = lr
        self._done = False

    def before_train(self, runner: Runner) -> None:
        """Whether there is what it needs is to be known now.

        Raises:
            InputError: the detector is no student with a RoI head, there is no memory, or weights are averaged.
        """
        model = bare_model(runner)
        if not isinstance(model, IncrementalDetector) or not hasattr(model, 'roi_head'):
            raise InputError(f'PrototypeCalibrationHook is for a student with a RoI head, and the model is a '
                             f'{type(model).__name__}: leave it out of the hooks')
        if model.memory is None:
            raise InputError("PrototypeCalibrationHook needs the teacher's feature memory, and model.memory is off or there is "
                             f"none beside {model.teacher_cfg['checkpoint']}: make it with `python tools/build_memory.py "
                             'CONFIG CHECKPOINT`, or take a method without prototypes, such as cross_head')
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise InputError('PrototypeCalibrationHook changes the weights that were trained, and an EMAHook saves averaged '
                             'ones instead: leave one of them out')
        self._done = False

    def before_val_epoch(self, runner: Runner) -> None:
        """The validation that ends a training is one of what ``final.pth`` will hold."""
        if is_training(runner) and runner.iter >= runner.max_iters:
            self._calibrate_once(runner)

    def after_train(self, runner: Runner) -> None:
        """Where no validation came after the last step."""
        self._calibrate_once(runner)

    def _calibrate_once(self, runner: Runner) -> None:
        """In the main process, from which the others take it over."""
        if self._done:
            return
        if is_main_process():
            self._calibrate(runner)
        for head in box_heads(bare_model(runner)):
            for parameter in head.fc_cls.parameters():
                broadcast(parameter.data)
        self._done = True

    @torch.no_grad()
    def _calibrate(self, runner: Runner) -> None:
        student = bare_model(runner)
        teacher, dataset = student.teacher.detector, runner.train_dataloader.dataset
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(runner.seed or 0)).tolist()
        # The loader's own is None where a batch sampler makes the batches.
        loader = DataLoader(Subset(dataset, order[:self.images]), batch_size=runner.cfg.train_dataloader.batch_size,
                            collate_fn=pseudo_collate)
        mode = student.training
        student.eval()
        stage = codes_of_stage(student, teacher, loader)
        known = codes_of_memory(student.memory, teacher)
        for head, mine, (codes, labels) in zip(box_heads(student), stage, known, strict=True):
            labels = labels.masked_fill(labels == student.teacher.num_classes, head.num_classes)
            old = carried_over(prototypes(codes, labels, self.local, self.neighbours), mine.before, mine.after)
            new = prototypes(mine.objects, mine.labels, self.local, self.neighbours)
            first, last = calibrate(head.fc_cls, old, new, self.new_weight, self.steps, self.lr)
            print_log(f'prototypes: {len(old)} old, {len(new)} new; the loss of the classifier on them went from {first:.3f} '
                      f'to {last:.3f}', 'current')
        student.train(mode)
