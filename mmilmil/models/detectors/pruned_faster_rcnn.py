"""A detector that was pruned: a stock Faster R-CNN with narrower layers."""

from typing import Optional

from mmdet.models.detectors import FasterRCNN

from ...checkpoint import load_checkpoint_file
from ...errors import InputError
from ...registry import MODELS
from ...weights import may_exist
from ..structure import Structure, cut, read_structure


@MODELS.register_module()
class PrunedFasterRCNN(FasterRCNN):
    """Built by the full detector's config and cut to the structure that a checkpoint carries.

    Its own checkpoints carry the structure too (:class:`StructureHook`), so testing and the next stage ask for nothing else.
    Training starts from the pruned checkpoint's weights.

    Args:
        *args: The full detector's.
        pruned: Checkpoint of a pruned detector, made by ``tools/prune.py`` or by training such a detector; ``None`` for a full
            one. Where the file is not there, the structure is to come with the checkpoint that is loaded.
        **kwargs: The full detector's.
    """

    def __init__(self, *args, pruned: Optional[str] = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.pruned = pruned
        # Cut now, not when training starts: a wrapper for several processes sizes its buckets by what it is given.
        if pruned is not None and may_exist(pruned):
            cut(self, pruned_checkpoint(pruned)[0], pruned)

    def init_weights(self) -> None:
        """Start from the pruned checkpoint's weights.

        Raises:
            InputError: there is no such file, or its weights are another detector's.
        """
        if self.pruned is None:
            super().init_weights()
            return
        try:
            self.load_state_dict(pruned_checkpoint(self.pruned)[1])
        except RuntimeError as error:
            first = ' '.join(str(error).split('\n\t')[1:2]) or str(error)
            raise InputError(f'the pruned checkpoint {self.pruned} does not fit the detector of the config ({first}): give '
                             'model.pruned the one that was pruned from this detector') from error
        self._is_init = True


def pruned_checkpoint(path: str) -> tuple[Structure, dict]:
    """Structure and weights in the checkpoint of a pruned detector.

    Raises:
        InputError: the file is missing, unreadable, or of a full detector.
    """
    if not may_exist(path):
        raise InputError(f'the pruned checkpoint {path} (model.pruned) does not exist: make it with `python tools/prune.py '
                         'CONFIG CHECKPOINT --out DIR`, or correct model.pruned')
    content = load_checkpoint_file(path)
    structure = read_structure(content.get('meta') or {}, path)
    if structure is None:
        raise InputError(f'the checkpoint {path} (model.pruned) is of a full detector, it carries no structure: prune it with '
                         '`python tools/prune.py CONFIG CHECKPOINT --out DIR`, or leave model.pruned out')
    return structure, content['state_dict']
