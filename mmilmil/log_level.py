"""A logger that says less: for a while, or what it said before."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def at_level(logger: logging.Logger, level: int) -> Iterator[None]:
    """Within, a logger passes on what is at least of a level, such as ``logging.ERROR``; afterwards what it did before."""
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def say_once(logger: logging.Logger, beginning: str) -> None:
    """Let a logger pass on each message of this beginning the first time only."""
    if not any(isinstance(one, _Once) and one.beginning == beginning for one in logger.filters):
        logger.addFilter(_Once(beginning))


class _Once(logging.Filter):

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning = beginning
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.startswith(self.beginning):
            return True
        new = message not in self._said
        self._said.add(message)
        return new
