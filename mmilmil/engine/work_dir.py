"""Where a run keeps its files by default, and by which file it tells that it is finished."""

from pathlib import Path
from typing import Optional

FINAL_CHECKPOINT = 'final.pth'


def run_name(config: Path, method: Optional[Path] = None) -> str:
    """What a run is called: its config's name without ending, and that of the method which is laid over it.

    Args:
        config: Config file.
        method: A method's file, see :mod:`mmilmil.engine.methods`.
    """
    return with_method(Path(config).stem, method)


def with_method(name: str, method: Optional[Path] = None) -> str:
    """A run's name or folder, told apart by its method: ``work_dirs/frcnn_pcb_4+2_finetune``."""
    return f'{name}_{method.stem}' if method else name


def default_work_dir(config: Path, method: Optional[Path] = None) -> Path:
    """``work_dirs/<name of the run>``, without a method as in MMDetection."""
    return Path('work_dirs') / run_name(config, method)
