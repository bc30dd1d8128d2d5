"""RPN knowledge: objectness and box deltas of all anchors, the student against the teacher.

K counts the anchors of an image, levels concatenated. The loss of a batch is the mean over its N images of each image's own
loss, divided by that image's own anchors: what an image costs does not depend on what it is batched with.

All formulas run in float32 (element-wise operations and reductions only, which autocast leaves alone) and detach the teacher.
Selections are masks, not indexing, so that a GPU needs no synchronisation to learn how many anchors were kept.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS


def _same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f'student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must list the same anchors '
                         'in the same order')


def _anchor_mean(value: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over images of the mean of ``value`` (N, K) over all anchors of an image or, with ``mask`` (N, K), the masked ones.

    An image without any counts as zero.
    """
    if mask is None:
        return (value.sum(dim=-1) / max(value.size(-1), 1)).mean()
    return (torch.where(mask, value, 0.).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)).mean()


def objectness_hinge(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of ``max(o_T - o_S, 0)^2``; see :class:`RPNObjectnessHingeLoss`."""
    _same_shape(student, teacher)
    return _anchor_mean((teacher.detach().float() - student.float()).clamp(min=0).square(), mask)


def objectness_mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of ``(o_T - o_S)^2``; see :class:`RPNObjectnessMSELoss`."""
    _same_shape(student, teacher)
    return _anchor_mean((teacher.detach().float() - student.float()).square(), mask)


def objectness_bce(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean divergence of two Bernoulli variables given by logits; see :class:`RPNObjectnessBCELoss`."""
    _same_shape(student, teacher)
    student, teacher = student.float(), teacher.detach().float()
    # BCE(o_S, q) = softplus(o_S) - q o_S; the difference to BCE(o_T, q) is written so that equal logits give exactly 0.
    gap = F.softplus(student) - F.softplus(teacher) - teacher.sigmoid() * (student - teacher)
    return _anchor_mean(gap, mask)


def rpn_delta(student_deltas: Tensor,
              teacher_deltas: Tensor,
              student_logits: Tensor,
              teacher_logits: Tensor,
              mask: Tensor | None = None,
              margin: float | None = 0.1) -> Tensor:
    """``sum_4 (r_T - r_S)^2`` where ``o_T - o_S > margin``, over all anchors; see :class:`RPNDeltaLoss`."""
    _same_shape(student_deltas, teacher_deltas)
    error = (teacher_deltas.detach().float() - student_deltas.float()).square().sum(dim=-1)
    if margin is not None:
        _same_shape(student_logits, teacher_logits)
        kept = teacher_logits.detach().float() - student_logits.detach().float() > margin
        error = torch.where(kept, error, 0.)
    return _anchor_mean(error, mask)


def rpn_foreground_delta(student_deltas: Tensor,
                         teacher_deltas: Tensor,
                         teacher_logits: Tensor,
                         mask: Tensor | None = None,
                         threshold: float = 0.5,
                         beta: float = 1 / 9) -> Tensor:
    """Mean smooth-L1 of the anchors that the teacher calls objects; see :class:`RPNForegroundDeltaLoss`."""
    _same_shape(student_deltas, teacher_deltas)
    error = F.smooth_l1_loss(student_deltas.float(), teacher_deltas.detach().float(), reduction='none', beta=beta)
    kept = teacher_logits.detach().float().sigmoid() > threshold
    return _anchor_mean(error.sum(dim=-1), kept if mask is None else kept & mask)


class _ObjectnessLoss(nn.Module):

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def extra_repr(self) -> str:
        return f'loss_weight={self.loss_weight}'


@MODELS.register_module()
class RPNObjectnessHingeLoss(_ObjectnessLoss):
    """``mean(max(o_T - o_S, 0)^2)`` over all anchors, Faster-ILOD (Peng 2020), RPN classification term.

    One-sided: the student may find more objects than the teacher (the new ones), not fewer.

    Args:
        loss_weight (float): Factor of the result.
    """

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student (Tensor): Student's objectness logits (N, K).
            teacher (Tensor): Teacher's objectness logits (N, K); get no gradient.
            mask (Tensor, optional): Anchors to count (N, K), bool; the mean is taken over them.

        Returns:
            Tensor: Scalar, float32; zero without anchors.

        Raises:
            ValueError: The shapes differ.
        """
        return self.loss_weight * objectness_hinge(student, teacher, mask)


@MODELS.register_module()
class RPNObjectnessMSELoss(_ObjectnessLoss):
    """``mean((o_T - o_S)^2)`` over all anchors: the two-sided form of Faster-ILOD's term.

    Args:
        loss_weight (float): Factor of the result.
    """

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student (Tensor): Student's objectness logits (N, K).
            teacher (Tensor): Teacher's objectness logits (N, K); get no gradient.
            mask (Tensor, optional): Anchors to count (N, K), bool; the mean is taken over them.

        Returns:
            Tensor: Scalar, float32; zero without anchors.

        Raises:
            ValueError: The shapes differ.
        """
        return self.loss_weight * objectness_mse(student, teacher, mask)


@MODELS.register_module()
class RPNObjectnessBCELoss(_ObjectnessLoss):
    """Binary cross entropy with ``sigmoid(o_T)`` as soft target, less the target's own entropy.

    It is the KL divergence of two Bernoulli variables: zero where both agree, with the gradient of the cross entropy.

    Args:
        loss_weight (float): Factor of the result.
    """

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student (Tensor): Student's objectness logits (N, K).
            teacher (Tensor): Teacher's objectness logits (N, K); get no gradient.
            mask (Tensor, optional): Anchors to count (N, K), bool; the mean is taken over them.

        Returns:
            Tensor: Scalar, float32; zero without anchors.

        Raises:
            ValueError: The shapes differ.
        """
        return self.loss_weight * objectness_bce(student, teacher, mask)


@MODELS.register_module()
class RPNDeltaLoss(nn.Module):
    """Squared error of the deltas where the student lost objectness, Faster-ILOD (Peng 2020), RPN regression term.

    ``sum_4 (r_T - r_S)^2`` where ``o_T - o_S > margin``, divided by the number of ALL anchors of the image. The logits only
    select and get no gradient.

    Args:
        margin (float, optional): How far the student's objectness must lie below the teacher's; None: everywhere.
        loss_weight (float): Factor of the result.
    """

    def __init__(self, margin: float | None = 0.1, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.margin = margin
        self.loss_weight = loss_weight

    def forward(self,
                student_deltas: Tensor,
                teacher_deltas: Tensor,
                student_logits: Tensor,
                teacher_logits: Tensor,
                mask: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student_deltas (Tensor): Student's deltas (N, K, 4).
            teacher_deltas (Tensor): Teacher's deltas (N, K, 4); get no gradient.
            student_logits (Tensor): Student's objectness logits (N, K).
            teacher_logits (Tensor): Teacher's objectness logits (N, K).
            mask (Tensor, optional): Anchors to count (N, K), bool; the divisor is their number.

        Returns:
            Tensor: Scalar, float32; zero without anchors.

        Raises:
            ValueError: The shapes differ.
        """
        return self.loss_weight * rpn_delta(student_deltas, teacher_deltas, student_logits, teacher_logits, mask,
                                            self.margin)

    def extra_repr(self) -> str:
        return f'margin={self.margin}, loss_weight={self.loss_weight}'


@MODELS.register_module()
class RPNForegroundDeltaLoss(nn.Module):
    """Smooth-L1 of the deltas on anchors that the teacher takes for objects, averaged over those anchors of an image.

    Not from a paper: the boxes of background anchors mean nothing, and dividing by all anchors makes the rest vanish.

    Args:
        threshold (float): An anchor counts where ``sigmoid(o_T) > threshold``.
        loss_weight (float): Factor of the result.
        beta (float): Where smooth-L1 turns from quadratic to linear; 1/9 as in the usual RPN.
    """

    def __init__(self, threshold: float = 0.5, loss_weight: float = 1.0, beta: float = 1 / 9) -> None:
        super().__init__()
        self.threshold = threshold
        self.loss_weight = loss_weight
        self.beta = beta

    def forward(self,
                student_deltas: Tensor,
                teacher_deltas: Tensor,
                student_logits: Tensor | None,
                teacher_logits: Tensor,
                mask: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            student_deltas (Tensor): Student's deltas (N, K, 4).
            teacher_deltas (Tensor): Teacher's deltas (N, K, 4); get no gradient.
            student_logits (Tensor): Not used; kept so that this loss and :class:`RPNDeltaLoss` can be exchanged.
            teacher_logits (Tensor): Teacher's objectness logits (N, K).
            mask (Tensor, optional): Anchors to count (N, K), bool.

        Returns:
            Tensor: Scalar, float32; zero where the teacher sees no object.

        Raises:
            ValueError: The shapes differ.
        """
        return self.loss_weight * rpn_foreground_delta(student_deltas, teacher_deltas, teacher_logits, mask,
                                                       self.threshold, self.beta)

    def extra_repr(self) -> str:
        return f'threshold={self.threshold}, loss_weight={self.loss_weight}, beta={self.beta}'
