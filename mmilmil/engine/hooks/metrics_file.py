"""The figures of a run as a file."""

import json
import os
from pathlib import Path

from mmengine.dist import master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...errors import InputError
from ...registry import HOOKS, METRICS
from ...weights import is_url

TEST_FILE = 'metrics.json'
VAL_FILE = 'metrics_val.json'
DETECTIONS_FILE = 'detections.npz'


@HOOKS.register_module()
class MetricsFileHook(Hook):
    """Writes what :class:`IncrementalVOCMetric` or :class:`IncrementalCocoMetric` found into the work dir.

    ``metrics.json`` after a test, ``metrics_val.json`` after each validation (the latest one stays). The content is the
    metric's ``summary``: ``old``, ``new``, ``all``, ``avg``, ``groups`` and ``per_class`` (AP in [0, 1], null where
    undefined; ``iou_thr`` and ``eval_mode`` tell which AP), the same six of the metric's other figures, the settings
    behind them, and as ``sets`` the evaluated sets, each its ``file``, ``images``, ``boxes`` that count and ``classes`` that
    are measured there; after a test also ``checkpoint``, the tested file, relative to the work dir where it stands there, and
    ``fused``, the files whose detections were fused with its own, if any. A test leaves ``detections.npz`` beside it, see
    :class:`mmilmil.evaluation.DetectionsFile`. A file is written whole, under a temporary name first. Without such a metric
    nothing is written.
    """

    priority = 'LOW'

    def before_test(self, runner: Runner) -> None:
        """Have the detections kept."""
        evaluator = runner.test_evaluator
        if any(hasattr(metric, 'summary') for metric in evaluator.metrics):
            keep = METRICS.build(dict(type='mmilmil.DetectionsFile', out_file=str(Path(runner.work_dir) / DETECTIONS_FILE)))
            keep.dataset_meta = evaluator.dataset_meta
            evaluator.metrics.append(keep)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write ``metrics_val.json``."""
        _write(runner.val_evaluator, Path(runner.work_dir) / VAL_FILE)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write ``metrics.json``."""
        work_dir, loaded = Path(runner.work_dir), runner._load_from
        more = {'checkpoint': name_in(work_dir, loaded)} if loaded else {}
        if fused := getattr(getattr(runner, '_test_loop', None), 'fused', None):
            more['fused'] = [name_in(work_dir, path) for path in fused]
        _write(runner.test_evaluator, work_dir / TEST_FILE, **more)


def read_figures(path: Path) -> dict:
    """The figures in a file of :class:`MetricsFileHook`.

    Raises:
        InputError: the file holds something else.
    """
    try:
        figures = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{path} is no JSON ({error}): remove it and test again') from error
    if not isinstance(figures, dict):
        raise InputError(f'{path} holds no figures by name: remove it and test again')
    return figures


def name_in(work_dir: Path, checkpoint: str) -> str:
    """What a tested checkpoint is called in ``metrics.json``: its URL, or its path, relative where it is in the work dir."""
    if is_url(checkpoint):
        return checkpoint
    path, work_dir = Path(checkpoint).resolve(), work_dir.resolve()
    return str(path.relative_to(work_dir) if path.is_relative_to(work_dir) else path)


@master_only
def _write(evaluator: Evaluator, path: Path, **more: str | list[str]) -> None:
    summary = next((metric.summary for metric in evaluator.metrics if getattr(metric, 'summary', None)), None)
    if summary is None:
        return
    draft = path.with_name(f'{path.name}.part')
    # A NaN would not be JSON; undefined figures are null.
    draft.write_text(json.dumps({**summary, **more}, indent=2, allow_nan=False) + '\n', encoding='utf-8')
    os.replace(draft, path)
