"""A pruned checkpoint as the structure and first weights of a detector."""

from torch import Tensor, nn

from ..checkpoint import load_checkpoint_file
from ..errors import InputError
from ..weights import may_exist
from .structure import Structure, cut, read_structure


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
