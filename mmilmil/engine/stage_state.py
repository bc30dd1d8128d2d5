"""What is known of a running stage from the files in its work dir, and how it is told."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Optional

from .chain_stages import ChainStage
from .hooks.metrics_file import TEST_FILE, VAL_FILE
from .hooks.progress import PROGRESS_FILE


class State(Enum):
    """Of a stage."""

    WAITING = 'waiting'
    THERE = 'already there'
    TRAINING = 'training'
    TESTING = 'testing'
    DONE = 'done'
    FAILED = 'failed'
    STOPPED = 'stopped'

    @property
    def runs(self) -> bool:
        """Whether its processes run."""
        return self in (State.TRAINING, State.TESTING)


@dataclass(eq=False)
class StageState:
    """A stage on the screen.

    Attributes:
        stage: The stage.
        name: What the screen calls it.
        state: Its state.
        spent: Seconds that it took, of one that ran.
    """

    stage: ChainStage
    name: str
    state: State = State.WAITING
    spent: float = 0.
    _begin: float = 0.
    _before: dict[str, Optional[int]] = field(default_factory=dict)

    def enter(self, state: State) -> None:
        """The stage gets another state."""
        if state.runs:
            with suppress(OSError):
                (self.stage.work_dir / PROGRESS_FILE).unlink(missing_ok=True)
            if not self.state.runs:
                self._begin = time.monotonic()
                self._before = {name: _stamp(self.stage.work_dir / name) for name in (VAL_FILE, TEST_FILE)}
        elif self.state.runs:
            self.spent = time.monotonic() - self._begin
            with suppress(OSError):
                (self.stage.work_dir / PROGRESS_FILE).unlink(missing_ok=True)
        self.state = state

    def progress(self) -> dict:
        """What :class:`~mmilmil.engine.hooks.progress.ProgressHook` told last; empty where it has told nothing."""
        with suppress(OSError, ValueError):
            content = json.loads((self.stage.work_dir / PROGRESS_FILE).read_text(encoding='utf-8'))
            return content if isinstance(content, dict) else {}
        return {}

    def validated(self) -> Optional[int]:
        """What tells one validation of this run from the next; ``None`` before the first."""
        stamp = _stamp(self.stage.work_dir / VAL_FILE)
        return None if stamp == self._before.get(VAL_FILE) else stamp

    def figures(self) -> str:
        """The latest AP in words, of the test where there was one; empty where there is none.

        Of a run that goes on those of before it do not count.
        """
        for name, of in ((TEST_FILE, 'test'), (VAL_FILE, 'val')):
            path = self.stage.work_dir / name
            if self._before and _stamp(path) == self._before[name]:
                continue
            with suppress(OSError, ValueError, TypeError):
                if told := figures_told(json.loads(path.read_text(encoding='utf-8'))):
                    return f'{of} {told}'
        return ''


def _stamp(path: Path) -> Optional[int]:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return None


def figures_told(figures: Mapping) -> str:
    """``AP old 81.3, new 68.0, all 78.0`` of what :class:`MetricsFileHook` wrote, in %; of a first stage ``AP all 71.2``."""
    names = ('old', 'new', 'all') if figures.get('old') is not None else ('all',)
    shown = [f'{name} {100 * figures[name]:.1f}' for name in names if isinstance(figures.get(name), int | float)]
    return f'AP {", ".join(shown)}' if shown else ''


def place_told(progress: Mapping) -> str:
    """How far a run is, as ``epoch 3/8``, ``step 50/9000``, ``val 12/50`` or ``finishing``; ``starting`` of nothing."""
    phase = progress.get('phase')
    if phase == 'train' and progress.get('epochs'):
        return epoch_told(progress)
    if phase in ('train', 'val', 'test'):
        return f'{"step" if phase == "train" else phase} {progress.get("done")}/{progress.get("total")}'
    return 'finishing' if phase == 'finishing' else 'starting'


def epoch_told(progress: Mapping) -> str:
    """``epoch 3/8``; empty where none is told."""
    return f'epoch {progress["epoch"]}/{progress["epochs"]}' if progress.get('epochs') else ''


def losses_told(losses: Mapping[str, float], count: Optional[int] = None) -> str:
    """``loss 0.63 (cls 0.22, bbox 0.20)``, the greatest terms first.

    Args:
        losses: By MMDetection's names.
        count: Number of terms; default all.
    """
    terms = {name: value for name, value in losses.items() if name != 'loss'}
    if 'loss' not in losses:
        return ''
    shown = sorted(terms, key=terms.__getitem__, reverse=True)[:count]
    listed = ', '.join(f'{name.replace("loss_", "")} {terms[name]:.2g}' for name in shown)
    return f'loss {losses["loss"]:.3g}{f" ({listed})" if listed else ""}'


def time_told(seconds: float) -> str:
    """``0:03:12``."""
    seconds = round(max(seconds, 0))
    return f'{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}'
