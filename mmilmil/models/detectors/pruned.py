"""Detectors that were pruned: stock ones with narrower layers."""

from typing import Optional

from mmdet.models.detectors import FasterRCNN

from ...errors import InputError
from ...registry import MODELS
from ..pruned import cut_to, pruned_checkpoint


class PrunedDetector:
    """In front of a stock detector: built by the full detector's config and cut to the structure that a checkpoint carries.

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
        cut_to(self, pruned)

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


@MODELS.register_module()
class PrunedFasterRCNN(PrunedDetector, FasterRCNN):
    """A pruned Faster R-CNN, see :class:`PrunedDetector`."""
