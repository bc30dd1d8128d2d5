"""What a tool that runs stages shows while it does: a live view on a terminal, a few plain lines elsewhere."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Optional

from mmengine.logging import MMLogger

from .chain_stages import ChainStage
from .hooks.progress import ASKED
from .stage_log import LOG_FILE
from .stage_state import StageState, State, epoch_told, losses_told, place_told, time_told

_VALIDATIONS = 60.  # seconds at least between the lines of two validations of a stage
_QUIET = 300.  # seconds after which a stage that has not validated is told of


class Screen:
    """What ``--verbose`` asks for: the tools of a stage write where this one does, and a line tells when one starts.

    It is entered by ``with`` while stages run.
    """

    def __enter__(self) -> 'Screen':
        return self

    def __exit__(self, *exc) -> None:
        pass

    def log_of(self, stage: ChainStage) -> Optional[Path]:
        """Where the tools of a stage write; ``None`` where this process does."""
        return None

    def note(self, line: str) -> None:
        """Tell something that is no state of a stage."""
        print(line, flush=True)

    def enter(self, stage: ChainStage, state: State, line: str = '') -> None:
        """A stage gets another state.

        Args:
            stage: The stage.
            state: Its state.
            line: The same in words, with what belongs to it.
        """
        if line:
            print(line, flush=True)


class PlainScreen(Screen):
    """Lines: where a stage starts, with its validations or every few minutes how far it is, and where it ends.

    The tools of a stage write into :data:`~mmilmil.engine.stage_log.LOG_FILE` of its work dir.

    Args:
        stages: All stages that may run.
    """

    def __init__(self, stages: Iterable[ChainStage]) -> None:
        stages = list({stage.work_dir: stage for stage in stages}.values())
        names = [stage.name for stage in stages]
        self._rows = {stage.work_dir: StageState(stage, _name(stage, names)) for stage in stages}
        self._told: dict[Path, tuple[float, Optional[int]]] = {}
        self._over, self._thread, self._asked = threading.Event(), None, None

    def __enter__(self) -> 'PlainScreen':
        self._asked = os.environ.get(ASKED)
        os.environ[ASKED] = '1'
        self._show()
        return self

    def __exit__(self, kind=None, *rest) -> None:
        if self._asked is None:
            os.environ.pop(ASKED, None)
        for row in self._rows.values():
            if row.state.runs:
                row.enter(State.STOPPED)
        self._hide()

    def log_of(self, stage: ChainStage) -> Optional[Path]:
        """The stage's log."""
        return stage.work_dir / LOG_FILE

    def enter(self, stage: ChainStage, state: State, line: str = '') -> None:
        """See :meth:`Screen.enter`; a stage that is done is told with its time and AP."""
        row = self._rows[stage.work_dir]
        # First, as the watching thread looks at a stage from the moment that it trains.
        self._told[stage.work_dir] = time.monotonic(), None
        row.enter(state)
        self._line(row, line)

    def _line(self, row: StageState, line: str) -> None:
        if row.state is State.DONE:
            line = ', '.join(filter(None, (line or f'{row.name}: done', time_told(row.spent), row.figures())))
        elif row.state.runs and line:
            line = f'{line}, log {self.log_of(row.stage)}'
        if line:
            print(line, flush=True)

    def _show(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _hide(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with suppress(OSError):  # nobody reads any more, which the main thread meets as well
            while not self._over.wait(0.5):
                for row in list(self._rows.values()):
                    if row.state is State.TRAINING:
                        self._look_at(row)

    def _look_at(self, row: StageState) -> None:
        now, validated = time.monotonic(), row.validated()
        last, told = self._told[row.stage.work_dir]
        if not now - last > (_VALIDATIONS if validated != told else _QUIET):
            return
        progress = row.progress()
        self._told[row.stage.work_dir] = now, validated
        place, left = epoch_told(progress) or place_told(progress), progress.get('left')
        told = [f'{row.name}: {place}', losses_told(progress.get('losses') or {}, 0), row.figures()]
        if left is not None and progress.get('phase') == 'train':
            told.append(f'{time_told(left)} left')
        print(', '.join(filter(None, told)), flush=True)


class LiveScreen(PlainScreen):
    """One view of all stages that is drawn again and again, by rich, in the terminal's size of the moment.

    What this process prints meanwhile appears above it. However the process ends, but by SIGKILL, the view is left in order;
    the cursor is never hidden, so that not even that leaves a terminal without.

    Args:
        stages: All stages that may run, in the order in which they are shown.
        title: In the first line.
    """

    def __init__(self, stages: Iterable[ChainStage], title: str) -> None:
        super().__init__(stages)
        self._title, self._start = title, time.monotonic()
        self._handlers: dict[signal.Signals, object] = {}
        self._below: list[str] = []

    def _line(self, row: StageState, line: str) -> None:
        if row.state is State.FAILED and line:
            self._below.append(line)  # when the view stands still

    def _show(self) -> None:
        from rich.console import Console
        from rich.live import Live

        from .stage_view import stage_view
        console = Console()
        first = next(iter(self._rows.values())).stage
        print(f'the log of a stage is {LOG_FILE} in its folder, as {self.log_of(first)}', flush=True)

        def view():
            return stage_view(list(self._rows.values()), self._title, time.monotonic() - self._start, *console.size)

        self._live = Live(console=console, get_renderable=view, refresh_per_second=2, vertical_overflow='crop')
        # MMEngine's logger knows the terminal by the name of before.
        self._loggers = [one for one in MMLogger.get_current_instance().handlers if getattr(one, 'stream', None) is sys.stdout]
        self._live.start()
        for handler in self._loggers:
            handler.setStream(sys.stdout)
        console.show_cursor(True)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, getattr(signal, 'SIGHUP', signal.SIGTERM)):
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._handlers[number] = signal.signal(number, self._end)

    def _hide(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._live.stop()
        for handler in self._loggers:
            handler.setStream(sys.stdout)
        for line in self._below:
            print(line, flush=True)

    def _end(self, number: int, frame) -> None:
        """Leave the terminal in order, then end as without a handler."""
        with suppress(Exception):
            self.__exit__()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def add_verbose_option(parser: argparse.ArgumentParser, shows: str = f'all that the stages write, which otherwise goes into '
                       f'{LOG_FILE} of the folder of each') -> None:
    """Give a tool that runs stages ``--verbose``.

    Args:
        parser: The tool's.
        shows: What it shows in the place of how far the stages are.
    """
    parser.add_argument('--verbose', action='store_true', help=f'show {shows}, in the place of how far they are')


def screen_for(stages: Iterable[ChainStage], title: str, verbose: bool = False) -> Screen:
    """The screen for what stdout is.

    Args:
        stages: All stages that may run.
        title: Of the live view.
        verbose: ``--verbose``.
    """
    if verbose:
        return Screen()
    draws = os.environ.get('TERM', '').lower() not in ('dumb', 'unknown')
    has_bars = (sys.stdout.encoding or '').lower().startswith('utf')
    return LiveScreen(stages, title) if sys.stdout.isatty() and draws and has_bars else PlainScreen(stages)


def _name(stage: ChainStage, names: list[str]) -> str:
    """A stage's name; where others have it too, as with several seeds, with its folder in front."""
    return stage.name if names.count(stage.name) == 1 else f'{stage.work_dir.parent.name}/{stage.name}'
