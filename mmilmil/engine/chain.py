"""Running the stages that a config stands on, one after the other, or what of them is missing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

from mmengine.registry import init_default_scope

from ..checkpoint import load_checkpoint_file
from ..errors import InputError
from ..models.hashes import weights_hash
from ..models.loading import load_detector
from ..stock import INCREMENTAL_KEYS, LATER_KEYS
from ..weights import may_exist
from .atomic_file import latest_checkpoint
from .chain_stages import ChainStage
from .dry_run import dry_run_test
from .hooks.metrics_file import TEST_FILE
from .launch import use_training_flags
from .processes import ONE_PROCESS, Start
from .resume_check import differences, saved_settings
from .screen import Screen
from .stage_log import end_of_log, log_size
from .stage_state import State
from .unlabelled import asks_teacher, use_unlabelled
from .work_dir import FINAL_CHECKPOINT

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
if not TOOLS.is_dir():  # installed as a wheel, the tools travel in the package
    TOOLS = Path(__file__).resolve().parents[1] / '.mim' / 'tools'

FLAGS = dict(amp='--amp', auto_scale_lr='--auto-scale-lr')
"""What a chain passes on to ``train.py``, by the names of :func:`mmilmil.engine.launch.use_training_flags`."""


def check_options(options: Sequence[str]) -> None:
    """Settings for every stage of a chain are none that only one of them may have.

    Args:
        options: Settings for ``--cfg-options``, as ``key=value``.

    Raises:
        InputError: they name a teacher.
    """
    if any(option.startswith('model.teacher.checkpoint') for option in options):
        raise InputError('--cfg-options model.teacher.checkpoint would give every stage the same teacher: name your own one in '
                         'the config (model.teacher), under any name but final.pth')


def check_finished(stage: ChainStage, options: tuple[str, ...] = (), flags: Sequence[str] = (),
                   unlabelled: Sequence[str] = ()) -> None:
    """A stage that is trained already was trained as its config says now, by the teacher that is there now.

    What its checkpoint does not tell is taken as it is, with a line that says so.

    Args:
        stage: The stage; one that is not finished passes, where the teacher that its user brings is there.
        options: Settings for ``--cfg-options``, as ``key=value``.
        flags: Of :data:`FLAGS`, those that ``train.py`` gets.
        unlabelled: Folders for ``--unlabelled``.

    Raises:
        InputError: names the stage, what differs and what to do.
    """
    if stage.brought:
        return
    cfg = stage.read(*settings_for(stage, options))
    use_training_flags(cfg, **{name: flag in flags for name, flag in FLAGS.items()})
    use_unlabelled(cfg, unlabelled if asks_teacher(cfg) else ())
    if not stage.final.is_file():
        file = (cfg.model.get('teacher') or {}).get('checkpoint')
        if not stage.teacher and isinstance(file, str) and not may_exist(file):
            raise InputError(f'{stage.name} cannot be trained: its teacher {file} does not exist: correct '
                             f'model.teacher.checkpoint in {stage.config}')
        return
    content = load_checkpoint_file(str(stage.final))
    meta = content.get('meta') or {}
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
    elif not _has_hash(teacher, meta['teacher']):
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
    cfg = stage.read(*settings_for(stage, options))
    if may_exist(stage.checkpoint) and stage.tested(cfg):
        return
    try:
        dry_run_test(cfg)
    except InputError as error:
        what = ', the teacher, cannot' if stage.brought else ' is not trained, as it could not'
        raise InputError(f'{stage.name}{what} be tested: {error}') from error


def _has_hash(teacher: Mapping, fingerprint: str) -> bool:
    content = load_checkpoint_file(teacher['checkpoint'])
    if weights_hash(content.get('state_dict', content)) == fingerprint:
        return True
    # A detector of one's own may be saved in other types than it has when it is loaded.
    init_default_scope('mmilmil')
    more = {name: teacher[name] for name in ('config', 'classes') if name in teacher}
    return weights_hash(load_detector(teacher['checkpoint'], **more)[0].state_dict()) == fingerprint


def run_stage(stage: ChainStage, options: tuple[str, ...] = (), tools: Path = TOOLS, start: Start = ONE_PROCESS,
              flags: Sequence[str] = (), unlabelled: Sequence[str] = (), screen: Optional[Screen] = None) -> dict:
    """Train and test one stage, or what of it is missing, each in processes of its own; returns the test figures.

    A teacher that the user brings is only tested.

    Args:
        stage: The stage. A run that was stopped is resumed from its latest checkpoint.
        options: Settings for ``--cfg-options``, as ``key=value``. Those of teacher and distillation that a stage has no use
            for, as it has no teacher or no such part, are left out with a line that says so.
        tools: Folder of the ``train.py`` and ``test.py`` to call. A tool gives its own, see :func:`own_tools`; by default
            those that came with this package.
        start: By what a tool is run; see :class:`mmilmil.engine.processes.Start`.
        flags: Of :data:`FLAGS`, those that ``train.py`` gets.
        unlabelled: Folders for ``--unlabelled``; a stage whose teacher is not asked is trained without, as a line tells.
        screen: What shows it; by default all goes where this process writes.

    Raises:
        InputError: see :func:`check_finished`; training or testing ended with an error; or ``options`` name a teacher.
    """
    screen = screen or Screen()
    log, begin, ran = screen.log_of(stage), 0, False
    try:
        for tool, args in stage_commands(stage, options, tools, flags, unlabelled, screen=screen):
            ran, begin = True, log_size(log) if log else 0
            (replace(start, log=log) if log else start)(stage.name, stage.work_dir, tool, *args)
    except InputError:
        screen.enter(stage, State.FAILED, f'{stage.name}: failed{end_of_log(log, begin) if log and ran else ""}')
        raise
    if ran:
        screen.enter(stage, State.DONE)
    return stage.metrics()


def stage_commands(stage: ChainStage, options: tuple[str, ...] = (), tools: Path = TOOLS, flags: Sequence[str] = (),
                   unlabelled: Sequence[str] = (), test: bool = True,
                   screen: Optional[Screen] = None) -> Iterator[tuple[Path, list[str]]]:
    """The tools that train and test a stage, or what of it is missing, each a file and its arguments.

    Each is to be run to its end before the next one is asked for. Arguments and errors are those of :func:`run_stage`, which
    runs them.

    Args:
        test: Whether it is tested too.
    """
    screen = screen or Screen()
    check_options(options)
    check_finished(stage, options, flags, unlabelled)
    settings, teacher = settings_for(stage, options)
    for option in options:
        if option not in settings:
            screen.note(f'{stage.name}: {option} is left out, this stage has nothing that it could set')
    method = ['--method', str(stage.method)] if stage.method else []
    shared = [*method, '--work-dir', str(stage.work_dir), *(['--cfg-options', *settings] if settings else [])]
    if stage.brought:
        screen.enter(stage, State.THERE, f'{stage.name}: brought, {stage.brought}')
    elif stage.final.is_file():
        screen.enter(stage, State.THERE, f'{stage.name}: already trained, {stage.final}')
    else:
        resume = ['--resume'] if latest_checkpoint(stage.work_dir) else []
        teach = ['--teacher', teacher] if teacher else []
        more = ['--unlabelled', *unlabelled] if unlabelled else []
        if more and not asks_teacher(stage.read(settings, teacher)):
            screen.note(f'{stage.name}: --unlabelled is left out, no teacher is asked in this stage')
            more = []
        screen.enter(stage, State.TRAINING,
                     f'{stage.name}: {"resuming training" if resume else "training"} in {stage.work_dir}')
        yield tools / 'train.py', [str(stage.config), *resume, *teach, *flags, *more, *shared]
    if test and not stage.tested(stage.read(settings, teacher)):
        screen.enter(stage, State.TESTING, f'{stage.name}: testing')
        # Figures of other settings must not pass for these, should this be stopped.
        (stage.work_dir / TEST_FILE).unlink(missing_ok=True)
        # Pages are built once, at the end of all, when what stands beside each is there.
        yield tools / 'test.py', [str(stage.config), stage.checkpoint, '--no-report', *shared]


def settings_for(stage: ChainStage, options: tuple[str, ...]) -> tuple[tuple[str, ...], Optional[str]]:
    """The settings that a stage has a use for, and its teacher's checkpoint where that is a stage's."""
    teacher = str(stage.teacher / FINAL_CHECKPOINT) if stage.teacher else None
    if stage.brought:  # its config need not have what only a training knows
        known = {key for key, value in stage.read().items() if value is not None}
        options = tuple(option for option in options if re.split(r'[.=]', option)[0] in known)
    if any(_student_key(option) for option in options):
        model = stage.read().model
        options = tuple(option for option in options if _applies(option, model))
    return options, teacher


def _student_key(option: str) -> Optional[str]:
    """The part of a student, or of its training set, that an option sets, such as ``distiller`` and ``replay``."""
    found = re.match(rf'model\.({"|".join(INCREMENTAL_KEYS)})\b', option)
    found = found or re.match(rf'train_dataloader\.[\w.]*\b({"|".join(LATER_KEYS)})\b', option)
    return found and found[1]


def _applies(option: str, model: Mapping) -> bool:
    key = _student_key(option)
    if key is None:
        return True
    switched_off = key in model and model[key] is None and option.startswith(f'model.{key}.')
    return bool(model.get('teacher')) and not switched_off
