"""The figures of a run as a file."""

import json
import os
from pathlib import Path
from typing import Optional

from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class MetricsFileHook(Hook):
    """Writes what the incremental metric found into the work dir: ``metrics.json`` after a test, ``metrics_val.json`` after
    each validation. The file is written whole, under a temporary name first.

    Its content is the metric's ``summary``: ``old``, ``new``, ``all``, ``avg``, ``groups``, ``per_class`` (AP50 in [0, 1], null where
    there is none), the settings behind them and the same figures by the other way of averaging.
    """

    priority = 'LOW'

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Write ``metrics_val.json``."""
        self._write(runner, runner.val_evaluator, 'metrics_val.json')

    def after_test_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Write ``metrics.json``."""
        self._write(runner, runner.test_evaluator, 'metrics.json')

    @staticmethod
    def _write(runner: Runner, evaluator: Evaluator, name: str) -> None:
        summary = next((metric.summary for metric in evaluator.metrics if getattr(metric, 'summary', None)), None)
        if summary is None or not is_main_process():
            return
        path = Path(runner.work_dir) / name
        draft = path.with_name(f'{name}.part')
        draft.write_text(json.dumps(summary, indent=2) + '\n')
        os.replace(draft, path)
