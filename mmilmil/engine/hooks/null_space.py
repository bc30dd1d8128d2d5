"""Null-space projection of a student's updates, and the covariances that it needs."""

import tempfile
from itertools import chain
from pathlib import Path
from typing import Optional

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader

from ...errors import InputError
from ...loaders import innermost_dataset, innermost_datasets, test_loader
from ...models.detectors import IncrementalDetector
from ...models.hashes import weights_hash
from ...models.loading import detector_config, load_detector
from ...models.null_space import COVARIANCE_FILE, Covariances, Projection, gather
from ...models.settings import check_switch
from ...registry import DATASETS, HOOKS
from ...weights import is_url
from ..atomic_file import save_atomically
from ..runner_state import bare_model, is_training
from ..work_dir import FINAL_CHECKPOINT


@HOOKS.register_module()
class NullSpaceHook(Hook):
    """Projects every update of a student's backbone and neck (:mod:`mmilmil.models.null_space`).

    The covariances lie in ``covariance.pth`` beside the teacher's checkpoint. Where they are not there yet, the images that the
    teacher and its own teachers were trained on are read once for them, which a line tells. At the end the student's own, added
    to them, are written beside its ``final.pth`` for the stage after it.

    Args:
        scaled: Whether the backbone's projectors are divided by their Frobenius norms, as published.
        hold_norms: Whether normalisation layers of the trunk, and biases, stay as they are.

    Raises:
        InputError: the run has no teacher, the file is of another one, or nobody tells the teacher's images.
    """

    priority = 'VERY_HIGH'  # before an average is made of the weights
    changes_training = True
    """Of our hooks that do, settings are compared when a run is resumed."""

    def __init__(self, scaled: bool = True, hold_norms: bool = True) -> None:
        self.scaled = check_switch(scaled, 'NullSpaceHook.scaled')
        self.hold_norms = check_switch(hold_norms, 'NullSpaceHook.hold_norms')
        self._projection: Optional[Projection] = None
        self._covariances: Optional[Covariances] = None

    def before_run(self, runner: Runner) -> None:
        """Look for the covariances, or what they can be made of, before anything is trained."""
        if not is_training(runner):
            return
        model = bare_model(runner)
        if not isinstance(model, IncrementalDetector):
            raise InputError('NullSpaceHook projects updates by what a teacher saw, and this run has no teacher '
                             '(model.teacher): take it out of custom_hooks, or give the config of a later stage')
        if is_url(model.teacher_cfg['checkpoint']):
            raise InputError(f'NullSpaceHook writes {COVARIANCE_FILE} beside the teacher, and '
                             f"{model.teacher_cfg['checkpoint']} is a URL: download it and give its path")
        if not self._file(model).is_file():
            _configs_of(model)

    def before_train(self, runner: Runner) -> None:
        """Read or gather the covariances."""
        model = bare_model(runner)
        path = self._file(model)
        if is_main_process() and not path.is_file():
            loaders = [_loader(cfg) for cfg in _configs_of(model)]
            images = sum(len(loader.dataset) for loader in loaders)
            print_log(f'no {COVARIANCE_FILE} beside the teacher: the {images} images that it was trained on are read once for '
                      'it', 'current')
            sums = gather(model.teacher.detector, chain.from_iterable(loaders))
            save_atomically(Covariances(sums, images, model.teacher.fingerprint).content(), path)
        barrier()
        self._covariances = Covariances.load(path)
        self._covariances.check(model.teacher.fingerprint, model, model.teacher_cfg['checkpoint'])
        print_log(f'null space: {path}, {self._covariances}', 'current')
        self._projection = Projection(model, self._covariances.sums, self.scaled, self.hold_norms)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Note the weights."""
        self._projection.remember()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Project what the step did to them."""
        self._projection.apply()

    @staticmethod
    def _file(model: nn.Module) -> Path:
        return Path(model.teacher_cfg['checkpoint']).with_name(COVARIANCE_FILE)

    def before_final_model(self, runner: Runner, checkpoint: dict) -> None:
        """Write those of the stages so far, of what ``final.pth`` is about to hold; called in the main process alone."""
        work_dir, device = Path(runner.work_dir), next(runner.model.parameters()).device
        with tempfile.TemporaryDirectory(dir=work_dir) as folder:
            final = Path(folder) / FINAL_CHECKPOINT
            torch.save(checkpoint, final)
            detector = load_detector(str(final), whose='the ', where='')[0].to(device)
        loader = _loader(runner.cfg)
        joined = self._covariances.joined(gather(detector, loader), len(loader.dataset), weights_hash(detector.state_dict()))
        save_atomically(joined.content(), work_dir / COVARIANCE_FILE)
        print_log(f'null space: {work_dir / COVARIANCE_FILE}, {joined}', 'current')


def _configs_of(model: IncrementalDetector) -> list[Config]:
    """The configs of the trainings that made the teacher: its own and, where it had one, its teacher's.

    Raises:
        InputError: nobody knows one of them.
    """
    found, teacher = [], model.teacher_cfg
    while teacher:
        cfg = detector_config(teacher['checkpoint'], teacher.get('config'))
        if not cfg.get('train_dataloader'):
            raise InputError(f"the teacher {teacher['checkpoint']} does not tell which images it was trained on, and there is "
                             f"no {COVARIANCE_FILE} beside {model.teacher_cfg['checkpoint']}: name its config, with a "
                             'train_dataloader, in model.teacher.config')
        found.append(cfg if isinstance(cfg, Config) else Config(cfg))
        teacher = found[-1].model.get('teacher')
    return found


def _loader(cfg: Config) -> DataLoader:
    """The training images of a config without augmentation, each once, in batches."""
    pipeline = innermost_dataset(test_loader(cfg).dataset).pipeline
    sets = [DATASETS.build(dict(dataset, pipeline=pipeline)) for dataset in innermost_datasets(cfg.train_dataloader.dataset)]
    return DataLoader(ConcatDataset(sets), batch_size=cfg.train_dataloader.batch_size, collate_fn=pseudo_collate)
