"""What a config stands on: the stages of its chain, and the teacher that a user brings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Optional, Union

from mmengine.config import Config

from ..checkpoint import config_values
from ..config import read_file
from ..datasets.stage_filter import StageFilterMixin
from ..errors import InputError
from ..loaders import innermost_dataset, innermost_datasets
from ..registry import DATASETS
from ..weights import is_url, may_exist
from .cli import check_folder, parse_options, read_config
from .hooks.metrics_file import TEST_FILE, name_in, read_figures
from .hooks.run_cost import read_cost
from .resume_check import TESTING, differences
from .work_dir import FINAL_CHECKPOINT, run_name


@dataclass
class ChainStage:
    """One run of a chain, or the teacher that a user brings, which is only tested.

    Attributes:
        config: Config file.
        work_dir: Folder of the run.
        teacher: Work dir of the stage whose final model is the teacher; ``None`` for a run without one, or with one that the
            user brings.
        method: File of the method by which the stage is run, see :mod:`mmilmil.engine.methods`; ``None`` for as its config
            says.
        brought: Checkpoint, or its URL, of a teacher that the user brings; ``None`` for a stage that is trained.
    """

    config: Path
    work_dir: Path
    teacher: Optional[Path] = None
    method: Optional[Path] = None
    brought: Optional[str] = None

    @property
    def name(self) -> str:
        """The config file's name without its ending, with the method's behind it."""
        return run_name(self.config, self.method)

    @property
    def files(self) -> tuple[Union[Path, str], ...]:
        """What the stage is: the files of its config, of its method and of a brought teacher."""
        paths = filter(None, (self.config, self.method, self.brought))
        return tuple(path if is_url(path) else Path(path).resolve() for path in paths)

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
        if self.brought:
            return False
        cfg = self.read()
        keep = innermost_dataset(cfg.train_dataloader.dataset).get('keep') if cfg.get('train_dataloader') else None
        return keep == 'seen' and not cfg.model.get('teacher')

    @property
    def final(self) -> Path:
        """The checkpoint that tells that training is finished."""
        return self.work_dir / FINAL_CHECKPOINT

    @property
    def checkpoint(self) -> str:
        """What is tested: the final model, or the brought one, which may be a URL."""
        return self.brought or str(self.final)

    def tested(self, cfg: Optional[Config] = None) -> bool:
        """Whether the test figures are those of the checkpoint: not of another one, nor of an earlier file of that name.

        Args:
            cfg: The stage's config; with it, nor of other settings.
        """
        figures, checkpoint = self.work_dir / TEST_FILE, Path(self.checkpoint)
        older = checkpoint.is_file() and figures.is_file() and figures.stat().st_mtime_ns < checkpoint.stat().st_mtime_ns
        return (figures.is_file() and not older
                and self.metrics().get('checkpoint') == name_in(self.work_dir, self.checkpoint)
                and (cfg is None or not self._differently_tested(cfg)))

    def _differently_tested(self, cfg: Config) -> bool:
        try:
            # MMEngine leaves the config of the last run in a folder there.
            tested = config_values((self.work_dir / f'{self.name}.py').read_text())
        except (OSError, ValueError):
            return False  # nothing to compare with
        return bool(differences(tested, cfg.to_dict(), TESTING))

    def metrics(self) -> dict:
        """The test figures, see :class:`MetricsFileHook`, and what was ``kept``, see :class:`RunCostHook`."""
        cost = read_cost(self.work_dir)
        return dict(read_figures(self.work_dir / TEST_FILE), **({'kept': cost['kept']} if cost else {}))


def stages_of(config: str, root: Optional[str] = None, method: Optional[Path] = None) -> list[ChainStage]:
    """The stages behind ``config``, the first to train first and ``config`` itself last.

    A teacher whose checkpoint is not called ``final.pth``, or whose config has no ``train_dataloader``, was not made by a stage
    of ours: it is never trained. It stands in front to be tested where its config says how, and otherwise, as a line tells, the
    chain begins with its student.

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
    work_dir, teacher = None, {}
    while config:
        if any(Path(config).resolve() == stage.config.resolve() for stage in stages):
            raise InputError(f'{config} is its own teacher, directly or through others: correct model.teacher.config')
        if stages and not read_config(str(config)).model.get('teacher'):
            method = None
        cfg = read_config(str(config), work_dir=work_dir, method=method)
        path = Path(root) / run_name(config, method) if root else Path(cfg.work_dir)
        stages.append(ChainStage(Path(config), path, method=method))
        teacher = cfg.model.get('teacher') or {}
        if not isinstance(teacher, Mapping):
            raise InputError(f'model.teacher = {teacher!r} in {config}: give dict(config=PATH, checkpoint=PATH)')
        config, work_dir = _made_by(teacher)
    stages.reverse()
    for before, student in zip(stages, stages[1:]):
        student.teacher = before.work_dir
    brought = _brought(teacher, root, stages[0]) if teacher else None
    stages = [brought, *stages] if brought else stages
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
            mine, hers = (' by '.join(map(str, filter(None, (one.config, one.method, one.brought)))) for one in (stage, other))
            raise InputError(f'two stages would share the folder {stage.work_dir}, {hers} and {mine}: give their files '
                             'different names')


def _made_by(teacher: Mapping) -> tuple[Optional[str], Optional[str]]:
    """Config and work dir of the stage that makes a teacher; nothing of one that the user brings."""
    config, checkpoint = teacher.get('config'), teacher.get('checkpoint')
    if not isinstance(config, str):
        return None, None
    if not isinstance(checkpoint, str):
        return config, None
    if is_url(checkpoint) or Path(checkpoint).name != FINAL_CHECKPOINT:
        return None, None
    if '::' in config or (Path(config).is_file() and not read_file(config).get('train_dataloader')):
        return None, None  # one of MMDetection's, by name, or one for tests only
    return config, str(Path(checkpoint).parent)


def _brought(teacher: Mapping, root: Optional[str], student: ChainStage) -> Optional[ChainStage]:
    """The teacher that a user brings, to be tested; ``None``, told in a line, where its config does not say how."""
    config, checkpoint = teacher.get('config'), teacher.get('checkpoint')
    reason = _untestable(config)
    if reason is None and isinstance(checkpoint, str):
        work_dir = Path(root) / run_name(config) if root else Path(read_config(config).work_dir)
        stage = ChainStage(Path(config), work_dir, brought=checkpoint)
        if may_exist(checkpoint) or stage.tested():
            return stage
        reason = 'it does not exist'
    _tell_once(f'{student.name}: the teacher {checkpoint} has no row in the tables: {reason}')
    return None


def _untestable(config: Any) -> Optional[str]:
    """Why a brought teacher has no figures to be compared with; ``None`` where it has."""
    if not isinstance(config, str):
        return 'model.teacher names no config that says on what it is tested'
    if not Path(config).is_file():  # also one of MMDetection's, by name
        return f'{config} is no file that says on what it is tested'
    loader = read_file(config).get('test_dataloader') or {}
    kinds = [dataset.get('type') for dataset in innermost_datasets(loader.get('dataset'))]
    kinds = [DATASETS.get(kind) if isinstance(kind, str) else kind for kind in kinds]
    if kinds and all(kind is not None and issubclass(kind, StageFilterMixin) for kind in kinds):
        return None
    return f'{config} has no test_dataloader of IncrementalVOCDataset or IncrementalCocoDataset'


@cache
def _tell_once(line: str) -> None:
    """Print what several methods of one chain have in common."""
    print(line, flush=True)
