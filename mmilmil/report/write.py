"""Building a report and putting it into a work dir."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from ..atomic_write import write_atomically
from ..errors import InputError
from .page import Page
from .relatives import Settings, runs_in
from .run import Run, is_run
from .runs_page import COMPARISON_FILE, comparison_page, runs_page
from .stage_page import stage_page

REPORT_FOLDER, PAGE, TEXT = 'report', 'index.html', 'report.md'
_DEFAULT = Settings()


def write_report(folder: Path, settings: Settings = _DEFAULT, out: Path | None = None, figures: Path | None = None) -> Path:
    """Build the report of a work dir again: of a stage, a chain, or a comparison, whichever it is.

    Args:
        folder: The work dir.
        settings: What is drawn.
        out: Folder to write; by default ``report`` in the work dir.
        figures: The ``comparison.json`` of a comparison, where that lies elsewhere.

    Returns:
        The page, ``index.html``; ``report.md`` lies beside it.

    Raises:
        InputError: it is no work dir, or none that a report can tell of; or the files cannot be written.
    """
    out = out or folder / REPORT_FOLDER
    if not folder.is_dir():
        raise InputError(f'the work dir {folder} does not exist: give the folder of a training, a chain or a comparison')
    if is_run(folder):
        return write_page(stage_page(Run(folder), settings), out)
    seeds = [path for path in sorted(folder.glob('seed*')) if path.is_dir()]
    figures = figures or folder / COMPARISON_FILE
    if figures.is_file() or any(runs_in(path) for path in seeds):
        return write_page(comparison_page(folder, figures, seeds, settings, out), out)
    if runs := runs_in(folder):
        return write_page(runs_page(folder.resolve().name, runs, settings, out), out)
    raise InputError(f'{folder} is no work dir: it has neither metrics.json, final.pth or logs of a run, nor folders with '
                     f'these, nor {COMPARISON_FILE}. Give the folder of a training, a chain or a comparison')


def write_several(folders: Sequence[Path], out: Path, settings: Settings = _DEFAULT, title: str = '') -> Path:
    """Set runs side by side; a folder that holds several stands for all of them.

    Args:
        folders: Work dirs.
        out: Folder to write.
        settings: What is drawn.
        title: Of the page; by default the names of the folders.

    Returns:
        The page.

    Raises:
        InputError: a folder has no run, or none has figures; or the files cannot be written.
    """
    runs: list[Run] = []
    for folder in folders:
        found = [Run(folder)] if is_run(folder) else [
            run for inner in (folder, *sorted(folder.glob('seed*'))) for run in runs_in(inner)]
        if not found:
            raise InputError(f'{folder} has no run: give work dirs of trainings, or a folder of them')
        runs += [run for run in found if run.folder.resolve() not in {one.folder.resolve() for one in runs}]
    return write_page(runs_page(title or ' and '.join(folder.resolve().name for folder in folders), runs, settings, out), out)


def write_page(page: Page, out: Path) -> Path:
    """Write a page and its text; each file is complete or as it was before.

    Raises:
        InputError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'{out} cannot be made ({error.strerror}): correct the path or its permissions') from error
    write_atomically(page.markdown().encode(), out / TEXT)
    write_atomically(page.html().encode(), out / PAGE)
    return out / PAGE


def report_after(folder: Path, out: Path | None = None, figures: Path | None = None) -> Path | None:
    """Write the report of what has just ended.

    Whatever happens here, the run has ended well: nothing is raised.

    Args:
        folder: Its work dir.
        out: Folder to write; by default ``report`` in the work dir.
        figures: The ``comparison.json`` of a comparison, where that lies elsewhere.

    Returns:
        The page, as somebody here would name it; ``None`` where there is none, and a line has told why.
    """
    return _written(lambda: write_report(folder, out=out, figures=figures), folder)


def refresh(folders: Sequence[Path]) -> None:
    """Build the reports of runs again, beside which others have ended since; a failure is told in a line."""
    for folder in folders:
        _written(lambda folder=folder: write_report(folder), folder)


def report_after_all(folders: Sequence[Path], work_dir: str | Path | None, last: Path) -> Path | None:
    """Write the reports of a chain: of each stage anew, now that all figures stand beside each other, and of the whole.

    Args:
        folders: Work dirs of its stages and of what stands beside them.
        work_dir: Folder that holds them all; ``None`` where each lies where its config puts it.
        last: The last stage's; without ``work_dir`` the chain's report is the folder ``chain`` in its own.

    Returns:
        The page of the chain, of a single stage without ``work_dir`` its own; ``None`` as of :func:`report_after`.
    """
    if not work_dir and len(folders) == 1:
        return report_after(last)
    refresh(folders)
    if work_dir:
        return report_after(Path(work_dir))
    title = f'The chain of {last.name}'
    return _written(lambda: write_several(folders, last / REPORT_FOLDER / 'chain', title=title), *folders)


def _written(write: Callable[[], Path], *folders: Path) -> Path | None:
    try:
        path = write()
        return Path(os.path.relpath(path)) if path.resolve().is_relative_to(Path.cwd()) else path
    except Exception as error:  # a fault in a page must not pass for one of the training
        reason = ' '.join(str(error).split())[:500]
        print(f'no report could be written, the results stand ({type(error).__name__}: {reason}); build it again by '
              f'{shlex.join(["python", "tools/report.py", *map(str, folders)])}', flush=True)
        return None
