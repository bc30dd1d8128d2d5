"""A card beside the final model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ...arguments import one_line
from ...checkpoint import load_checkpoint_file
from ...loaders import innermost_datasets
from ...registry import HOOKS
from ..model_card import CARD_FILE, write_card
from ..provenance import versions
from ..work_dir import FINAL_CHECKPOINT
from .metrics_file import name_in


@HOOKS.register_module()
class ModelCardHook(Hook):
    """Writes ``model_card.md`` beside ``final.pth`` when training ends, and again, with the figures, when that file is tested.

    What a card tells and a checkpoint does not goes into its meta information as ``card``: ``config``, the file; ``data``, by
    training set its ``file``, images ``listed`` and ``kept``, ``boxes`` by class and what was hidden; ``versions``.

    A card that cannot be written is told in the log as a warning: neither a training nor a test ends by it.
    """

    # After the figures and the final model.
    priority = 'VERY_LOW'

    def before_final_model(self, runner: Runner, checkpoint: dict) -> None:
        """Write the card of what ``final.pth`` is about to hold; called in the main process alone."""
        with _told(runner):
            meta = checkpoint['meta']
            meta['card'] = dict(config=runner.cfg.filename, versions=versions(),
                                data=[_counts(one) for one in innermost_datasets(runner.train_dataloader.dataset)])
            write_card(Path(runner.work_dir), meta, tested=False)

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write it again with the figures of the test."""
        work_dir, loaded = Path(runner.work_dir), runner._load_from
        if loaded and name_in(work_dir, loaded) == FINAL_CHECKPOINT:
            with _told(runner):
                meta = load_checkpoint_file(loaded).get('meta') or {}
                if 'card' in meta:
                    write_card(work_dir, meta)


@contextmanager
def _told(runner: Runner) -> Iterator[None]:
    """Tell whatever goes wrong with a card, and go on: a run's weights and figures do not depend on it."""
    try:
        yield
    except Exception as error:
        runner.logger.warning(f'{Path(runner.work_dir) / CARD_FILE} is not written ({type(error).__name__}: {one_line(error)})')


def _counts(dataset: Dataset) -> dict:
    report = getattr(dataset, 'report', None)
    if report is None:
        return dict(file=str(getattr(dataset, 'ann_file', type(dataset).__name__)), kept=len(dataset))
    return dict(file=report.ann_file, purpose=report.purpose, listed=report.images_listed, kept=report.images_kept,
                boxes=dict(report.boxes), ignored=report.ignored, hidden_old=report.hidden_old, replayed=report.replayed,
                unlabelled=report.unlabelled)
