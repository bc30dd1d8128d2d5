"""Replay of a feature memory through the student's RoI head."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..errors import InputError
from ..registry import MODELS
from .losses import RoIDeltaLoss
from .memory import FeatureMemory
from .memory_drift import channel_map, left_over, mapped
from .prototypes import prototypes_of
from .settings import check_number, check_switch
from .views.base import box_heads


@MODELS.register_module()
class FeatureReplay(BaseModule):
    """Shows the student's box heads what the teacher's memory keeps of the old classes.

    ``loss_weight * mean_r [-sum_k q_k log p_k(x_r)]`` over all classes and background, q the label of x_r or, with ``soft``,
    what the teacher's head says of it, and ``reg_weight`` times the smooth-L1 distance of the old classes' deltas to those
    that the teacher's head gives for the same x_r. So the rows of the new classes meet old objects as what they are not, and
    background too, where no image shows them.

    Source: replay of RoI features before the shared layers, as RePRE (arXiv 2502.05540) does with prototypes; here real
    features, background that the detector nearly took for an object, and deltas.

    Args:
        file: The memory; ``None``: ``memory.pth`` beside the teacher's checkpoint, where it is there.
        per_step: Tensors that a step draws of it; 0: none, where the memory is there for something else alone.
        loss_weight: Weight of the cross entropy.
        reg_weight: Weight of the deltas.
        flip: Whether half of them are mirrored from left to right.
        mix: Whether each gets less than half of another one of its label (mixup, Zhang et al. 2018, within a class): a head
            soon knows a few thousand tensors by heart.
        follow: Whether they are moved as the trunk has moved: by the linear map of channels that, on the distillation RoIs of
            the step, brings the teacher's pooled features nearest to the student's (:mod:`mmilmil.models.memory_drift`).
        residual: Whether each of them also gets what that map leaves of one of these RoIs, drawn at random (a residual
            bootstrap): mapped by least squares alone they have less spread than the student's own features of such objects,
            and the new classes take the room in between.
        soft: Whether the cross entropy is to what the teacher's head says of each tensor, as it is mixed and mirrored, with 0
            for the new classes, and not to its label: a loose look teaches no more than the teacher makes of it.
        least_share: Share of the weights that is left in a batch all of whose images show old objects; they teach the new rows
            what the memory would, and without its cost to the new classes. In between it is the share of images without.
        balance: Whether the step's own RoIs of new objects count as if they lay in the memory too, a new class for as much as
            an old one: ``loss_weight * c * mean_r [-log p_y(x_r)]`` over the sampled RoIs that are matched to a new object, c
            the new classes' part of the tensors if each of them had as many as an old class has. Without it a few RoIs among
            hundreds of background have to stand against a replay in which nearly every tensor speaks for an old class.
        prototypes: Whether the prototypes of each class (:mod:`mmilmil.models.prototypes`) are replayed, not the tensors.
    """

    def __init__(self, file: str | None = None, per_step: int = 64, loss_weight: float = 1.0, reg_weight: float = 1.0,
                 flip: bool = False, mix: bool = False, follow: bool = False, residual: bool = False,
                 soft: bool = False, least_share: float = 1.0, balance: bool = False, prototypes: bool = False) -> None:
        super().__init__()
        check_number(per_step, 'model.memory.per_step', 0, whole=True)
        check_number(loss_weight, 'model.memory.loss_weight', 0)
        check_number(reg_weight, 'model.memory.reg_weight', 0)
        if not isinstance(file, str | Path | None):
            raise InputError(f'model.memory.file = {file!r}: give the path of a feature memory, or None for the one beside the '
                             'teacher')
        self.file = file
        self.flip = check_switch(flip, 'model.memory.flip')
        self.mix = check_switch(mix, 'model.memory.mix')
        self.follow = check_switch(follow, 'model.memory.follow')
        self.residual = check_switch(residual, 'model.memory.residual')
        if residual and not follow:
            raise InputError('model.memory.residual = True is of tensors that are moved, and model.memory.follow is False: set '
                             'both or neither')
        self.soft = check_switch(soft, 'model.memory.soft')
        check_number(least_share, 'model.memory.least_share', 0, 1)
        self.least_share = least_share
        self.balance = check_switch(balance, 'model.memory.balance')
        self.prototypes = check_switch(prototypes, 'model.memory.prototypes')
        self._found: tuple[FeatureMemory, FeatureMemory] | None = None
        self._placed: tuple[FeatureMemory, torch.device, Tensor, Tensor] | None = None
        self.per_step = per_step
        self.loss_weight = loss_weight
        self.delta_loss = RoIDeltaLoss(by_probability=True, loss_weight=reg_weight)

    def shown(self, memory: FeatureMemory) -> FeatureMemory:
        """What is replayed of a memory; its prototypes are looked for once."""
        if not self.prototypes:
            return memory
        if self._found is None or self._found[0] is not memory:
            self._found = memory, prototypes_of(memory)
        return self._found[1]

    def _on(self, device: torch.device, memory: FeatureMemory) -> tuple[Tensor, Tensor]:
        """Features and labels on the student's device, moved once."""
        if self._placed is None or self._placed[0] is not memory or self._placed[1] != device:
            self._placed = memory, device, memory.features.to(device), memory.labels.to(device)
        return self._placed[2:]

    def forward(self, memory: FeatureMemory, student: nn.Module, teacher: nn.Module, apart: float = 1.0,
                moved: Optional[tuple[Tensor, Tensor]] = None,
                matched: Sequence[tuple[Tensor, Tensor]] = ()) -> dict[str, Tensor]:
        """Losses of one step.

        Args:
            memory: The teacher's.
            student: A two-stage detector that knows the old classes first, then the new ones.
            teacher: The detector that the memory was made by.
            apart: Share of the batch's images on which the teacher saw no old object.
            moved: Pooled features of the same RoIs by teacher and student, (R, C, h, w) each, which ``follow`` goes by;
                ``None`` where no term has asked for them.
            matched: By box head, logits (M, C + 1) and labels (M,) of the sampled RoIs that are matched to an object, which
                ``balance`` goes by.

        Returns:
            ``loss_memory_cls`` and ``loss_memory_reg``, with ``balance`` ``loss_memory_new`` too; of a cascade summed over its
            cascade stages with the weights that it gives its own losses.
        """
        memory = self.shown(memory)
        index = torch.randperm(len(memory))[:self.per_step]
        heads = box_heads(student)
        device = next(heads[0].parameters()).device
        kept, names = self._on(device, memory)
        features, labels = kept[index.to(device)], names[index.to(device)]
        if self.mix:
            partners = _partners(index, memory.labels).to(device)
            share = (0.5 + 0.5 * torch.rand(len(index), 1, 1, 1)).to(device)
            features = share * features + (1 - share) * kept[partners]
        if self.flip:
            features = torch.where((torch.rand(len(features), 1, 1, 1) < 0.5).to(device), features.flip(-1), features)
        seen = features
        if self.follow and moved is not None:
            weight, bias = (value.to(device) for value in channel_map(*moved))
            seen = mapped(features, weight, bias)
            if self.residual and len(moved[0]):
                left = left_over(*moved, weight, bias)
                seen = seen + left[torch.randint(len(left), (len(seen), )).to(device)]
        weights = getattr(student.roi_head, 'stage_loss_weights', (1.0, ) * len(heads))
        losses = [self._of_head(weight, head, teacher_head, seen, features, labels)
                  for weight, head, teacher_head in zip(weights, heads, box_heads(teacher), strict=True)]
        share = max(apart, self.least_share)
        found = dict(zip(('loss_memory_cls', 'loss_memory_reg'), (share * sum(terms) for terms in zip(*losses))))
        if self.balance:
            old = len(memory.classes)
            of_class = (memory.labels[index] < old).float().mean().item() / old  # an old class's part of the tensors
            found['loss_memory_new'] = share * self.loss_weight * of_class * sum(
                weight * _of_new(*of_head, old) for weight, of_head in zip(weights, matched, strict=True))
        return found

    def _of_head(self, weight: float, head: Callable, teacher_head: Callable, seen: Tensor, features: Tensor,
                 labels: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = (value.float() for value in head(seen))
        with torch.no_grad():
            known_logits, known_deltas = (value.float() for value in teacher_head(features))
        background = known_logits.size(1) - 1
        target = labels.masked_fill(labels == background, logits.size(1) - 1)
        if self.soft:
            known = known_logits.softmax(dim=1)
            fresh = known.new_zeros(len(known), logits.size(1) - known.size(1))
            target = torch.cat([known[:, :background], fresh, known[:, background:]], dim=1)
        if known_deltas.size(1) == 4 != deltas.size(1):
            known_deltas = known_deltas.repeat(1, background)
        cls = self.loss_weight * F.cross_entropy(logits, target)
        return weight * cls, weight * self.delta_loss(deltas, known_deltas, teacher_logits=known_logits)


def _of_new(logits: Tensor, labels: Tensor, old: int) -> Tensor:
    """Mean cross entropy of the RoIs (M, C + 1) with labels of new classes, times the number of these; 0 without such a RoI."""
    mine = labels >= old
    by_roi = F.cross_entropy(logits.float(), labels, reduction='none')
    return (logits.size(1) - 1 - old) * (by_roi * mine).sum() / mine.sum().clamp(min=1)


def _partners(index: Tensor, labels: Tensor) -> Tensor:
    """For each place in a memory a random one of the same label.

    Args:
        index: Places, (M,).
        labels: Of the whole memory.

    Returns:
        (M,).
    """
    partners = torch.empty_like(index)
    for label in labels[index].unique().tolist():
        mine, same = labels[index] == label, (labels == label).nonzero().squeeze(1)
        partners[mine] = same[torch.randint(len(same), (int(mine.sum()), ))]
    return partners
