"""What a finished stage leaves behind: a stock checkpoint and a stock config."""

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import get_state_dict, weights_to_cpu

from ...checkpoint import to_plain
from ...registry import HOOKS
from ...stock import stock_config
from ..atomic_file import save_atomically
from ..runner_state import bare_model, is_training
from ..work_dir import FINAL_CHECKPOINT

STOCK_CONFIG = 'stock_config.py'


@HOOKS.register_module()
class FinalModelHook(Hook):
    """Writes ``final.pth`` and ``stock_config.py`` into the work dir when training ends.

    ``final.pth`` holds weights and meta information only, with the keys of the stock detector: stock MMDetection loads it
    with ``stock_config.py`` without importing mmilmil, and the next stage takes it as its teacher. That it exists tells that
    the stage is finished. It is written whole, under a temporary name first; before that, hooks that have a method
    ``before_final_model`` get its content.
    """

    priority = 'VERY_LOW'

    def before_run(self, runner: Runner) -> None:
        """Make the stock config: what is wrong with it is to be told now, not when the training is over."""
        if is_training(runner):
            self._stock_config = stock_config(runner.cfg, runner.train_dataloader.dataset.metainfo['classes'])
            if 'pruned' in self._stock_config.model:  # the structure is in the file beside it
                self._stock_config.model.pruned = f'{{{{ fileDirname }}}}/{FINAL_CHECKPOINT}'

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Save the weights that a checkpoint would now have: with an ``EMAHook`` the averaged ones."""
        model = bare_model(runner)
        meta = dict(
            cfg=runner.cfg.pretty_text,
            dataset_meta=dict(runner.train_dataloader.dataset.metainfo),
            epoch=runner.epoch,
            iter=runner.iter,
            seed=runner.seed,
            experiment_name=runner.experiment_name)
        checkpoint = dict(meta=meta, state_dict=get_state_dict(model))
        runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        meta, weights = checkpoint['meta'], checkpoint['state_dict']
        if hasattr(model, 'static'):  # an algorithm that pruned a detector while it trained it
            model.load_state_dict(weights)
            model = model.static()
            meta, weights = dict(meta, structure=model.structure), get_state_dict(model)
        work_dir = Path(runner.work_dir)
        self._stock_config.dump(work_dir / STOCK_CONFIG)
        checkpoint = to_plain(dict(meta=meta, state_dict=weights_to_cpu(weights)))
        # What belongs to it comes first: with the file itself the stage is finished.
        runner.call_hook('before_final_model', checkpoint=checkpoint)
        save_atomically(checkpoint, work_dir / FINAL_CHECKPOINT)
