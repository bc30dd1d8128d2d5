"""The stages that a config stands on, and running them one after the other."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..checkpoint import config_values, load_checkpoint_file
from ..errors import InputError
from ..loaders import innermost_dataset
from ..models.teacher import load_detector, weights_hash
from ..stock import INCREMENTAL_KEYS
from ..weights import is_url, may_exist
from .atomic_file import latest_checkpoint
from .cli import check_folder, parse_options, read_config
from .dry_run import dry_run_test
from .hooks.metrics_file import TEST_FILE, read_figures
from .resume_check import TESTING, differences, saved_settings
from .work_dir import FINAL_CHECKPOINT, run_name

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
if not TOOLS.is_dir():  # installed as a wheel, the tools travel in the package
    TOOLS = Path(__file__).resolve().parents[1] / '.mim' / 'tools'


@dataclass
class ChainStage:
    """One run of a chain.

    Attributes:
        config: Config file.
        work_dir: Folder of the run.
        teacher: Work dir of the stage whose final model is the teacher; ``None`` for a run without one, or with one that the
            user brings.
        method: File of the method by which the stage is run, see :mod:`mmilmil.engine.methods`; ``None`` for as its config
            says.
    """

    config: Path
    work_dir: Path
    teacher: Optional[Path] = None
    method: Optional[Path] = None

    @property
    def name(self) -> str:
        """The config file's name without its ending, with the method's behind it."""
        return run_name(self.config, self.method)

    @property
    def files(self) -> tuple[Path, ...]:
        """What the stage is: the files of its config and its method."""
        return tuple(path.resolve() for path in (self.config, self.method) if path)

    def read(self, options: tuple[str, ...] = (), teacher: Optional[str] = None) -> Config:
        """The stage's config.

        Args:
            options: Settings for ``--cfg-options``, as ``key=value``.
            teacher: The teacher's checkpoint, in place of the config's.
        """
        return read_config(str(self.config), parse_options(options), teacher=teacher, method=self.method)

    @property
    def is_joint(self) -> bool:
        """Whether it is trained on the boxes of all classes seen, without a teacher: the upper bound of a chain."""
        cfg = self.read()
        keep = innermost_dataset(cfg.train_dataloader.dataset).get('keep') if cfg.get('train_dataloader') else None
        return keep == 'seen' and not cfg.model.get('teacher')

    @property
    def final(self) -> Path:
        """The checkpoint that tells that training is finished."""
        return self.work_dir / FINAL_CHECKPOINT

    def tested(self, cfg: Optional[Config] = None) -> bool:
        """Whether the test figures are those of the final model: not of another checkpoint, nor of an earlier run.

        Args:
            cfg: The stage's config; with it, nor of other settings.
        """
        path = self.work_dir / TEST_FILE
        return (path.is_file() and path.stat().st_mtime_ns >= self.final.stat().st_mtime_ns
                and self.metrics().get('checkpoint') == FINAL_CHECKPOINT
                and (cfg is None or not self._differently_tested(cfg)))

    def _differently_tested(self, cfg: Config) -> bool:
        try:
            # MMEngine leaves the config of the last run in a folder there.
            tested = config_values((self.work_dir / f'{self.name}.py').read_text())
        except (OSError, ValueError):
            return False  # nothing to compare with
        return bool(differences(tested, cfg.to_dict(), TESTING))

    def metrics(self) -> dict:
        """The test figures; see :class:`MetricsFileHook`."""
        return read_figures(self.work_dir / TEST_FILE)


def stages_of(config: str, root: Optional[str] = None, method: Optional[Path] = None) -> list[ChainStage]:
    """The stages behind ``config``, the first to train first and ``config`` itself last.

    A teacher whose checkpoint is not called ``final.pth`` was not made by a stage of ours: it is used as it is, and the chain
    begins with its student.

    Args:
        config: Config file of the last stage.
        root: Folder that gets one work dir a stage. Without it each stage has its own default, and a teacher the folder in
            which the student's config looks for it.
        method: File of the method by which the students are run; the first stage is the same by all methods.

    Raises:
        InputError: a config is missing, two stages share a work dir, or a config is its own teacher; or the method does not
            fit (:func:`mmilmil.engine.methods.lay_over`).
    """
    stages: list[ChainStage] = []
    work_dir = None
    while config:
        if any(Path(config).resolve() == stage.config.resolve() for stage in stages):
            raise InputError(f'{config} is its own teacher, directly or through others: correct model.teacher.config')
        if stages and not read_config(str(config)).model.get('teacher'):
            method = None
        cfg = read_config(str(config), work_dir=work_dir, method=method)
        path = Path(root) / run_name(config, method) if root else Path(cfg.work_dir)
        stages.append(ChainStage(Path(config), path, method=method))
        config, work_dir = _teacher(cfg)
    stages.reverse()
    for teacher, student in zip(stages, stages[1:]):
        student.teacher = teacher.work_dir
    check_folders(stages)
    return stages


def check_folders(stages: Iterable[ChainStage]) -> None:
    """Every stage can write into its work dir, and no two share one, where one would pass for the other.

    Raises:
        InputError: names the two configs and the folder, or see :func:`mmilmil.engine.cli.check_folder`.
    """
    owner = {}
    for stage in stages:
        check_folder(stage.work_dir, '--work-dir')
        other = owner.setdefault(stage.work_dir.resolve(), stage)
        if other.files != stage.files:
            mine, hers = (' by '.join(map(str, filter(None, (one.config, one.method)))) for one in (stage, other))
            raise InputError(f'two stages would share the folder {stage.work_dir}, {hers} and {mine}: give their files '
                             'different names')


def _teacher(cfg: Config) -> tuple[Optional[str], Optional[str]]:
    """Config and work dir of the teacher that a stage makes; nothing of one that the user brings."""
    teacher = cfg.model.get('teacher')
    if not teacher or not isinstance(teacher.get('config'), str):
        return None, None
    if not isinstance(teacher.get('checkpoint'), str):
        return teacher.config, None
    if is_url(teacher.checkpoint):
        return None, None
    checkpoint = Path(teacher.checkpoint)
    return (teacher.config, str(checkpoint.parent)) if checkpoint.name == FINAL_CHECKPOINT else (None, None)


def check_finished(stage: ChainStage, options: tuple[str, ...] = ()) -> None:
    """A stage that is trained already was trained as its config says now, by the teacher that is there now.

    What its checkpoint does not tell is taken as it is, with a line that says so.

    Args:
        stage: The stage; one that is not finished passes.
        options: Settings for ``--cfg-options``, as ``key=value``.

    Raises:
        InputError: names the stage, what differs and what to do.
    """
    if not stage.final.is_file():
        return
    content = load_checkpoint_file(str(stage.final))
    meta, cfg = content.get('meta') or {}, stage.read(*_options(stage, options))
    remedy = f'give another --work-dir, or delete {stage.work_dir} to train the stage again'
    try:
        found = differences(saved_settings(meta), cfg.to_dict())
    except ValueError as error:
        print(f'{stage.name}: used as it is, the config in {stage.final} cannot be compared: {error}', flush=True)
        found = []
    if found:
        raise InputError(f'the finished stage {stage.name} ({stage.final}) no longer matches its config {stage.config}: '
                         f'{"; ".join(found)}. Restore the config, {remedy}')
    teacher = cfg.model.get('teacher') or {}
    file = teacher.get('checkpoint') or ''
    if not may_exist(file):
        if stage.teacher:  # it would be trained again, into another one
            raise InputError(f'the finished stage {stage.name} ({stage.final}) was trained with the teacher {file}, which does '
                             f'not exist: restore it, {remedy}')
        return  # a finished stage can do without
    if 'teacher' not in meta:
        print(f'{stage.name}: used as it is, {stage.final} does not tell which teacher it had', flush=True)
    elif not _has_hash(file, teacher.get('config'), meta['teacher']):
        raise InputError(f'the finished stage {stage.name} ({stage.final}) was trained with another teacher than {file} is '
                         f'now: restore that one, {remedy}')


def check_testable(stage: ChainStage, options: tuple[str, ...] = ()) -> None:
    """What the test of a stage would stop at, such as a list that is missing, is told before anything is trained.

    Args:
        stage: The stage; one that is tested passes.
        options: Settings for ``--cfg-options``, as ``key=value``.

    Raises:
        InputError: see :func:`mmilmil.engine.dry_run.dry_run_test`.
    """
    cfg = stage.read(*_options(stage, options))
    if stage.final.is_file() and stage.tested(cfg):
        return
    try:
        dry_run_test(cfg)
    except InputError as error:
        raise InputError(f'{stage.name} could be trained but not tested: {error}') from error


def _has_hash(checkpoint: str, config: Optional[str], fingerprint: str) -> bool:
    if weights_hash(load_checkpoint_file(checkpoint)['state_dict']) == fingerprint:
        return True
    # A detector of one's own may be saved in other types than it has when it is loaded.
    init_default_scope('mmilmil')
    return weights_hash(load_detector(checkpoint, config)[0].state_dict()) == fingerprint


def run_stage(stage: ChainStage, options: tuple[str, ...] = (), tools: Path = TOOLS) -> dict:
    """Train and test one stage, or what of it is missing, each in a process of its own; returns the test figures.

    Args:
        stage: The stage. A run that was stopped is resumed from its latest checkpoint.
        options: Settings for ``--cfg-options``, as ``key=value``. Those of teacher and distillation that a stage has no use
            for, as it has no teacher or no such part, are left out with a line that says so.
        tools: Folder of the ``train.py`` and ``test.py`` to call. A tool gives its own, see :func:`own_tools`; by default
            those that came with this package.

    Raises:
        InputError: see :func:`check_finished`; training or testing ended with an error, which the process has printed; or
            ``options`` name a teacher.
    """
    if any(option.startswith('model.teacher.checkpoint') for option in options):
        raise InputError('--cfg-options model.teacher.checkpoint would give every stage the same teacher: name your own one in '
                         'the config (model.teacher), under any name but final.pth')
    check_finished(stage, options)
    settings, teacher = _options(stage, options)
    for option in options:
        if option not in settings:
            print(f'{stage.name}: {option} is left out, this stage has nothing that it could set', flush=True)
    method = ['--method', str(stage.method)] if stage.method else []
    shared = [*method, '--work-dir', str(stage.work_dir), *(['--cfg-options', *settings] if settings else [])]
    if stage.final.is_file():
        print(f'{stage.name}: already trained, {stage.final}', flush=True)
    else:
        resume = ['--resume'] if latest_checkpoint(stage.work_dir) else []
        print(f'{stage.name}: {"resuming training" if resume else "training"} in {stage.work_dir}', flush=True)
        _call(tools / 'train.py', str(stage.config), *resume, *(['--teacher', teacher] if teacher else []), *shared)
    if not stage.tested(stage.read(settings, teacher)):
        print(f'{stage.name}: testing', flush=True)
        # Figures of other settings must not pass for these, should this be stopped.
        (stage.work_dir / TEST_FILE).unlink(missing_ok=True)
        _call(tools / 'test.py', str(stage.config), str(stage.final), *shared)
    return stage.metrics()


def _options(stage: ChainStage, options: tuple[str, ...]) -> tuple[tuple[str, ...], Optional[str]]:
    """The settings that a stage has a use for, and its teacher's checkpoint where that is a stage's."""
    teacher = str(stage.teacher / FINAL_CHECKPOINT) if stage.teacher else None
    if any(_student_key(option) for option in options):
        model = stage.read().model
        options = tuple(option for option in options if _applies(option, model))
    return options, teacher


def _student_key(option: str) -> Optional[str]:
    """The part of a student that an option sets, such as ``distiller``."""
    found = re.match(rf'model\.({"|".join(INCREMENTAL_KEYS)})\b', option)
    return found and found[1]


def _applies(option: str, model: Mapping) -> bool:
    key = _student_key(option)
    if key is None:
        return True
    switched_off = key in model and model[key] is None and option.startswith(f'model.{key}.')
    return bool(model.get('teacher')) and not switched_off


def _call(tool: Path, *args: str) -> None:
    command = [sys.executable, str(tool), *args]
    status = subprocess.run(command, check=False, preexec_fn=ending_with_this_process()).returncode
    if status:
        raise InputError(f'`{" ".join(command[1:])}` failed with status {status}: see its message above')


def ending_with_this_process() -> Optional[Callable]:
    """A ``preexec_fn`` for a process that ends with this one, however that ends; it would train beside the next call's."""
    return partial(_end_with, os.getpid()) if sys.platform == 'linux' else None


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, see prctl(2)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)
