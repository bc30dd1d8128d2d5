"""How far a long loop is: tqdm's bar on a terminal, a few plain lines in a file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Optional, TextIO, TypeVar, Union

from tqdm import tqdm

Item = TypeVar('Item')

_FIRST, _LAST = 30., 600.  # seconds between two lines: at first, and at most


def tracked(items: Iterable[Item], what: str, total: Optional[int] = None, unit: str = 'image') -> Iterator[Item]:
    """The items, while it is told how many of them are done.

    Args:
        items: Anything to loop over.
        what: What is done, in front of the bar or line.
        total: Number of items; default ``len(items)`` where it has one.
        unit: What an item is.
    """
    total = len(items) if total is None and hasattr(items, '__len__') else total
    with progress_bar(what, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


def progress_bar(what: str, total: Optional[int] = None, unit: str = 'image', done: int = 0, unit_scale: bool = False,
                 file: Optional[TextIO] = None) -> Union[tqdm, 'ProgressLines']:
    """A bar to be updated, within ``with``: tqdm's where somebody watches, else :class:`ProgressLines`.

    Args:
        what: What is done.
        total: How much there is to do; ``None`` where nobody knows.
        unit: What is counted.
        done: How much is done already.
        unit_scale: Write 1.5M for 1500000.
        file: Where it goes, default stderr, as results go to stdout.
    """
    file = sys.stderr if file is None else file
    kind = tqdm if file.isatty() else ProgressLines
    return kind(desc=what, total=total or None, unit=unit, initial=done, unit_scale=unit_scale, file=file)


class ProgressLines:
    """A line after half a minute, then at double the time, at last every ten minutes; and one at the end.

    The arguments are tqdm's of these names.
    """

    def __init__(self, desc: str, total: Optional[int], unit: str, initial: int, unit_scale: bool, file: TextIO) -> None:
        self.n, self.total = initial, total
        self._what, self._unit, self._scale, self._file, self._initial = desc, unit, unit_scale, file, initial
        self._begin = time.monotonic()
        self._pause, self._next = _FIRST, self._begin + _FIRST

    def __enter__(self) -> 'ProgressLines':
        return self

    def __exit__(self, kind, *rest) -> None:
        spent = tqdm.format_interval(time.monotonic() - self._begin)
        self._print(f'{"stopped after" if kind else "done in"} {spent}')

    def update(self, n: int = 1) -> None:
        """Count ``n`` more as done."""
        self.n += n
        now = time.monotonic()
        if now < self._next:
            return
        self._pause = min(2 * self._pause, _LAST)
        self._next = now + self._pause
        left = None
        if self.total and self.n > self._initial:
            left = (now - self._begin) * (self.total - self.n) / (self.n - self._initial)
        self._print(f'{tqdm.format_interval(left)} left' if left is not None else f'{now - self._begin:.0f} s so far')

    def _print(self, when: str) -> None:
        count = self._told(self.n) if not self.total else f'{self._told(self.n)} of {self._told(self.total)}'
        unit = self._unit if self._unit == 'B' or (self.total or self.n) == 1 else _plural(self._unit)
        print(f'{self._what}: {count}{"" if self._scale else " "}{unit}, {when}', file=self._file, flush=True)

    def _told(self, count: int) -> str:
        return tqdm.format_sizeof(count) if self._scale else str(count)


def _plural(unit: str) -> str:
    return f'{unit}{"es" if unit.endswith("ch") else "s"}'
