"""Images that nobody has annotated: where no teacher box lies there may be an object of a new class, so it is no background."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmdet.models.task_modules.assigners import AssignResult
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import nn

from .sampling import IGNORED

MARK = 'unlabelled'
"""Meta information of a sample that the dataset's setting ``unlabelled`` has brought, and of its ground truth in a step."""
_PLACES = ('assigner', 'bbox_assigner')


class SparingAssigner:
    """An assigner that leaves out, on marked images, what it would call background.

    So neither anchors nor RoIs there say anything against an object of a new class, or for background. Old classes are taught
    by the teacher's boxes, which are ground truth, and by the distiller.

    Args:
        assigner: The stock one, which does the work.
    """

    def __init__(self, assigner: Any) -> None:
        self.assigner = assigner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.assigner, name)

    def assign(self, *args, **kwargs) -> AssignResult:
        """As the stock assigner."""
        found = self.assigner.assign(*args, **kwargs)
        if any(isinstance(value, InstanceData) and MARK in value.metainfo_keys() for value in (*args, *kwargs.values())):
            found.gt_inds = found.gt_inds.masked_fill(found.gt_inds == 0, IGNORED)
        return found


@contextmanager
def unmatched_spared(detector: nn.Module, samples: SampleList) -> Iterator[SampleList]:
    """Let a detector's ``loss`` inside this context take nothing of marked images for background.

    Args:
        detector: Of any family.
        samples: Of the batch, with the teacher's boxes.

    Yields:
        The samples for ``loss``: those, or of marked ones copies whose ground truth is marked too.
    """
    if not any(sample.metainfo.get(MARK) for sample in samples):
        yield samples
        return
    places = [(module, name, vars(module)[name]) for module in detector.modules() for name in _PLACES
              if vars(module).get(name) is not None]
    try:
        for module, name, assigner in places:
            several = isinstance(assigner, list)
            setattr(module, name, [SparingAssigner(one) for one in assigner] if several else SparingAssigner(assigner))
        yield [_marked(sample) if sample.metainfo.get(MARK) else sample for sample in samples]
    finally:
        for module, name, assigner in places:
            setattr(module, name, assigner)


def _marked(sample):
    sample = sample.new()
    objects = sample.gt_instances.new()
    objects.set_metainfo({MARK: True})
    sample.gt_instances = objects
    return sample
