"""The structure of a pruned detector, in and out of checkpoints."""

from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint

from ...errors import InputError
from ...models.structure import cut, equal, read_structure
from ...registry import HOOKS, MODELS
from ...stock import full_model_cfg
from ..runner_state import bare_model, is_training


@HOOKS.register_module()
class StructureHook(Hook):
    """Saves a pruned detector's structure in its checkpoints, and cuts the detector to be tested to its checkpoint's.

    Raises:
        InputError: a checkpoint's structure is another one than the model's.
    """

    # Before the weights are compared with the model's (StageCheckHook).
    priority = 'VERY_HIGH'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add ``meta['structure']``."""
        structure = getattr(bare_model(runner), 'structure', None)
        if structure is not None:
            checkpoint['meta']['structure'] = structure

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the structure, or take it over."""
        model = bare_model(runner)
        own = getattr(model, 'structure', None)
        source = runner._load_from or find_latest_checkpoint(runner.work_dir)
        found = read_structure(checkpoint.get('meta') or {}, source)
        training = is_training(runner)
        if hasattr(model, 'static') and not training:  # what an algorithm left is tested without it
            model = runner.model = MODELS.build(full_model_cfg(runner.cfg.model)).to(next(model.parameters()).device)
        if equal(own, found):
            return
        if own is None and not training:
            cut(model, found, source)
            return
        raise InputError(f'the checkpoint {source} is {_told(found)}, the model of the config {_told(own)}: give model.pruned '
                         'the checkpoint of the pruned detector that it was trained from, or leave it out for a full one')


def _told(structure) -> str:
    return 'a full detector' if structure is None else f'pruned in {len(structure)} layers'
