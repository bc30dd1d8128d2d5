"""What a run has left in its work dir, read from its files alone."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from ..checkpoint import config_values
from ..engine.hooks.final_model import STOCK_CONFIG
from ..engine.hooks.metrics_file import DETECTIONS_FILE, TEST_FILE, VAL_FILE, read_figures
from ..engine.hooks.run_cost import COST_FILE, read_cost
from ..engine.work_dir import FINAL_CHECKPOINT
from ..errors import InputError
from ..evaluation.average_precision import class_results
from ..evaluation.detections_file import Detections, read_detections
from ..loaders import innermost_datasets
from ..stage import Stage
from ..weights import is_url

_STARTED = re.compile(r'\d{8}_\d{6}')
_ENVIRONMENT = ('Python', 'PyTorch', 'MMEngine', 'OpenCV', 'numpy', 'GPU 0', 'seed')
_DATA_LINE = re.compile(r' - mmengine - INFO - (.+ \(.+\): \d+ of \d+ images kept, \d+ dropped)$')


@dataclass
class Run:
    """A run's work dir; every part is read when it is asked for, and what cannot be read is a line of :attr:`problems`.

    Attributes:
        folder: The work dir.
        problems: What is missing or broken, with the command that adds it; filled while parts are read.
        on_val: Whether its figures are those of the latest validation even where it is tested.
    """

    folder: Path
    problems: list[str] = field(default_factory=list)
    on_val: bool = False
    _of_a_test: bool = field(default=False, init=False, repr=False)

    @property
    def name(self) -> str:
        """What the run is called: its folder."""
        return self.folder.resolve().name

    @cached_property
    def config_file(self) -> Optional[Path]:
        """The whole config that MMEngine left, of the latest training or test."""
        found = [path for path in self.folder.glob('*.py') if path.name != STOCK_CONFIG]
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its settings; empty where there is none that can be read."""
        if self.config_file is None:
            return {}
        return self._values(self.config_file)

    @cached_property
    def training_config(self) -> dict[str, Any]:
        """The settings of the latest training, which may name another teacher than those of a test; else :attr:`config`."""
        found = [path for path in self._of_starts('vis_data/config.py') if (path.parent / 'scalars.json').is_file()]
        return (self._values(found[-1]) if found else {}) or self.config

    def _values(self, path: Path) -> dict[str, Any]:
        try:
            return config_values(path.read_text(encoding='utf-8'))
        except (OSError, ValueError) as error:
            self.problems.append(f'{path} cannot be read as a config ({error})')
            return {}

    @cached_property
    def figures(self) -> Optional[dict[str, Any]]:
        """The test's figures, else those of the latest validation; ``None`` where there are none of this version's form."""
        for name in (VAL_FILE, ) if self.on_val else (TEST_FILE, VAL_FILE):
            path = self.folder / name
            try:
                if not path.is_file():
                    continue
                figures = read_figures(path)
                Stage.from_metainfo(figures, str(path))
                _check_figures(figures, path)
            except (InputError, OSError) as error:
                self.problems.append(str(error))
                continue
            self._of_a_test = name == TEST_FILE
            return figures
        self.problems.append(f'{self.folder} has no {VAL_FILE}: it is written by each validation of a training' if self.on_val
                             else f'{self.folder} has no {TEST_FILE}: test the run, {self.test_command}')
        return None

    @property
    def tested(self) -> bool:
        """Whether the figures are those of a test."""
        return self.figures is not None and self._of_a_test

    @property
    def measured(self) -> list[str]:
        """The checkpoints that the figures are of, as the test names them: one, or those whose detections were fused; empty
        where figures do not tell.
        """
        if not self.tested or not isinstance(self.figures.get('checkpoint'), str):
            return []
        fused = self.figures.get('fused')
        return [self.figures['checkpoint'], *(map(str, fused) if isinstance(fused, list) else ())]

    @property
    def other_weights(self) -> Optional[str]:
        """What to tell where the figures are not those of the run's own final model; ``None`` where they are.

        A folder without a training, as of a detector that was brought, has no other one.
        """
        own = (self.folder / FINAL_CHECKPOINT).is_file() or bool(self.steps)
        if not own or self.measured in ([], [FINAL_CHECKPOINT]):
            return None
        return (f'The figures of {self.name} are of {" and ".join(self.measured)}, not of {FINAL_CHECKPOINT}. To have those: '
                f'{self._tested_by([FINAL_CHECKPOINT])}')

    @property
    def test_command(self) -> str:
        """The command that tests once more what was tested, else the final model."""
        # Where the figures themselves cannot be read they name nothing.
        return self._tested_by((self.__dict__.get('figures') and self.measured) or [FINAL_CHECKPOINT])

    def _tested_by(self, checkpoints: list[str]) -> str:
        first, *fused = (file if is_url(file) else str(self.folder / file) for file in checkpoints)
        return shlex.join(['python', 'tools/test.py', str(self.config_file or 'CONFIG'), first, '--work-dir', str(self.folder),
                           *(['--fuse', *fused] if fused else [])])

    @cached_property
    def stage(self) -> Optional[Stage]:
        """Classes and groups: of the figures, else of the config."""
        for found in (self.figures, self.config.get('metainfo')):
            if found:
                try:
                    return Stage.from_metainfo(found, str(self.folder))
                except InputError:
                    continue
        return None

    @cached_property
    def cost(self) -> Optional[dict[str, Any]]:
        """What the training cost, see :class:`mmilmil.engine.hooks.run_cost.RunCostHook`."""
        try:
            cost = read_cost(self.folder)
        except (InputError, OSError) as error:
            self.problems.append(str(error))
            return None
        if cost is None and self.steps:
            self.problems.append(f'{self.folder} has no {COST_FILE}: it is written when a training ends')
        return cost

    @property
    def row(self) -> dict[str, Any]:
        """The figures as tables take them, with what was kept."""
        return dict(self.figures, **({'kept': self.cost['kept']} if self.cost else {}))

    @cached_property
    def detections(self) -> Optional[Detections]:
        """What the test detected; ``None`` where it left nothing that belongs to the figures."""
        path = self.folder / DETECTIONS_FILE
        if self.figures is None or not self.tested:
            return None
        if not path.is_file():
            self.problems.append(f'{path} is missing, so curves, confusions, errors and pictures are too: {self.test_command}')
            return None
        try:
            found = read_detections(path)
        except InputError as error:
            self.problems.append(str(error))
            return None
        if reason := _of_another_test(found, self.figures):
            self.problems.append(f'{path} is of another test than {TEST_FILE} ({reason}): {self.test_command}')
            return None
        if not found.annotated:
            self.problems.append(f"{path} has no objects, as the test pipeline loads none: add dict(type='LoadAnnotations', "
                                 'with_bbox=True) to it, after Resize, and test again')
        return found

    @property
    def judged(self) -> Optional[Detections]:
        """The detections where there are objects to judge them by."""
        return self.detections if self.detections and self.detections.annotated else None

    @cached_property
    def teacher(self) -> Optional[Path]:
        """Work dir of the teacher: as it lay to this one when it taught, as both may have been moved together, else where it
        was, else, which is told, one of its name beside this one.
        """
        checkpoint = ((self.training_config.get('model') or {}).get('teacher') or {}).get('checkpoint')
        if not isinstance(checkpoint, str) or is_url(checkpoint):
            return None
        named, here = Path(checkpoint).parent, self.folder.resolve()
        was = self.training_config.get('work_dir')
        moved = [here / os.path.relpath(named, was)] if isinstance(was, str) else []
        for folder in (*moved, named, here.parent / named.name):
            if is_run(folder) and folder.resolve() != here:
                if folder not in (*moved, named):
                    self.problems.append(f"the teacher's folder {named} is not there: {folder} is taken for it, as it lies "
                                         'beside this one and has its name. Whether it is the same detector is not looked at')
                return folder.resolve()
        self.problems.append(f"the teacher's folder {named} is not there, nor beside this one: what compares with the teacher "
                             'is left out')
        return None

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher taught it."""
        return bool((self.training_config.get('model') or {}).get('teacher'))

    @property
    def is_joint(self) -> bool:
        """Whether it is trained on the boxes of all classes of several groups, without a teacher."""
        loader = self.training_config.get('train_dataloader') or {}
        keeps = [one.get('keep') for one in innermost_datasets(loader.get('dataset'))] if loader.get('dataset') else []
        return not self.has_teacher and 'seen' in keeps and self.stage is not None and len(self.stage.split) > 1

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What training logged, by step: a resumed run's, or one's that was started afresh, from where it went on."""
        return self._logged['steps']

    @property
    def shown(self) -> list[dict[str, Any]]:
        """What :class:`mmilmil.engine.hooks.live_view.LiveViewHook` wrote of the boxes beside it, by step."""
        return self._logged['shown']

    @property
    def validations(self) -> list[tuple[int, dict[str, Any]]]:
        """Figures of the validations, each with the last step or epoch before it as it was logged."""
        return [(line['step'], line) for line in self._logged['validations']]

    @cached_property
    def _logged(self) -> dict[str, list[dict[str, Any]]]:
        """Lines of all starts in their order, without those that a later start went through again."""
        # By step; a validation, whose own may be an epoch, by the step of training before it.
        found: dict[str, dict[tuple[int, int], dict]] = {'steps': {}, 'shown': {}, 'validations': {}}
        for path in self._of_starts('vis_data/scalars.json'):
            lines = [line for line in _json_lines(path) if isinstance(line.get('step'), int)]
            first = next((line['step'] for line in lines if 'loss' in line), None)
            if first is not None:
                found = {kind: {key: line for key, line in of_kind.items() if key[0] < first}
                         for kind, of_kind in found.items()}
            before = max((step for step, _ in found['steps']), default=0)
            for line in lines:
                step = line['step']
                if 'loss' in line:
                    before = step
                    found['steps'][step, 0] = line
                elif any(name.startswith(('teacher/', 'boxes/')) for name in line):
                    found['shown'][step, 0] = line
                elif isinstance(line.get('all'), float):
                    found['validations'][before, step] = line
        return {kind: [of_kind[key] for key in sorted(of_kind)] for kind, of_kind in found.items()}

    @cached_property
    def log(self) -> list[str]:
        """Lines of the log of the latest start that trained; empty without one."""
        trained = [path.parents[1] for path in self._of_starts('vis_data/scalars.json')
                   if any('loss' in line for line in _json_lines(path))]
        files = [path for folder in trained for path in folder.glob('*.log')]
        try:
            return files[-1].read_text(encoding='utf-8', errors='replace').splitlines() if files else []
        except OSError:
            return []

    @property
    def data(self) -> list[str]:
        """What training found in its data and dropped of it."""
        told, inside = [], False
        for line in self.log:
            found = _DATA_LINE.search(line)
            inside = bool(found) or (inside and line.startswith('  '))
            if inside:
                told.append(found[1] if found else line)
        return told

    @property
    def environment(self) -> dict[str, str]:
        """Versions and devices by name, as the training's log tells them."""
        found = (re.match(rf'\s+({"|".join(_ENVIRONMENT)}): (.+)$', line) for line in self.log[:80])
        return {one[1]: one[2].split(' (')[0] for one in found if one}

    def _of_starts(self, file: str) -> list[Path]:
        """A file of each start, the first start first."""
        starts = sorted(path for path in self.folder.iterdir() if _STARTED.fullmatch(path.name)) if self.folder.is_dir() else []
        return [path for path in (start / file for start in starts) if path.is_file()]


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's work dir: it has figures, a final model, or what a start of MMEngine leaves.

    One that may not be read is none.
    """
    try:
        if not folder.is_dir():
            return False
        if any((folder / name).is_file() for name in (TEST_FILE, VAL_FILE, FINAL_CHECKPOINT)):
            return True
        return any(_STARTED.fullmatch(path.name) and path.is_dir() for path in folder.iterdir())
    except OSError:
        return False


def _check_figures(figures: Mapping[str, Any], path: Path) -> None:
    """Figures have the form of this version's metrics."""
    lacking = [name for name in ('old', 'new', 'all', 'avg', 'groups', 'per_class') if name not in figures]
    if lacking or not isinstance(figures['per_class'], dict) or set(figures['per_class']) != set(figures['classes']):
        what = f'no {", ".join(lacking)}' if lacking else 'an AP for other classes than it names'
        raise InputError(f'{path} has {what}, so it is of another version of mmilmil: test again')


def _of_another_test(found: Detections, figures: Mapping[str, Any]) -> Optional[str]:
    """Why detections cannot be those that the figures are of."""
    if list(found.stage.classes) != list(figures['classes']) or list(found.stage.split) != list(figures['split']):
        return 'other classes'
    if len(found.images) != figures.get('images', len(found.images)):
        return f'{len(found.images)} images in the place of {figures["images"]}'
    if figures.get('eval_mode') in ('11points', 'area') and isinstance(figures.get('iou_thr'), float) and found.annotated:
        results = class_results(found.images, len(found.stage.classes), figures['iou_thr'])
        for name, result in zip(found.stage.classes, results):
            told = figures['per_class'][name]
            if (told is None) != (result.boxes == 0) or (told is not None and abs(
                    told - result.ap[figures['eval_mode']]) > 1e-4):
                return f'AP of {name} differs'
    return None


def _json_lines(path: Path) -> Iterator[dict]:
    """Objects of a file with one a line; a line that is not complete, as a stopped run leaves one, is passed over."""
    try:
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:
        return
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
