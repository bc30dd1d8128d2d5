"""A logger that says less for a while."""

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
