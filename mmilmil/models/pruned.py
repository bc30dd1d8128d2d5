"""A pruned checkpoint as the structure and first weights of a detector."""

from collections.abc import Mapping

from mmdet.models.detectors import FasterRCNN
from torch import Tensor, nn

from ..checkpoint import load_checkpoint_file
from ..errors import InputError
from ..registry import MODELS
from ..stock import full_model_cfg
from ..weights import may_exist
from .structure import Structure, cut, read_structure


def check_prunable(model: Mapping, whose: str) -> None:
    """Stop where a detector is none that can be pruned.

    Args:
        model: Its config, a student's or that of an algorithm which prunes it; the detector's type is looked at.
        whose: Whose it is, for the message, as ``the model of config.py``.

    Raises:
        InputError: names the detector.
    """
    kind = full_model_cfg(model)['type']
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if isinstance(kind, type) and not issubclass(kind, FasterRCNN):
        raise InputError(f'{whose} is a {kind.__name__}, and only Faster R-CNN can be pruned: train it as it is, without '
                         'model.pruned')


def cut_to(detector: nn.Module, path: str | None) -> None:
    """Cut a full detector to the structure of a pruned checkpoint, in place.

    Now, when the detector is built, not when training starts: a wrapper for several processes sizes its buckets by what it is
    given.

    Args:
        detector: The full detector.
        path: The checkpoint; nothing is cut without one, nor where the file is not there: the structure is to come with the
            checkpoint that is loaded.
    """
    if path is not None and may_exist(path):
        cut(detector, pruned_checkpoint(path)[0], path)


def pruned_checkpoint(path: str) -> tuple[Structure, dict[str, Tensor]]:
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
