"""Positives that a training step samples in RPN and RoI head, by the group of the object that each is matched to."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from mmdet.structures import SampleList
from torch import Tensor, nn

from ..models.views.two_stage import RecordingSampler

GROUPS = ('annotated new', 'annotated old', 'merged old')


@dataclass
class SampledPositives:
    """Counts over training steps; :meth:`add` each, then read.

    Attributes:
        steps: Number of steps.
        sampled: By sampler (``rpn``, ``roi``; of a cascade ``roi 1``, ...) the sampled positives by name of :data:`GROUPS`.
        objects: The objects that the RoI head is taught, by group.
    """

    steps: int = 0
    sampled: dict[str, Counter] = field(default_factory=dict)
    objects: Counter = field(default_factory=Counter)

    @torch.no_grad()
    def add(self, detector: nn.Module, inputs: Tensor, samples: SampleList, num_old: int) -> None:
        """Compute the losses of a batch, which samples, and count what was sampled; nothing is learnt.

        Args:
            detector: A two-stage detector, stock or a student, in training mode.
            inputs: (N, 3, H, W).
            samples: N samples with the annotated objects.
            num_old: Number of old classes, whose labels come first.
        """
        # Merging puts the teacher's boxes behind the annotated ones.
        annotated = [[GROUPS[1] if label < num_old else GROUPS[0] for label in sample.gt_instances.labels.tolist()]
                     for sample in samples]
        with recorded(detector) as samplers:
            detector.loss(inputs, samples)
        self.steps += 1
        for name, sampler in samplers.items():
            counts = self.sampled.setdefault(name, Counter())
            for (result, _), groups in zip(sampler.sampled, annotated, strict=True):
                counts.update(groups_of(result.pos_assigned_gt_inds.tolist(), groups))
        for (_, taught), groups in zip(sampler.sampled, annotated, strict=True):
            self.objects.update(groups_of(range(len(taught.bboxes)), groups))

    def means(self) -> dict[str, dict[str, float]]:
        """Per step and by group, ``objects`` and by sampler the positives."""
        return {name: {group: counts[group] / self.steps for group in GROUPS}
                for name, counts in (('objects', self.objects), *self.sampled.items())}


def groups_of(indices: Iterable[int], annotated: Sequence[str]) -> list[str]:
    """The group of each object of an image that is named by its place.

    Args:
        indices: Places among the objects that are taught: the annotated ones, in their order, and behind them merged ones.
        annotated: Groups of the annotated objects.
    """
    return [annotated[index] if index < len(annotated) else GROUPS[2] for index in indices]


@contextmanager
def recorded(detector: nn.Module) -> Iterator[dict[str, RecordingSampler]]:
    """A two-stage detector's samplers, which remember what they sample inside this context."""
    rpn, roi = detector.rpn_head, detector.roi_head
    own = rpn.sampler, roi.bbox_sampler
    several = isinstance(own[1], list)
    rpn.sampler = RecordingSampler(own[0])
    heads = [RecordingSampler(one) for one in (own[1] if several else [own[1]])]
    roi.bbox_sampler = heads if several else heads[0]
    names = [f'roi {number}' for number in range(1, len(heads) + 1)] if several else ['roi']
    try:
        yield {'rpn': rpn.sampler, **dict(zip(names, heads))}
    finally:
        rpn.sampler, roi.bbox_sampler = own
