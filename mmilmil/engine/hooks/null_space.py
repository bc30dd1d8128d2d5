"""Null-space projection of a student's updates, and the covariances that it needs."""

from pathlib import Path
from typing import Optional

from mmengine.config import Config, ConfigDict
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
from ...models.loading import detector_config, load_detector
from ...models.null_space import COVARIANCE_FILE, Covariances, Projection, gather
from ...models.settings import check_switch
from ...models.teacher import weights_hash
from ...registry import DATASETS, HOOKS
from ...weights import is_url
from ..atomic_file import save_atomically
from ..runner_state import bare_model, is_training
from ..work_dir import FINAL_CHECKPOINT


@HOOKS.register_module()
class NullSpaceHook(Hook):
    """Projects every update of a student's backbone and neck (:mod:`mmilmil.models.null_space`).

    The covariances lie in ``covariance.pth`` beside the teacher's checkpoint. Where they are not there yet, the images that the
    teacher was trained on are read once for them, which a line tells. At the end the student's own, added to them, are written
    beside its ``final.pth`` for the stage after it.

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
            _config_of(model)

    def before_train(self, runner: Runner) -> None:
        """Read or gather the covariances."""
        model = bare_model(runner)
        path = self._file(model)
        if is_main_process() and not path.is_file():
            cfg = _config_of(model)
            loader = _loader(cfg)
            print_log(f'no {COVARIANCE_FILE} beside the teacher: the {len(loader.dataset)} images that it was trained on are '
                      'read once for it', 'current')
            sums = gather(model.teacher.detector, loader)
            save_atomically(Covariances(sums, len(loader.dataset), model.teacher.fingerprint).content(), path)
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

    def after_run(self, runner: Runner) -> None:
        """Write those of the stages so far, of the final weights."""
        final = Path(runner.work_dir) / FINAL_CHECKPOINT
        if self._covariances is None or not is_main_process() or not final.is_file():
            return
        detector = load_detector(str(final), whose='the ', where='')[0].to(next(runner.model.parameters()).device)
        loader = _loader(runner.cfg)
        sums = gather(detector, loader)
        joined = self._covariances.joined(sums, len(loader.dataset), weights_hash(detector.state_dict()))
        save_atomically(joined.content(), final.with_name(COVARIANCE_FILE))


def _config_of(model: IncrementalDetector) -> Config:
    """The config of the teacher's own training.

    Raises:
        InputError: nobody knows it.
    """
    cfg = detector_config(model.teacher_cfg['checkpoint'], model.teacher_cfg.get('config'))
    if not cfg.get('train_dataloader'):
        raise InputError(f"the teacher {model.teacher_cfg['checkpoint']} does not tell which images it was trained on, "
                         f'and there is no {COVARIANCE_FILE} beside it: name its config, with a train_dataloader, in '
                         'model.teacher.config')
    return cfg if isinstance(cfg, Config) else Config(ConfigDict(cfg))


def _loader(cfg: Config) -> DataLoader:
    """The training images of a config without augmentation, each once, in batches."""
    pipeline = innermost_dataset(test_loader(cfg).dataset).pipeline
    sets = [DATASETS.build(dict(dataset, pipeline=pipeline)) for dataset in innermost_datasets(cfg.train_dataloader.dataset)]
    return DataLoader(ConcatDataset(sets), batch_size=cfg.train_dataloader.batch_size, collate_fn=pseudo_collate)
