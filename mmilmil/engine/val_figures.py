"""AP of a detector on the validation split of its config, as a test measures it."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from mmengine.config import Config
from mmengine.hooks import Hook

from ..errors import InputError
from .building import build_runner
from .hooks.metrics_file import TEST_FILE


def val_figures(cfg: Config, checkpoint: Optional[str] = None, hooks: Sequence[Hook] = ()) -> dict:
    """What ``metrics.json`` tells of a detector on the validation split.

    Args:
        cfg: The run's config, which stays as it is.
        checkpoint: The detector's; None where a hook puts in what is to be tested.
        hooks: More hooks of the run.

    Raises:
        InputError: the config has no validation split, or none of mmilmil's metrics.
    """
    if not cfg.get('val_dataloader'):
        raise InputError('the config has no val_dataloader')
    with tempfile.TemporaryDirectory() as folder:
        run = cfg.copy()
        run.work_dir, run.load_from = folder, checkpoint
        # Loggers and visualizers are found by name; those of another run write into another folder.
        run.experiment_name = Path(folder).name
        run.visualizer = dict(type='DetLocalVisualizer', name=run.experiment_name)
        run.test_dataloader, run.test_evaluator, run.test_cfg = cfg.val_dataloader, cfg.val_evaluator, dict(type='TestLoop')
        runner = build_runner(run)
        for hook in hooks:
            runner.register_hook(hook)
        runner.test()
        if not (Path(folder) / TEST_FILE).is_file():
            raise InputError('val_evaluator has neither IncrementalVOCMetric nor IncrementalCocoMetric')
        figures = json.loads((Path(folder) / TEST_FILE).read_text())
        if checkpoint is None:  # what a hook put in may be a file of the moment
            figures.pop('checkpoint', None)
        return figures
