"""Which objects the samplers of a two-stage detector show it, where most of the ground truth is the teacher's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmengine.structures import InstanceData
from torch import Tensor, nn

IGNORED = -1
"""What MMDetection's assigners say of a prior that is neither positive nor negative."""


class NewFirst:
    """A sampler that keeps positives for new objects; old ones, the teacher's boxes, get the others.

    Teacher boxes stand where the teacher saw an old object. There may be a dozen of them to one new object, which then is
    hardly ever drawn. What is left out becomes neither positive nor negative.

    Args:
        sampler: The stock one, which draws.
        share: Share of the positives, in [0, 1], that new objects may claim; where they need fewer, old ones take the rest.
        taught: Whether the teacher's boxes are positives at all.
        first_new: Label of the first new class; without it whatever is annotated counts as new, as an RPN has no labels.
    """

    def __init__(self, sampler: Any, share: float = 0.0, taught: bool = True, first_new: int | None = None) -> None:
        self.sampler = sampler
        self.share = share
        self.taught = taught
        self.first_new = first_new

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sampler, name)

    def sample(self, assigned: AssignResult, priors: InstanceData, gt: InstanceData, **kwargs) -> SamplingResult:
        """As the stock sampler, with fewer of the teacher's boxes."""
        if 'annotated' in gt and len(gt):
            ahead = gt.annotated if self.first_new is None else gt.labels >= self.first_new
            assigned.gt_inds = self._with_room(assigned.gt_inds, ahead)
        return self.sampler.sample(assigned, priors, gt, **kwargs)

    def _with_room(self, gt_inds: Tensor, ahead: Tensor) -> Tensor:
        """Without the positives for which there is no room beside those of the objects that go ahead, (G,) bool."""
        positive = gt_inds > 0
        others = positive & ~torch.cat([ahead.new_ones(1), ahead])[gt_inds.clamp(min=0)]
        if not self.taught:
            return gt_inds.masked_fill(others, IGNORED)
        # A stock sampler that adds the ground truth to the proposals adds the other objects too.
        adds = getattr(self.sampler, 'add_gt_as_proposals', False)
        first = int(ahead.sum())
        added, own = (len(ahead) - first, first) if adds else (0, 0)
        own += int((positive & ~others).sum())
        expected = int(self.sampler.num * self.sampler.pos_fraction)
        room = max(expected - min(own, int(self.share * expected)) - added, 0)
        index = others.nonzero().squeeze(1)
        if len(index) <= room:
            return gt_inds
        left_out = index[torch.randperm(len(index), device=index.device)[room:]]
        return gt_inds.index_fill(0, left_out, IGNORED)


@contextmanager
def room_for_new(detector: nn.Module, merging: Mapping | None, first_new: int) -> Iterator[None]:
    """Sample as ``merging`` says while a two-stage detector's ``loss`` runs inside this context.

    Args:
        detector: The student; a one-stage detector, which samples nothing, is left as it is.
        merging: Its settings: ``rpn``, whether the RPN is taught the teacher's boxes, and ``annotated_share``, see
            :class:`NewFirst`.
        first_new: Label of the first new class.
    """
    places: list[tuple[Any, str, Any]] = []
    if merging is not None and hasattr(detector, 'roi_head'):
        rpn, roi, share = detector.rpn_head, detector.roi_head, merging['annotated_share']
        if not merging['rpn']:
            places.append((rpn, 'sampler', NewFirst(rpn.sampler, taught=False)))
        if share:
            several = isinstance(roi.bbox_sampler, list)
            # A sampler without a number of positives takes them all, so nothing is crowded out.
            limited = [NewFirst(one, share, first_new=first_new) if hasattr(one, 'pos_fraction') else one
                       for one in (roi.bbox_sampler if several else [roi.bbox_sampler])]
            places.append((roi, 'bbox_sampler', limited if several else limited[0]))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    try:
        for owner, name, sampler in places:
            setattr(owner, name, sampler)
        yield
    finally:
        for owner, name, sampler in before:
            setattr(owner, name, sampler)
