"""RPN knowledge: objectness logits o (N, K) and box deltas r (N, K, 4) of all anchors, the student against the teacher.

K counts the anchors of an image, levels concatenated. The loss of a batch is the mean over its N images of each image's own
loss, divided by that image's own anchors: what an image costs does not depend on what it is batched with. ``mask`` (N, K),
bool, tells which anchors count, in the divisor as well.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import MODELS
from ..settings import check_number
from .base import SAME_ANCHORS, WeightedLoss, anchor_mean, bernoulli_kl, check_same_shape


class _ObjectnessLoss(WeightedLoss):

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare objectness logits (N, K)."""
        check_same_shape(student, teacher, SAME_ANCHORS)
        return self.loss_weight * anchor_mean(self.by_anchor(student.float(), teacher.detach().float()), mask)


@MODELS.register_module()
class RPNObjectnessHingeLoss(_ObjectnessLoss):
    """``mean(max(o_T - o_S, 0)^2)`` over all anchors, Faster-ILOD (Peng 2020), RPN classification term.

    One-sided: the student may find more objects than the teacher (the new ones), not fewer.
    """

    def by_anchor(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (teacher - student).clamp(min=0).square()


@MODELS.register_module()
class RPNObjectnessMSELoss(_ObjectnessLoss):
    """``mean((o_T - o_S)^2)`` over all anchors: the two-sided form of Faster-ILOD's term."""

    def by_anchor(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (teacher - student).square()


@MODELS.register_module()
class RPNObjectnessBCELoss(_ObjectnessLoss):
    """Binary cross entropy with ``sigmoid(o_T)`` as soft target, less the target's own entropy.

    It is the KL divergence of two Bernoulli variables: zero where both agree, with the gradient of the cross entropy.
    """

    def by_anchor(self, student: Tensor, teacher: Tensor) -> Tensor:
        return bernoulli_kl(student, teacher)


@MODELS.register_module()
class RPNDeltaLoss(WeightedLoss):
    """Squared error of the deltas where the student lost objectness, Faster-ILOD (Peng 2020), RPN regression term.

    ``sum_4 (r_T - r_S)^2`` where ``o_T - o_S > margin``, divided by the number of ALL anchors of the image.

    Args:
        margin (float, optional): How far the student's objectness must lie below the teacher's; None: everywhere.
    """

    def __init__(self, margin: float | None = 0.1, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        if margin is not None:
            check_number(margin, f'margin of {type(self).__name__}', -math.inf)
        self.margin = margin

    def forward(self, student_deltas: Tensor, teacher_deltas: Tensor, student_logits: Tensor, teacher_logits: Tensor,
                mask: Tensor | None = None) -> Tensor:
        """Compare deltas (N, K, 4); the logits (N, K) only select and get no gradient."""
        check_same_shape(student_deltas, teacher_deltas, SAME_ANCHORS)
        error = (teacher_deltas.detach().float() - student_deltas.float()).square().sum(dim=-1)
        if self.margin is not None:
            check_same_shape(student_logits, teacher_logits, SAME_ANCHORS)
            kept = teacher_logits.detach().float() - student_logits.detach().float() > self.margin
            error = torch.where(kept, error, 0.)
        return self.loss_weight * anchor_mean(error, mask)


@MODELS.register_module()
class RPNForegroundDeltaLoss(WeightedLoss):
    """Smooth-L1 of the deltas on anchors that the teacher takes for objects, averaged over those anchors of an image.

    Not from a paper: the boxes of background anchors mean nothing, and dividing by all anchors makes the rest vanish.

    Args:
        threshold (float): An anchor counts where ``sigmoid(o_T) > threshold``.
        beta (float): Where smooth-L1 turns from quadratic to linear; 1/9 as in the usual RPN.
    """

    def __init__(self, threshold: float = 0.5, loss_weight: float = 1.0, beta: float = 1 / 9) -> None:
        super().__init__(loss_weight)
        check_number(beta, 'beta of RPNForegroundDeltaLoss', 0)
        check_number(threshold, f'threshold of {type(self).__name__}', 0, 1)
        self.threshold = threshold
        self.beta = beta

    def forward(self, student_deltas: Tensor, teacher_deltas: Tensor, student_logits: Tensor | None, teacher_logits: Tensor,
                mask: Tensor | None = None) -> Tensor:
        """Compare deltas (N, K, 4); of the logits (N, K), which get no gradient, the student's are not looked at."""
        check_same_shape(student_deltas, teacher_deltas, SAME_ANCHORS)
        error = F.smooth_l1_loss(student_deltas.float(), teacher_deltas.detach().float(), reduction='none', beta=self.beta)
        kept = teacher_logits.detach().float().sigmoid() > self.threshold
        return self.loss_weight * anchor_mean(error.sum(dim=-1), kept if mask is None else kept & mask)
