"""Methods on splits with seeds: which runs a comparison is made of, and what is told before any of them is started."""

import copy
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from ..atomic_write import write_atomically
from ..config import building_error
from ..errors import InputError
from ..registry import MODELS
from .atomic_file import latest_checkpoint
from .building import check_loaders
from .chain import FLAGS, check_finished, check_options, check_testable, settings_for
from .chain_stages import ChainStage, check_folders, stages_of
from .hooks.metrics_file import VAL_FILE, read_figures
from .launch import use_training_flags
from .resume_check import TESTING, TRAINING, differences
from .student_settings import completed
from .work_dir import FINAL_CHECKPOINT

DEFAULT = 'default'
"""What the stages as their configs say are called among the methods."""

SETTINGS_FILE = 'settings.json'
"""In the folder of a comparison: the settings that its runs were begun with."""

_VALIDATION = ('val_dataloader', 'val_cfg', 'val_evaluator')


@dataclass
class ComparedChain:
    """A chain of one comparison.

    Attributes:
        config: Config file of the last stage, the split.
        method: The method's name, :data:`DEFAULT` for as the configs say.
        seed: The seed of all its stages.
        stages: The first stage first. Chains of a seed share those that are the same.
    """

    config: Path
    method: str
    seed: int
    stages: list[ChainStage]

    @property
    def split(self) -> str:
        """What the split is called."""
        return self.config.stem

    @property
    def from_scratch(self) -> bool:
        """Whether its first stage has no teacher before it, which nothing could be told of."""
        first = self.stages[0]
        return bool(first.brought) or not first.read().model.get('teacher')


def seed_folder(work_dir: Path, seed: int) -> Path:
    """The folder that gets one work dir a stage."""
    return work_dir / f'seed{seed}'


def named_methods(methods: Sequence[Optional[Path]]) -> dict[str, Optional[Path]]:
    """Methods by their names.

    Args:
        methods: Files of methods; ``None`` stands for the stages as their configs say.

    Raises:
        InputError: two have the same name.
    """
    named: dict[str, Optional[Path]] = {}
    for method in methods:
        name = method.stem if method else DEFAULT
        if method and name == DEFAULT:
            raise InputError(f'the method {method} has the name of the stages as their configs say, {DEFAULT}: give the file '
                             'another one')
        if name in named:
            same = [str(one or DEFAULT) for one in (named[name], method)]
            raise InputError(f'--methods: two are called {name}, {same[0]} and {same[1]}: '
                             f'{"leave one out" if same[0] == same[1] else "give their files different names"}')
        named[name] = method
    return named


def compared_chains(configs: Sequence[str], methods: Mapping[str, Optional[Path]], seeds: Sequence[int],
                    work_dir: Path) -> list[ComparedChain]:
    """The chains of a comparison, those of the first seed first.

    Args:
        configs: Config files of last stages.
        methods: Files by name, see :func:`named_methods`.
        seeds: Different seeds.
        work_dir: Folder of the comparison; each seed has :func:`seed_folder`.

    Raises:
        InputError: a config or seed is there twice; a config is that of a first stage; or see
            :func:`mmilmil.engine.chain_stages.stages_of` and :func:`mmilmil.engine.chain_stages.check_folders`.
    """
    for option, given in (('', [Path(config).resolve() for config in configs]), ('--seeds: ', seeds)):
        if twice := [one for index, one in enumerate(given) if one in given[:index]]:
            raise InputError(f'{option}{twice[0]} is there twice: leave one out')
    first = seed_folder(work_dir, seeds[0])
    read = [(Path(config), name, stages_of(config, str(first), method))
            for config in configs for name, method in methods.items()]
    for config, name, stages in read:
        if methods[name] is None and len(stages) == 1 and not stages[-1].read().model.get('teacher'):
            raise InputError(f'{config} is a first stage, which all methods have in common: give the config of a later stage')
    chains = [ComparedChain(config, name, seed, [_moved(stage, first, seed_folder(work_dir, seed)) for stage in stages])
              for seed in seeds for config, name, stages in read]
    check_folders(stage for chain in chains for stage in chain.stages)
    return chains


def _moved(stage: ChainStage, before: Path, now: Path) -> ChainStage:
    """The stage in the folder of another seed."""
    return replace(stage, work_dir=now / stage.work_dir.relative_to(before),
                   teacher=stage.teacher and now / stage.teacher.relative_to(before))


def runs_of(chains: Iterable[ComparedChain]) -> dict[Path, tuple[ChainStage, int]]:
    """The runs of these chains, each once: stage and seed by work dir, a teacher before its students."""
    return {stage.work_dir: (stage, chain.seed) for chain in chains for stage in chain.stages}


def with_seed(options: Sequence[str], seed: int) -> tuple[str, ...]:
    """The settings for ``--cfg-options`` of a run with this seed."""
    return (*options, f'randomness.seed={seed}')


def check_comparison(chains: Sequence[ComparedChain], work_dir: Path, options: Sequence[str] = (), flags: Sequence[str] = (),
                     on_val: bool = False) -> None:
    """What would stop a run, or mix runs of different settings, is told before the first one is started.

    The settings that the comparison is begun with are then written into :data:`SETTINGS_FILE`, where those of other methods,
    splits and seeds may join them.

    Args:
        chains: The chains.
        work_dir: Folder of the comparison.
        options: Settings for ``--cfg-options``, as ``key=value``.
        flags: Of :data:`mmilmil.engine.chain.FLAGS`.
        on_val: Whether its figures are those of the validation, so that there is nothing to test.

    Raises:
        InputError: names what is wrong and what to do: the comparison was begun with other settings; a finished run is of
            another config or teacher (:func:`check_finished`); a method does not fit the detector; a run cannot be tested
            (:func:`check_testable`), or leaves no figures of a validation.
    """
    if fixed := [option for option in options if option.split('=')[0] in ('randomness.seed', 'randomness', 'work_dir')]:
        raise InputError(f'--cfg-options {fixed[0]}: a comparison sets seed and folder of its runs: give --seeds, --work-dir')
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # configs and data are read many times
    options = tuple(options)
    check_options(options)
    once = {stage.work_dir.name: stage for stage, _ in reversed(runs_of(chains).values())}  # of each the first seed's
    settings = {name: _settings(stage, options, flags) for name, stage in reversed(once.items())}
    record = _recorded(work_dir)
    _check_record(record, settings, work_dir, options, flags, on_val)
    for name, cfg in settings.items():
        stage = once[name]
        if not stage.brought:
            _check_built(stage, cfg)
            if on_val:
                _check_validated(stage, cfg)
        if not on_val:
            check_testable(stage, options)
    for stage, seed in runs_of(chains).values():
        if stage.final.is_file() or not stage.teacher:
            check_finished(stage, with_seed(options, seed), flags)
    record = dict(stages={**record.get('stages', {}), **{name: _plain(cfg) for name, cfg in settings.items()}},
                  cfg_options=list(options), flags=list(flags))
    work_dir.mkdir(parents=True, exist_ok=True)
    write_atomically((json.dumps(record, indent=1) + '\n').encode(), work_dir / SETTINGS_FILE)


def _settings(stage: ChainStage, options: tuple[str, ...], flags: Sequence[str]) -> Config:
    cfg = stage.read(*settings_for(stage, options))
    if not stage.brought:
        use_training_flags(cfg, **{name: flag in flags for name, flag in FLAGS.items()})
    return cfg


def _plain(cfg: Config) -> dict:
    """A config as JSON gives it back, with all that a student's leaves to the defaults."""
    return json.loads(json.dumps(dict(cfg.to_dict(), model=completed(cfg.model.to_dict())), default=repr))


def _recorded(work_dir: Path) -> dict:
    path = work_dir / SETTINGS_FILE
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{path} is no JSON ({error}): restore it, or give another --work-dir') from error
    if not isinstance(record, dict) or not isinstance(record.get('stages'), dict):
        raise InputError(f'{path} is no record of a comparison: give another --work-dir')
    return record


def _check_record(record: Mapping[str, Any], settings: Mapping[str, Config], work_dir: Path, options: tuple[str, ...],
                  flags: Sequence[str], on_val: bool) -> None:
    """What was trained by now is what these settings would train."""
    keys = (*TRAINING, *(_VALIDATION if on_val else TESTING))
    for name, cfg in settings.items():
        before = record.get('stages', {}).get(name)
        if before is None or not _begun(work_dir, name):
            continue
        if found := differences(before, _plain(cfg), keys):
            then, now = (' '.join([*given_flags, *(['--cfg-options', *given] if given else [])]) or 'no --cfg-options'
                         for given_flags, given in ((record.get('flags', []), record.get('cfg_options', [])), (flags, options)))
            told = f' (then with {then}, now with {now})' if then != now else ''
            raise InputError(f'the comparison in {work_dir} was begun with other settings{told}: {name}: {"; ".join(found)}. '
                             'Restore the config, the method or --cfg-options, or give another --work-dir')


def _begun(work_dir: Path, name: str) -> bool:
    """Whether there is something of a stage with any seed."""
    folders = [folder / name for folder in work_dir.glob('seed*')]
    return any((folder / FINAL_CHECKPOINT).is_file() or latest_checkpoint(folder) for folder in folders if folder.is_dir())


def _check_built(stage: ChainStage, cfg: Config) -> None:
    """The model takes the settings that a method names."""
    check_loaders(cfg)
    init_default_scope(cfg.get('default_scope', 'mmilmil'))
    try:
        MODELS.build(copy.deepcopy(cfg.model))  # a detector writes into it
    except InputError as error:
        raise InputError(f'{stage.name}: {error}') from error
    except Exception as error:
        message = building_error(error)
        if message is None:
            raise
        raise InputError(f'{stage.name}: the config cannot be used: {message}') from error


def _check_validated(stage: ChainStage, cfg: Config) -> None:
    """A training ends with a validation."""
    begin, epochs = cfg.train_cfg.get('val_begin', 1), cfg.train_cfg.get('max_epochs') or cfg.train_cfg.get('max_iters')
    if not cfg.get('val_dataloader') or (isinstance(epochs, int) and begin > epochs):
        raise InputError(f'{stage.name} has no validation at the end of its training (val_dataloader, train_cfg.val_begin in '
                         f'{stage.config}), whose figures --split val takes: add it, or leave --split val out')


def final_figures(stage: ChainStage, on_val: bool = False) -> dict:
    """The figures of a finished run.

    Args:
        stage: The stage.
        on_val: Whether they are those of the validation that ends a training, not of a test.

    Raises:
        InputError: the last validation is not that of the final model, as the run was stopped between the two; or see
            :func:`mmilmil.engine.hooks.metrics_file.read_figures`.
    """
    if not on_val:
        return stage.metrics()
    path, last = stage.work_dir / VAL_FILE, latest_checkpoint(stage.work_dir)
    if not path.is_file() or (last and Path(last).stat().st_mtime_ns > path.stat().st_mtime_ns):
        raise InputError(f'{stage.work_dir} was stopped between its last epoch and the validation after it, so there are no '
                         f'figures of its final model: delete {stage.work_dir} to train it again')
    return read_figures(path)
